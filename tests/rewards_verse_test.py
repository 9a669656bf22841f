"""Poems whose metre the handbooks give, read with the sounds of today."""

import itertools

import pytest

from zhlm.errors import InputError
from zhlm.rewards import verse

STORK_TOWER = '白日依山尽，黄河入海流。欲穷千里目，更上一层楼。'  # 王之涣《登鹳雀楼》
SPRING_VIEW = (  # 杜甫《春望》
  '国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。烽火连三月，家书抵万金。白头搔更短，浑欲不胜簪。'
)
GUEST = (  # 杜甫《客至》
  '舍南舍北皆春水，但见群鸥日日来。花径不曾缘客扫，蓬门今始为君开。'
  '盘飧市远无兼味，樽酒家贫只旧醅。肯与邻翁相对饮，隔篱呼取尽馀杯。'
)
HIBISCUS_TOWER = (
  '寒雨连江夜入吴，平明送客楚江孤。洛阳亲友如相问，一片冰心在玉壶。'  # 王昌龄《芙蓉楼送辛渐》
)
HORSE = '大漠沙如雪，燕山月似钩。何当金络脑，快走踏清秋。'  # 李贺《马诗》
LOVESICK = '红豆生南国，春来发几枝。愿君多采撷，此物最相思。'  # 王维《相思》
QUIET_NIGHT = '床前明月光，疑是地上霜。举头望明月，低头思故乡。'  # 李白《静夜思》, old style
RIVER_SNOW = '千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。'  # 柳宗元《江雪》, old style, oblique rhyme
GRAIN = '锄禾日当午，汗滴禾下土。谁知盘中餐，粒粒皆辛苦。'  # 李绅《悯农》, old style, oblique rhyme
PROSE = '今天天气很好，我们一起去公园里玩，看到很多花和小鸟，大家都很开心。'
# 王力《诗词格律》, 五律: in brackets, what may be either.
LATE_LEVEL = '(仄)仄平平仄，平平仄仄平。(平)平平仄仄，(仄)仄仄平平。'
LATE_LEVEL_RHYMED = '(仄)仄仄平平，平平仄仄平。(平)平平仄仄，(仄)仄仄平平。'
LEVEL = '(平)平平仄仄，(仄)仄仄平平。(仄)仄平平仄，平平仄仄平。'
LEVEL_RHYMED = '平平仄仄平，(仄)仄仄平平。(仄)仄平平仄，平平仄仄平。'
EIGHT = (
  LATE_LEVEL + LATE_LEVEL,
  LATE_LEVEL_RHYMED + LATE_LEVEL,
  LEVEL + LEVEL,
  LEVEL_RHYMED + LEVEL,
)


def spoken(pattern):
  """A pattern as characters: 天 is level, 地 oblique."""
  return pattern.replace('(', '').replace(')', '').translate(str.maketrans('平仄', '天地'))


@pytest.mark.parametrize('poem', [HIBISCUS_TOWER, HORSE, GUEST])
def test_poems_that_follow_the_pattern_with_todays_tones_too_get_1(poem):
  assert verse.tones('', poem) == 1


def test_an_entering_tone_that_is_level_today_costs_its_position():
  """一 in 更上一层楼, one of the four fixed positions of one line of four."""
  assert verse.tones('', STORK_TOWER) == 1 - 1 / 16


@pytest.mark.parametrize('poem', [QUIET_NIGHT, RIVER_SNOW, GRAIN])
def test_poems_in_the_old_style_do_not_follow_the_pattern(poem):
  assert verse.tones('', poem) < 0.75 < verse.tones('', LOVESICK) < 0.9


@pytest.mark.parametrize('pattern', EIGHT + (LATE_LEVEL, LATE_LEVEL_RHYMED, LEVEL, LEVEL_RHYMED))
def test_the_patterns_of_the_handbook_get_1_and_free_positions_are_free(pattern):
  assert verse.tones('', spoken(pattern)) == 1
  turned = pattern.replace('(平)', 'x').replace('(仄)', '平').replace('x', '仄')
  assert verse.tones('', spoken(turned)) == 1


@pytest.mark.parametrize('pattern', EIGHT)
def test_a_wrong_tone_at_a_fixed_position_costs_its_share_of_the_line(pattern):
  wrong = pattern.replace('平平仄仄平', '平平仄平平', 1)
  assert verse.tones('', spoken(wrong)) == pytest.approx(1 - 1 / 5 / 8)


