"""A listed word counts where it is a word; lists can be replaced; labels are shares of a text."""

import numpy as np
import pytest

from zhlm.clean import lists
from zhlm.errors import InputError


@pytest.fixture(scope='module')
def shipped():
  return lists.matcher(lists.load())


def found(text, matcher):
  return {word for _, word, _ in lists.hits(text.lower(), matcher)}


def folder(path, **files):
  path.mkdir(exist_ok=True)
  for name, data in files.items():
    (path / name.replace('_tsv', '.tsv').replace('_txt', '.txt')).write_bytes(
      data if isinstance(data, bytes) else data.encode()
    )
  return str(path)


@pytest.mark.parametrize(
  ('text', 'inside'),
  [
    ('这家小店很有特色情怀也深。', '色情'),
    ('全市开展营利性服务业调查。', '性服务'),
    ('白皮猪肉多少钱一斤', '白皮猪'),
    ('有一些娘炮制的药酒', '娘炮'),
    ('老毛子弟兵', '老毛子'),
    ('请假证明要交给老师', '假证'),
  ],
)
def test_a_word_across_other_words_does_not_count(text, inside):
  assert inside in text
  matcher = lists.matcher({'x': (inside,)})
  assert found(text, matcher) == set()
  assert found(f'他说的{inside}，不好。', matcher) == {inside}


def test_a_latin_word_stands_alone():
  matcher = lists.matcher({'x': ('tmd', 'a片')})
  assert found('htmd tmds tmd1', matcher) == set()
  assert found('好tmd烦，TMD', matcher) == {'tmd'}
  assert found('usa片场', matcher) == set()


def test_long_and_latin_words_ask_no_segmenter():
  matcher = lists.matcher({'x': ('注册送彩', 'abc', '彩金')})._replace(borders=lambda clause: set())
  assert found('注册送彩金 abc', matcher) == {'注册送彩', 'abc'}


def test_every_shipped_word_is_found_in_a_plain_sentence(shipped):
  listed = {word for some in lists.load().values() for word in some}
  lost = [word for word in listed if word not in found(f'我们看到“{word}”，就走了。', shipped)]
  assert lost == []


def test_hits_are_the_longest_of_a_plain_search():
  words = ('中秋', '中秋节', '秋节', '月亮', '亮', '节月亮')
  matcher = lists.matcher({'x': words})._replace(borders=lambda clause: set(range(len(clause) + 1)))
  rng = np.random.default_rng(0)
  for _ in range(50):
    text = ''.join(rng.choice(list('中秋节月亮，'), 60))
    plain = [(i, i + len(w)) for w in words for i in range(60) if text.startswith(w, i)]
    longest = {
      (i, k) for i, k in plain if not any(a <= i and k <= b and (a, b) != (i, k) for a, b in plain)
    }
    assert {(i, i + len(w)) for i, w, _ in lists.hits(text, matcher)} == longest


def test_a_longer_word_of_another_label_hides_none():
  matcher = lists.matcher({'x': ('刷单',), 'y': ('兼职刷单', '刷单'), 'z': ('单',)})
  assert list(lists.hits('兼职刷单', matcher)) == [(0, '兼职刷单', ('y',)), (2, '刷单', ('x',))]


def test_density_counts_distinct_words():
  matcher = lists.matcher({'odd': ('百家乐', '龙虎斗'), 'even': ('百家乐',), 'none': ()})
  text = '百家乐，百家乐。龙虎斗！'
  assert lists.density(text, matcher) == {'odd': 2, 'even': 1, 'none': 0}
  assert lists.density(text + '，' * (2000 - len(text)), matcher) == {'odd': 1, 'even': 0.5, 'none': 0}


def test_a_folder_of_ones_own_replaces_the_lists(tmp_path):
  mine = folder(
    tmp_path, 茶_txt='\ufeff# 说明\n 龙井 # 绿茶\n普洱\n\n', 空_txt='', stop_txt='的', x_txt='咖啡\r\n'
  )
  assert lists.load(mine) == {'茶': ('龙井', '普洱'), '空': (), 'x': ('咖啡',)}
  (label,) = lists.labels(['我爱喝龙井和普洱。'], mine)
  assert label['茶'] > 0.8 and label['空'] == label['x'] == pytest.approx(0.05)


def test_a_folder_without_lists_has_no_labels(tmp_path):
  assert lists.labels(['好'], folder(tmp_path)) == [{}]


def test_two_lists_are_one_label(tmp_path):
  mine = folder(tmp_path, rumour_txt='速转', conspiracy_txt='速转')
  one, none = lists.labels(['速转！', '你好！'], mine)
  assert one == {'falsehood': pytest.approx(1 / (1 + 19 * np.exp(-lists._WORD)))}
  assert none == {'falsehood': pytest.approx(0.05)}


@pytest.mark.parametrize(
  ('files', 'wanted'),
  [
    ({'x_txt': '好\n赌博\n'.encode('gb18030')}, r'x\.txt:1: not UTF-8'),
    ({'x_txt': b'a\nb\n\xff\xfe'}, r'x\.txt:3: not UTF-8'),
    ({'examples_tsv': 'harmless\t好\n没有制表符'}, r'examples\.tsv:2: .*LABEL<TAB>SENTENCE'),
    ({'examples_tsv': 'tea\t好茶\n'}, r'no sentence that is not tea'),
  ],
)
def test_a_bad_file_is_named(tmp_path, files, wanted):
  mine = folder(tmp_path, **files)
  with pytest.raises(InputError, match=wanted):
    lists.judge(mine)


