"""An item cleaned: bad and odd inputs end as they should, and what names an item stays as it came."""

import json

import pytest

from tests.clean_rules_test import PRESETS, PROSE, WEB
from zhlm.clean import document
from zhlm.errors import InputError

TABLE = [f'第{i}行写的是第{i * 7}件事情，它与第{i + 3}件并不相同。' for i in range(30)]
POEM = '空山新雨后\n天气晚来秋\n明月松间照\n清泉石上流\n竹喧归浣女\n莲动下渔舟\n随意春芳歇\n王孙自可留'
CITIES = ('北京', '上海', '广州', '深圳', '成都', '杭州', '武汉', '西安', '南京', '长沙')
TOPICS = ('新闻', '旅游', '房产', '招聘', '美食')
BAD = {  # what the input is: (text, preset, the rule that drops it or None)
  'empty': ('', 'web', 'min_characters'),
  'blank': (' \u3000\n\t', 'chat', 'min_characters'),
  'one character': ('好', 'plain', 'min_characters'),
  'one line of 20 MB': (PROSE.replace('\n', '') * 26_000, 'web', 'max_characters'),
  'one character a million times': ('好' * 10**6, 'web', 'min_distinct'),
  'one character a million times, as a book': ('好' * 10**6, 'book', 'min_distinct'),
  'no punctuation': (PROSE.translate(dict.fromkeys(map(ord, '，。、；'), ' ')), 'web', 'min_line_ends'),
  'only punctuation': ('，。！？' * 100, 'web', 'min_han'),
  'a line that is nine tenths of all': (
    '\n'.join([*TABLE, *['欢迎光临本店选购各种商品。'] * 270]),
    'web',
    'max_dup_lines',
  ),
  'English': ('The quick brown fox jumps over the lazy dog. ' * 20 + '汉字很少', 'web', 'min_han'),
  'Japanese': ('今日はとても天気がよかったので、公園を散歩しました。' * 10, 'web', 'max_kana'),
  'Japanese without kana cannot be told': ('東京都知事選挙結果発表会開催。', 'plain', None),
  'pinyin': ('jīntiān tiānqì hěn hǎo, wǒmen qù gōngyuán. ' * 10, 'web', 'min_han'),
  'links': ('\n'.join(f'{a}{b}网' for a in CITIES for b in TOPICS), 'web', 'min_mean_line'),
  'navigation': (
    ' '.join(f'{a}{b}' for a in CITIES for b in TOPICS) + '\n首页\n关于我们\n' * 10,
    'web',
    'min_line_ends',
  ),
  'mojibake': ('锟斤拷' * 100, 'web', 'max_mojibake'),
  'private use': (PROSE + '\ue001' * 20, 'web', 'max_private_use'),
  'extension B': (PROSE + '他写下𠮷野家三字。', 'web', None),
  'both scripts': (PROSE + '「漢字簡化以後，書寫變得簡單。」', 'web', None),
  'full width': (PROSE + '共１２３４５件，ＡＢＣ牌。', 'web', None),
  'markdown table': (PROSE + '\n| 名 | 值 |\n|---|---|\n| 甲 | 1 |', 'wiki', None),
  'LaTeX': (PROSE + '\n设 $x^2+y^2=1$，则有 \\frac{a}{b} 成立。', 'web', None),
  'code with little Chinese': (
    '如下所示：\n' + 'return {"key": value}\n' * 20,
    'web',
    'min_han',
  ),
  'verse on the web': (POEM, 'web', 'min_characters'),
  'verse': (POEM, 'poem', None),
  'prose as a book': (PROSE, 'book', None),
  'prose as news': (PROSE, 'news', None),
  'prose as a manual': (PROSE, 'manual', None),
  'a question': ('你好吗？', 'chat', None),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_and_odd_inputs(name):
  text, preset, rule = BAD[name]
  _, broken = document.clean({'id': '1', 'source': 's', 'text': text}, PRESETS[preset])
  assert (broken and broken[0]) == rule


def test_cleaning_leaves_what_names_an_item_and_cleans_the_rest():
  turn = {'role': 'user', 'content': '電話：１３８１２３４５６７８  謝謝'}
  item = {
    'id': 'ｓ:１',
    'kind': 'conversation',
    'source': 'ｓ',
    'url': 'http://a.cn/?p=13812345678',
    'html': '<p>１</p>',
    'text': turn['content'],
    'messages': [turn],
    'ranks': [1],
  }
  before = json.dumps(item)
  new, broken = document.clean(item, {**PRESETS['chat'], 'convert': 't2s'})
  assert broken is None and json.dumps(item) == before
  assert {k: new[k] for k in ('id', 'source', 'url', 'html', 'ranks')} == {
    k: item[k] for k in ('id', 'source', 'url', 'html', 'ranks')
  }
  assert new['text'] == new['messages'][0]['content'] == '电话：<手机号> 谢谢'
  assert (new['script'], new['private']) == ('hant', {'mobile': 1})
  assert new['stats'] == {'characters': 11, 'han_share': pytest.approx(7 / 10)}


def test_masking_and_conversion_are_choices():
  item = {'id': '1', 'source': 's', 'text': '請打13812345678這個電話'}
  new, _ = document.clean(item, {**PRESETS['chat'], 'private': False})
  assert new['text'] == item['text'] and 'private' not in new
  assert document.clean(new, {**PRESETS['chat'], 'private': False})[0] == new  # twice is once


def test_a_conversion_that_does_not_exist_stops():
  with pytest.raises(InputError, match='convert=simplified'):
    document.clean({'id': '1', 'source': 's', 'text': '好'}, {**WEB, 'convert': 'simplified'})
