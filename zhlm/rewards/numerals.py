"""Numbers in Chinese text, exact: 1,234.5 １２３ 一百二十三 三万五千 2万 3/4 四分之三 1又1/2 5% 负三."""

import math
import re
from fractions import Fraction

_SAME = str.maketrans(
  '０１２３４５６７８９．／％－−〇零兩萬億點負壹贰貳叁參肆伍陆陸柒捌玖拾佰仟',
  '0123456789./%--零零两万亿点负一二二三三四五六六七八九十百千',
)
_DIGITS = {character: i for i, character in enumerate('零一二三四五六七八九')} | {'两': 2}
_UNITS = {'十': 10, '百': 100, '千': 1_000, '万': 10_000, '亿': 100_000_000}
_LONGEST = 100  # characters of a numeral; Python refuses to read one of thousands
_KILO = '千(?![克米瓦卡])'  # 千克 is a unit, no number
_NO_ONE = '一(?![样起共些定下般直旦致切边同])'  # 一样, 一起: no number either
_ARABIC = (
  rf'(?:[0-9]+(?:\.[0-9]+)?(?:[百万亿]|{_KILO})+)+(?:[0-9]+)?'
  r'|[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9])|[0-9]+(?:\.[0-9]+)?'
)
_CHINESE = (
  rf'(?:[零二两三四五六七八九十]|{_NO_ONE})(?:[零一二两三四五六七八九十百万亿]|{_KILO})*'
  '(?:点[零一二三四五六七八九]+)?'
)
_N = f'{_ARABIC}|{_CHINESE}'
_NUMBER = re.compile(
  rf'(?P<minus>负|(?<![0-9)）])-)?(?:(?P<whole>{_N})又)?'
  rf'(?:(?P<below>{_N}|[百千万])分之(?P<over>{_N}|百)|(?P<top>{_N})/(?P<bottom>{_N})|(?P<plain>{_N})(?P<percent>%)?)'
)


def last(text):
  """The last number that a text holds, a Fraction, or None.

  A comma in it parts thousands, full width too where the digits are; a 千 before 克, 米, 瓦 or 卡 is part
  of that unit. A fraction counts in lowest terms only, or its parts count: 24/4 is a task, no answer.
  """
  found = None
  for match in _NUMBER.finditer(_plain(text)):
    found = _value(match) if len(match[0]) <= _LONGEST else None
  return found


def _plain(text):
  """The text with one sign for each digit and mark of a number."""
  wide = re.sub('(?<=[０-９])，(?=[０-９])', ',', text)
  return wide.translate(_SAME)


def _value(match):
  sign = -1 if match['minus'] else 1
  if match['plain']:
    value = _magnitude(match['plain']) / (100 if match['percent'] else 1)
  else:
    over = _magnitude(match['over'] or match['top'])
    below = _magnitude(match['below'] or match['bottom'])
    hundredths = match['below'] in ('百', '千', '万')
    if not hundredths and (below < 2 or not _coprime(over, below)):
      return over if match['below'] else below
    value = over / below
  if match['whole']:
    value += _magnitude(match['whole'])
  return sign * value


def _coprime(over, below):
  return over.denominator == below.denominator == 1 and math.gcd(int(over), int(below)) == 1


def _magnitude(text):
  """The value of one numeral without sign, Arabic, Chinese or both (3万5千)."""
  if text[0].isascii():
    pieces = re.findall('([0-9.]+)([百千万亿]*)', text.replace(',', ''))
    return sum(Fraction(n) * math.prod(_UNITS[unit] for unit in units) for n, units in pieces)
  whole, _, decimals = text.partition('点')
  value = Fraction(_whole(whole))
  for i, digit in enumerate(decimals, 1):
    value += Fraction(_DIGITS[digit], 10**i)
  return value


def _whole(text):
  """一百二十三 -> 123, 二零二四 -> 2024, 三千五 -> 3500 (a last digit right after 百, 千, 万 or 亿)."""
  if not _UNITS.keys() & set(text):
    return int(''.join(str(_DIGITS.get(character, 1)) for character in text))
  total = section = digit = 0
  before = 1  # the unit just read
  for character in text:
    if character in _DIGITS:
      digit = _DIGITS[character]
      before = before if digit else 1
    elif (before := _UNITS[character]) < 10_000:
      section += (digit or 1) * before
      digit = 0
    elif before == 10_000:
      total, section, digit = total + (section + digit or 1) * before, 0, 0
    else:
      total, section, digit = (total + section + digit or 1) * before, 0, 0
  return total + section + digit * max(before // 10, 1)
