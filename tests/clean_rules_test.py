"""Each rule drops what it is for and nothing else; a preset fits its kind of source.

Longer than most files: a case or two for each of some forty rules."""

import json
import random

import pytest

from configs.rules import presets
from zhlm.clean import document, rules
from zhlm.errors import InputError

PRESETS = json.loads(presets().to_json())
WEB = PRESETS['web']
PROSE = (
  '清晨的市场里，卖菜的老人把刚摘下的黄瓜摆得整整齐齐。几个孩子从巷口跑来，手里攥着零钱，争着要买热豆浆。'
  '太阳慢慢升到屋顶上，石板路渐渐干了，空气中有一股潮湿的泥土味。隔壁的裁缝推开窗户，向对面的书店老板问好，'
  '说昨夜的雨下得真大，连院里的桂花也落了一地。\n'
  '书店老板笑着摇头，告诉他下午有一批新书要到，其中有几本讲的是旧城的历史。裁缝听了很高兴，因为他的祖父曾在'
  '那条街上开过茶馆，照片至今还挂在客厅中央。他们约好傍晚一起去看，顺便商量明年春天修缮祠堂的事情。\n'
  '市场渐渐热闹起来，叫卖声、车铃声和收音机里的戏曲混在一起。谁也没有注意，墙角那只花猫已经睡了整整一个早晨。'
)


def only(*on, **bounds):
  """The web preset with these rules on and no other."""
  off = rules.names(tuple(WEB), '') - set(on)
  return {**WEB, **bounds, 'off': ' '.join(sorted(off))}


def test_good_prose_breaks_no_rule():
  assert rules.all_broken(PROSE, WEB) == {}
  assert rules.broken(PROSE, WEB) is None


BREACHES = [  # (rule, a text that breaks it, its value)
  ('min_characters', '太短', 2),
  ('max_characters', '长' * 1_000_001, 1_000_001),
  ('max_mojibake', '文字\ufffd坏了', 1 / 5),
  ('max_mojibake', '锟斤拷锟斤拷一二三四', 6 / 10),
  ('max_mojibake', '烫烫烫屯屯屯一二三四', 6 / 10),
  ('max_mojibake', 'Ã¤一二', 2 / 4),
  ('max_bracketed', '【特价】一二三四五六', 4 / 10),
  ('min_han', 'nine tenths of this are English 汉字', 2 / 28),
  ('max_digits', '电话12345', 5 / 7),
  ('max_private_use', '字\ue000\ue001体', 2 / 4),
  ('max_kana', 'これは日本語の文章', 4 / 9),
  ('max_rare', '莓兲想祢啲㊣丗堺', None),
  ('min_mean_line', '首页\n新闻\n体育新闻', 8 / 3),
  ('min_line_ends', '一行没有句号\n又一行没有', 0),
  ('max_more_lines', '好消息展开\n坏消息更多\n没有了', 2 / 3),
  ('max_ellipsis_lines', '他说…\n她说...\n完了。', 2 / 3),
  ('max_bullet_lines', '• 一\n- 二', 1),
  ('max_dup_lines', '甲\n乙\n\n甲\n甲', 2 / 4),
  ('max_dup_line_characters', '甲甲\n乙\n甲甲', 2 / 5),
  ('min_distinct', '好' * 100, 1 / 100),
  ('max_repeated', '一二三四五六七八九十百千万' * 2 + '', 1 / 14),
  ('min_words', '今天天气很好。', 3),
  ('max_words', '好，' * 4, 4),
  ('min_mean_word', '好，' * 4, 1),
  ('max_mean_word', 'extraordinary', 13),
  ('max_hashes', '# 好 # 好', 1 / 2),
  ('max_ellipses', '好…好', 1 / 3),
  ('min_alpha_words', '好，，，', 1 / 4),
  ('min_stop_words', '跑步', 0),
  ('max_new_lines', '好\n好', 1 / 2),
  ('min_entropy', '好，好，', 0.6931471805599453),
  ('max_top_word', '早起，早起。Hello', 4 / 11),
  ('max_top_2gram', '好，好，', 2 * 3 / 4),
  ('max_top_3gram', '好，好，', 1 * 5 / 4),
  ('max_top_4gram', '好，好，', 1 * 7 / 4),
  *((f'max_dup_{n}gram', '好，我。' * 6, None) for n in range(5, 11)),
  ('blocked', '他说：操你！', '操你'),
]
BOUNDS = {
  'blocked': '傻逼 操你',
  'max_words': 3,
  'min_mean_word': 1.5,
  'max_repeated': 0.05,
  'min_distinct': 0.1,
  'max_digits': 0.3,
}


@pytest.mark.parametrize(('rule', 'text', 'value'), BREACHES)
def test_each_rule_drops_its_text_by_its_value_and_can_be_switched_off(rule, text, value):
  preset = only(rule, **BOUNDS)
  found = rules.broken(text, preset)
  assert found is not None and found[0] == rule
  if value is not None:
    assert found[1] == (value if isinstance(value, str) else pytest.approx(value))
  assert rules.broken(text, {**preset, 'off': f'{preset["off"]} {rule}'}) is None