def test_lines_out_of_order_break_the_pattern_though_each_is_right():
  """对 and 粘: a couplet's lines are contrary, and the next couplet begins as the last ended."""
  lines = [line for line in GUEST.replace('，', '。').split('。') if line]
  swapped = [lines[i] for i in (1, 0, 3, 2, 5, 4, 7, 6)]
  assert verse.tones('', '，'.join(swapped)) < 0.75


def test_five_and_seven_characters_and_the_usual_variant_of_a_line_are_known():
  assert verse.tones('', spoken('仄仄平平仄仄平，平平仄仄仄平平。平平仄仄平平仄，仄仄平平仄仄平。')) == 1
  assert verse.tones('', spoken('平平仄平仄，仄仄仄平平。仄仄平平仄，平平仄仄平。')) == 1
  assert verse.tones('', spoken('平平平平仄，仄仄仄平平。仄仄平平仄，平平仄仄平。')) < 1


def test_rhymes_are_those_of_today():
  assert verse.rhyme('', STORK_TOWER) == verse.rhyme('', LOVESICK) == verse.rhyme('', QUIET_NIGHT) == 1
  assert verse.rhyme('', SPRING_VIEW) == pytest.approx(2 / 3)  # 簪 was zen, and is zan
  assert verse.rhyme('', PROSE) == 0


@pytest.mark.parametrize(
  ('ends', 'share'),
  [
    ('东风', 1),  # 庚
    ('歌多', 1),  # 波
    ('知时', 1),  # 支
    ('衣鱼', 1),  # 齐
    ('知衣', 0),  # 支, 齐
    ('山光', 0),
    ('光广', 0),  # level and oblique
    ('土苦', 1),  # both oblique
    ('光光', 0),  # a character does not rhyme with itself
    ('光乡光霜', 2 / 3),
    ('楼', 0),
    ('a楼', 0),
    ('ab', 0),
  ],
)
def test_what_rhymes_by_the_fourteen_parts(ends, share):
  lines = [f'天地人和\n{begin}地人{end}' for begin, end in zip('甲乙丙丁', ends, strict=False)]
  assert verse.rhyme('', '\n'.join(lines)) == pytest.approx(share)


def test_a_character_is_read_as_its_line_reads_it():
  assert verse._read('长江') != verse._read('长大')
  assert [level for _, level in verse._read('长江')] == [True, True]
  assert [level for _, level in verse._read('长大')] == [False, False]


@pytest.mark.parametrize(
  ('poem', 'kind'),
  [(STORK_TOWER, '五绝'), (HIBISCUS_TOWER, '七绝'), (SPRING_VIEW, '五律'), (GUEST, '七律')],
)
def test_a_poem_has_its_form_and_no_other(poem, kind):
  for rule, other in itertools.product((verse.form, verse.tones), verse.KINDS):
    assert (rule('', poem, other) >= 0.9) == (kind == other), (rule, other)


@pytest.mark.parametrize(
  'prompt', ['写一首五言绝句。', '以登楼为题，作五绝', '写一首五絕', '不要七律，要五绝']
)
def test_the_form_is_the_one_that_the_prompt_asks_for(prompt):
  assert verse.form(prompt, STORK_TOWER) == 1 and verse.form(prompt, HIBISCUS_TOWER) == 0
  assert verse.tones(prompt, STORK_TOWER) > 0.9 and verse.tones(prompt, HIBISCUS_TOWER) == 0


def test_quotation_marks_are_no_part_of_a_line():
  assert verse.form('', f'“{STORK_TOWER[:11]}”\n「{STORK_TOWER[12:]}」') == 1


def test_lines_too_many_too_few_and_not_chinese_cost_form_and_tones():
  assert verse.form('', STORK_TOWER[:12], '五绝') == verse.form('', STORK_TOWER * 2, '五绝') == 0.5
  assert verse.form('', STORK_TOWER.replace('尽', 'x'), '五绝') == 0.75
  for poem in (STORK_TOWER[:18], STORK_TOWER * 2, '登鹳雀楼\n' + STORK_TOWER):
    assert verse.tones('', poem, '五绝') < verse.tones('', STORK_TOWER, '五绝')


def test_an_unknown_form_is_told_with_the_choices():
  for rule in (verse.form, verse.tones):
    with pytest.raises(InputError, match='五言.*五绝, 七绝, 五律, 七律'):
      rule('', STORK_TOWER, '五言')


def test_repeated_characters_are_counted():
  assert verse.distinct('', STORK_TOWER) == 1
  assert verse.distinct('', QUIET_NIGHT) == 17 / 20  # 明月 and 头 stand twice
  assert verse.distinct('', '山山山山，山山山山。') == 1 / 8