def test_no_folder_is_an_error(tmp_path):
  with pytest.raises(InputError, match='no such folder'):
    lists.load(str(tmp_path / 'nowhere'))


def test_each_kind_is_told_from_its_look_alike():
  """Sentences that are not in the examples."""
  pairs = {
    'gambling': (
      '百家乐开户送彩金，下注返水，提现秒到。',
      '市公安局打掉一个网络赌博平台，冻结资金百万元。',
    ),
    'porn': ('深夜福利视频，美女裸聊，加微信上门服务。', '妇产科医生讲解孕期检查的注意事项。'),
    'abuse': ('你这个傻逼废物，给老子滚，去死吧。', '他说话慢，做事也慢，不过大家都喜欢他。'),
    'fraud': ('兼职刷单日入过千，先交保证金，加微信领取任务。', '民警提醒：网上刷单就是诈骗，不要转账。'),
    'falsehood': (
      '震惊！医生不会告诉你，这种水果致癌，看到的赶紧转发！',
      '医生建议每天吃适量的水果和蔬菜。',
    ),
    'bias': ('女人就不该读博士，外地人素质都低。', '今年入学的博士生中，女性占了一半。'),
  }
  bad, good = zip(*pairs.values(), strict=True)
  for label, is_bad, is_good in zip(pairs, lists.labels(bad), lists.labels(good), strict=True):
    assert is_bad[label] > 0.5 > is_good[label], (label, is_bad, is_good)


def test_a_label_is_a_share_of_the_text():
  bad, good = '百家乐开户送彩金，下注返水，提现秒到。', '今天天气晴朗，我们去公园散步看花。\n'
  one, other = (lists.labels([text])[0]['gambling'] for text in (bad, good))
  text = (good * 8)[:-1] + '\n' + bad + '\n' * 1
  (mixed,) = lists.labels([text])
  assert other < 0.2 < 0.8 < one and other < mixed['gambling'] < 0.4


def test_a_word_counts_in_its_own_passage(tmp_path):
  mine = folder(tmp_path, x_txt='龙井\n普洱')
  here = '龙井，' + '好' * 61 + '。'
  apart = lists.labels([here + '普洱，' + '好' * 123 + '。' * 2], mine)[0]['x']
  both = lists.labels(['龙井普洱，' + '好' * 59 + '。'], mine)[0]['x']
  one = lists.labels([here], mine)[0]['x']
  assert apart == pytest.approx(one) and one < 0.6 < 0.85 < both


def test_short_lines_are_read_together_as_prose_would_be():
  line = '风吹过河岸'
  one, other = lists.labels([f'{line}\n' * 12, f'{line} ' * 12])
  assert one == other


def test_advertising_is_told_from_talk_of_goods():
  bad = '本店窗帘全场五折，免费上门测量安装，团购更优惠，欢迎来电咨询，订购热线<手机号>，前五十名送抱枕！'
  good = '选窗帘先看布料的遮光率，再量好窗户的宽和高，客厅多用纱帘，卧室用厚一点的布，洗过可能会缩水。'
  one, other = (found['ad'] for found in lists.labels([bad, good]))
  assert one > 0.5 > 0.15 > other


def test_what_sites_say_of_themselves_is_told_from_talk_of_sites():
  bad = '您的登录已超时，请重新登录。本站内容版权所有，未经授权请勿转载。返回首页，联系我们，友情链接。'
  good = '论坛的登录页面由三个字段组成，服务器收到请求以后先检查密码，再把会话写进数据库。'
  one, other = (found['boilerplate'] for found in lists.labels([bad, good]))
  assert one > 0.5 > 0.15 > other


def test_labels_do_not_depend_on_the_batch():
  texts = ['你个傻逼。', '', '好' * 300, '下注返水，\n' * 40, '\ud800孤立', 'abc', '𠮷野家']
  assert lists.labels(texts) == [lists.labels([text])[0] for text in texts]
  assert lists.labels([]) == []
  assert set(lists.labels([''])[0].values()) == {0.0}


def test_training_and_list_order_do_not_matter(tmp_path):
  lines = ['tea\t龙井茶清香', 'tea\t泡一壶普洱', 'harmless\t今天下雨了', 'harmless\t火车晚点了']
  one = folder(tmp_path / 'a', tea_txt='龙井\n普洱\n', examples_tsv='\n'.join(lines))
  two = folder(tmp_path / 'b', tea_txt='普洱\n龙井\n', examples_tsv='\n'.join(lines[::-1]))
  texts = ['普洱和龙井', '明天下雨', '火车上喝茶']
  assert lists.labels(texts, one) == lists.labels(texts, two)


def test_a_sentence_of_two_labels_teaches_both(tmp_path):
  lines = 'tea+cup\t一杯龙井\ntea\t采茶时节\ncup\t打碎了杯子\nharmless\t今天下雨了'
  _, models = lists.judge(folder(tmp_path, examples_tsv=lines))
  counts = {label: model.report['learned_from'] for label, model in models.items()}
  assert counts == {label: {'positive': 2, 'negative': 2} for label in ('tea', 'cup')}