def test_every_rule_has_a_text_that_breaks_it_and_every_preset_has_every_rule():
  assert {rule for rule, _, _ in BREACHES} == rules.names(tuple(WEB), '')
  for preset in PRESETS.values():
    assert list(preset) == list(WEB)
    assert rules.names(tuple(preset), preset['off'])  # knows every name in `off`


def test_the_first_broken_rule_is_the_first_of_all_broken():
  for _, text, _ in BREACHES:
    if len(text) < 1000:
      assert rules.broken(text, WEB) == next(iter(rules.all_broken(text, WEB).items()))


def test_a_rule_that_does_not_exist_is_told_with_the_choices():
  with pytest.raises(InputError, match='no rule is named max_repeat; the rules are .*max_repeated'):
    rules.broken(PROSE, {**WEB, 'off': 'max_repeat min_han'})
  with pytest.raises(InputError, match='no rule is named max_hanzi; the rules are'):
    rules.broken(PROSE, {**WEB, 'max_hanzi': 1})


def lines_by_loop(text):
  """datatrove's line measures, line by line."""
  lines, filled, runs = text.split('\n'), [], []
  for line in lines:
    if line.strip():
      filled.append(line)
  runs = [r for i, r in enumerate(lines) if r or i in (0, len(lines) - 1)]
  duplicate_runs = sum(r in runs[:i] for i, r in enumerate(runs))
  duplicate = sum(len(line) for i, line in enumerate(filled) if line in filled[:i])
  return {
    'mean_line': sum(map(len, filled)) / max(len(filled), 1),
    'line_ends': sum(line[-1] in '.!?。！？' or line[-2:] == '。”' for line in filled)
    / max(len(filled), 1),
    'ellipsis_lines': sum(line.endswith('...') or line[-1] == '…' for line in filled) / len(lines),
    'bullet_lines': sum(line[0] in '•-' for line in filled) / len(lines),
    'dup_lines': duplicate_runs / len(runs),
    'dup_line_characters': duplicate / max(len(text.replace('\n', '')), 1),
  }


def test_line_measures_equal_plain_loops():
  draw, repeated = random.Random(0), 0
  for _ in range(500):
    text = '\n'.join(
      draw.choices(['', '好。', '“好。”', '天气', '• 一', '- 二...', '三…', '更多'], k=draw.randrange(12))
    )
    found, wanted = rules._lines(text), lines_by_loop(text)
    assert {k: found[k] for k in wanted} == pytest.approx(wanted), text
    repeated += wanted['dup_lines'] > 0.287
  assert repeated > 100


def test_character_shares_equal_plain_loops():
  draw = random.Random(0)
  for _ in range(500):
    text = ''.join(draw.choices('汉字𠮷あカa1９ \n，\ue000😀镕', k=draw.randrange(60)))
    letters = [c for c in text if not c.isspace()]
    han = sum(c in '汉字𠮷镕' for c in text)
    kana = sum(c in 'あカ' for c in text)
    wanted = {
      'han': han / max(len(letters), 1),
      'digits': text.count('1') / max(len(letters), 1),
      'private_use': text.count('\ue000') / max(len(letters), 1),
      'kana': kana / max(kana + han, 1),
      'rare': (text.count('𠮷') + text.count('镕')) / max(han, 1),
      'distinct': len(set(text)) / max(len(text), 1),
    }
    assert rules._classes(text) == pytest.approx(wanted)


def test_repeated_share_equals_a_set_of_windows():
  draw = random.Random(0)
  for _ in range(300):
    text = ''.join(draw.choices('甲乙𠮷\u0bb7', k=draw.randrange(300)))
    windows = [text[i : i + 13] for i in range(len(text) - 12)]
    wanted = 1 - len(set(windows)) / len(windows) if windows else 0
    assert rules.repeated_share(text) == pytest.approx(wanted)


@pytest.mark.parametrize(
  ('text', 'low', 'high'),
  [
    (PROSE, 0, 0),
    ('这里是汉字 {\n中文说明;', 0, 0),
    ('import os\nx = 1\nfor i in y:\n  z = {i}', 0.6, 1),
    (f'{PROSE}\n```\nprint 1\n```', 0.01, 0.05),
    ('', 0, 0),
  ],
)
def test_code_is_told_from_prose(text, low, high):
  assert low <= rules.code_share(text) <= high


LISTING = '\n'.join(
  f'def {name}(path):\n  with open(path) as file:\n    return json.load(file)["{name}"][0] + {i} * (x - 1);'
  for i, name in enumerate(('users', 'orders', 'prices', 'labels', 'events', 'hosts', 'pages'))
)


def test_a_page_of_code_is_judged_by_the_rest_of_its_lines():
  page = f'{PROSE[:200]}\n```python\n{LISTING}\n```\n{PROSE[200:400]}'
  strict = {**WEB, 'min_han': 0.6}
  assert rules.broken(page, {**strict, 'code': 0.0})[0] == 'min_han'
  assert rules.broken(page, strict) is None and rules.all_broken(page, strict) == {}
  assert rules.broken(page, {**strict, 'code': 0.9})[0] == 'min_han'  # that is not code enough


