"""Normalising changes how a text is written, not what it says."""

import random
import unicodedata

import pytest

from zhlm.clean.normalise import normalise, normalise_all


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('ＡＢＣ１２３％', 'ABC123%'),
    ('（ａ＋ｂ）＊２＝４／ｃ', '（a+b）*2=4/c'),
    ('好，真好！（是吗？）：是；约３～５天。', '好，真好！（是吗？）：是；约3～5天。'),
    ('零\u200b宽\ufeff连\u2060字', '零宽连字'),
    ('\u202e倒着读\u202c\u2066隔开\u2069', '倒着读隔开'),
    ('软\u00ad连字，葛\U000e0100城，❤\ufe0f', '软连字，葛城，❤'),
    ('响\x07铃\x00\x1b[0m', '响铃[0m'),
    ('一  二\t三\u3000四\xa0\u2003五', '一 二 三 四 五'),
    ('一 \r\n 二\r三\u2028四\x0c五', '一\n二\n三\n四\n五'),
    ('一\n\n \n\t\n\n二', '一\n\n二'),
    ('e\u0301 \uf900 e\u200b\u0301', 'é 豈 é'),
    ('孤\ud800立\udfff', '孤立'),
    ('𠮷野家在𰻞面馆旁', '𠮷野家在𰻞面馆旁'),
    ('残\ufffd缺', '残\ufffd缺'),  # stays, so that the rules see it
    ('  \u3000\n ', ''),
    ('', ''),
  ],
)
def test_normal_form(text, wanted):
  assert normalise(text) == wanted
  assert normalise(wanted) == wanted


def test_code_between_fences_keeps_its_indentation():
  code = '```python\nif x:\n    return  1\n\n\n\ty\n```'
  assert normalise(f'看  代码：\n  {code}\n  完了') == f'看 代码：\n{code}\n完了'


def test_a_fence_that_is_never_closed_is_plain_text():
  assert normalise('```\n    a  b') == '```\na b'


def test_twice_is_once():
  draw = random.Random(0)
  alphabet = [
    *'一二ａＢ１，＂ab 1`',
    '\n',
    '\r',
    '\t',
    '\u3000',
    '\u200b',
    '\u0301',
    '\x0b',
    '\u2028',
    '\x85',
  ]
  alphabet += [
    '\ufffd',
    '\ud800',
    '\uf900',
    '\ufeff',
    'e',
    '```',
    '\u2126',
    '\u2000',
    '\u00ad',
    '\U000e0101',
  ]
  for _ in range(5000):
    text = normalise(''.join(draw.choices(alphabet, k=draw.randrange(40))))
    assert normalise(text) == text
    assert unicodedata.is_normalized('NFC', text)
    text.encode()  # no surrogate is left


def test_every_character_becomes_what_unicode_says_of_it():
  unseen = ('BN', 'LRE', 'RLE', 'LRO', 'RLO', 'PDF', 'LRI', 'RLI', 'FSI', 'PDI')
  for code in range(0x20000):
    character = chr(code)
    found, name = normalise(f'甲{character}乙')[1:-1], unicodedata.name(character, '')
    category = unicodedata.category(character)
    if (
      unicodedata.bidirectional(character) in unseen
      or category == 'Cs'
      or name.endswith(('HANGUL FILLER', 'SEONG FILLER'))
    ):
      wanted = ''
    elif category == 'Zs' or character == '\t':
      wanted = ' '
    elif len(f'a{character}b'.splitlines()) > 1:
      wanted = '\n'
    elif 0xFF01 <= code < 0xFF5F and character not in '，！？：；（）～':
      wanted = unicodedata.normalize('NFKC', character)
    elif category[0] in 'LNPS' and character != '\ufffc':
      wanted = unicodedata.normalize('NFC', character)
    else:
      continue  # marks, private use and what is not assigned
    assert found == wanted, hex(code)


def test_every_string_inside_is_normalised_and_nothing_else_changes():
  value = {'Ｋ': ['Ａ', {'b': 'Ｂ'}], 'n': 1, 'none': None, 'yes': True}
  assert normalise_all(value) == {'Ｋ': ['A', {'b': 'B'}], 'n': 1, 'none': None, 'yes': True}