@pytest.mark.parametrize(
  'prose', ['', '用法见下。', '，'.join(['首页新闻体育娱乐'] * 12), PROSE.encode().decode('latin-1')]
)
def test_code_does_not_excuse_what_stands_around_it(prose):
  page = f'{prose}\n```\n{LISTING}\n```'
  assert rules.code_share(page) > 0.1
  assert rules.broken(page, {**WEB, 'min_han': 0.6}) is not None


def test_a_word_or_two_explain_no_code():
  few, enough = ('把路径换成你自己的，再运行这个脚本，就能看到结果了。' * n for n in (1, 3))
  bounds = {**only('min_han', 'min_characters', min_han=0.6), 'code': 0.1}
  assert rules.broken(f'{few}\n```\n{LISTING}\n```', bounds) is not None
  assert rules.broken(f'{enough}\n```\n{LISTING}\n```', bounds) is None


def test_code_share_and_the_rest_are_the_whole():
  for text in (PROSE, LISTING, '甲\n```\n乙\n```\n丙\nx = 1', ''):
    size = sum(len(line.strip()) for line in text.replace('```', '').split('\n'))
    rest = len(rules.without_code(text).replace('\n', ''))
    assert rules.code_share(text) == pytest.approx(1 - rest / size if size else 0)
  assert rules.without_code('甲\n```\n乙\n```\n丙\nx = 1') == '甲\n丙'


def test_the_published_rules_of_fineweb2_stay_available():
  fineweb2 = PRESETS['fineweb2']
  published = {
    'min_words': 50,
    'max_words': 100_000,
    'min_mean_word': 1,
    'max_mean_word': 5,
    'min_alpha_words': 0.735,
    'min_stop_words': 2,
    'min_line_ends': 0.106,
    'max_dup_line_characters': 0.1,
    'max_new_lines': 0.178,
    'max_dup_lines': 0.287,
    'max_top_2gram': 0.256,
    'max_dup_10gram': 0.127,
  }
  assert published.items() <= fineweb2.items() and fineweb2['code'] == 0
  on = rules.names(tuple(fineweb2), fineweb2['off'])
  assert on.isdisjoint({'min_han', 'max_mojibake', 'max_top_word', 'min_characters'})
  assert rules.broken(PROSE, fineweb2) is None


@pytest.mark.parametrize('line', ['他说：“走吧。”', '（完。）', '「真的？」', "'yes.'", '走吧。'])
def test_a_line_may_end_in_a_closing_mark(line):
  assert rules._lines(line)['line_ends'] == 1


@pytest.mark.parametrize('line', ['目录（第一页）', '“首页”', '关于我们'])
def test_a_closing_mark_alone_ends_no_sentence(line):
  assert rules._lines(line)['line_ends'] == 0


def test_mojibake_that_is_quoted_is_spoken_of():
  assert rules._marks('“锟斤拷”和「烫烫烫」是怎么来的？')['mojibake'] == 0
  assert rules._marks('锟斤拷烫烫烫')['mojibake'] == 1


def test_text_in_the_wrong_charset_is_dropped_whichever_it_was():
  for encoded, read in (('utf-8', 'latin-1'), ('utf-8', 'cp1252'), ('utf-8', 'gbk'), ('gbk', 'utf-8')):
    broken = PROSE.encode(encoded).decode(read, 'replace')
    item, found = document.clean({'id': '1', 'source': 's', 'text': broken}, WEB)
    assert found[0] == 'max_mojibake', read
    without_marks = item['text'].replace('\ufffd', '')
    assert rules.broken(without_marks, only('max_mojibake', 'min_han')), read


@pytest.mark.parametrize(
  'text', ['«Le café», naïve, über, São Paulo, Ã', '锟是姓，锛是刨刃；好烫烫', 'Ação e reação']
)
def test_foreign_letters_and_rare_characters_are_no_mojibake(text):
  assert rules._marks(text)['mojibake'] == 0


@pytest.mark.parametrize(
  ('text', 'rule'),
  [
    ('今天天气很好，我们去公园散步。', None),
    ('太短', 'min_characters'),
    ('一' * 100_001, 'max_characters'),
    ('this text has hardly any 汉字 at all', 'min_han'),
    ('锟斤拷锟斤拷一二三四五六', 'max_mojibake'),
    ('我们一起去公园看花看草看云。' * 4, 'max_repeated'),
    ('好' * 12, 'min_distinct'),
    ('他妈的，这天气真是太热了。', 'blocked'),
    ('体操你们都会做，我却不会。', None),  # 操你 is there only across two words
  ],
)
def test_the_rules_of_the_demo(text, rule):
  broken = rules.broken(text, PRESETS['plain'])
  assert (broken and broken[0]) == rule


def test_stats_of_a_text():
  found = rules.stats('汉字ab\n\n二行')
  assert (found['characters'], found['lines'], found['mean_line']) == (8, 3, 3)
  assert found['han_share'] == pytest.approx(4 / 6)
  assert rules.stats('')['characters'] == 0
