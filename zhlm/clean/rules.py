"""A text measured, and held against rules: `min_x` and `max_x` bound the measure `x`, nothing else does.

A preset of `configs/rules.py` as a plain dict gives the bounds; `off` in it names the rules to leave out.
Measures come in groups by cost, and a text that breaks a rule is measured no further; but a page of code is
judged by the rest of its lines. Lines, words and repetition are defined as in datatrove (FineWeb-2), so
that its published thresholds mean the same here; only, a sentence may end in a quotation or bracket.
"""

import functools
import re

import numpy as np

from zhlm.clean import words
from zhlm.errors import InputError

OPTIONS = ('off', 'convert', 'private', 'code')  # fields of a preset that are no rules
_EXPLAINED = 60  # characters beside the code that a page of code must have
_N = 13  # characters of the n-gram whose repetition marks boilerplate (ChineseWebText)
# What text becomes in the wrong charset: GBK's reading of U+FFFD, C's uninitialised memory, UTF-8 read as
# Latin-1 (two letters in a row, for «café» is French), and as GBK: ，。“ and the byte that follows them.
_AFTER = ''.join(
  bytes((mark, next_one)).decode('gbk', 'ignore')
  for mark in range(0x81, 0xA7)
  for next_one in range(0xE3, 0xEA)
)
_MOJIBAKE = re.compile(
  f'\ufffd|(?<![“「『])(?:锟斤拷|烫{{3,}}|屯{{3,}})|[锛銆鈥][{_AFTER}]|[ÃÂ][¡-¿]|'
  '(?:[Â-ô][¡-¿ŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™]{1,2}){2,}'
)
_MOJIBAKE_SIGN = re.compile('[\ufffd锟烫屯锛銆鈥Â-ô]')
_TERMINAL = tuple('.!?。！？．｡﹒﹖﹗‼‽⁇⁈⁉⸮')  # datatrove's ends of a sentence, as far as Chinese has them
_CLOSING = '”’」』）)】》〉"\''  # what may follow the end of a sentence and closes the line
_MORE = ('展开', '更多', '。。。')  # MAP-CC: where a page cuts a text short
_BRACKETED = re.compile('【[^】\n]*】')
_HAN = re.compile('[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]')
_CODE = re.compile(
  r'(?:import|from|def|class|return|const|let|var|func|fn|pub|public|private|static|void|int|else|package|using'
  r'|SELECT|INSERT|CREATE|ALTER)\b|#include|//|/\*|\*/|[$] |>>> |</?[a-zA-Z][^>]*>|.*[{};\\]$|.*=>|'
  r'[\w.\[\]]+ ?[-+*/|&]?= ?[^= ]'
)
_OTHER, _COMMON, _RARE, _KANA, _DIGIT, _SPACE, _PRIVATE = range(7)


def broken(text, rules):
  """None, or (rule, value) of the first rule in order of cost that the text breaks.

  Raises InputError when `rules['off']` names what is no rule.
  """
  found = next(_breaches(text, rules), None)
  return None if found is None or _explains_code(text, rules) else found


def all_broken(text, rules):
  """{rule: value} of every rule that the text breaks; {} when `broken` finds none."""
  found = dict(_breaches(text, rules))
  return {} if found and _explains_code(text, rules) else found


def _explains_code(text, rules):
  """Whether `rules['code']` of the text or more is code, and what is left without it breaks no rule."""
  if not rules['code'] or len(text) > rules['max_characters'] or code_share(text) < rules['code']:
    return False
  # How much text there is, the page as a whole says; but a few words explain nothing.
  rest = {**rules, 'off': f'{rules["off"]} min_characters min_words'}
  prose = without_code(text) if len(text) >= rules['min_characters'] else ''
  return len(prose) >= _EXPLAINED and not any(_breaches(prose, rest))


def _breaches(text, rules):
  """Yields (rule, value), the cheap rules first; measures that no active rule bounds are not taken."""
  active = names(tuple(rules), rules['off'])
  found = None
  for group, its_rules in _GROUPS:
    if active.isdisjoint(its_rules):
      continue
    if group in (words.count, words.repeats):
      found = words.index(text) if found is None else found
      values = group(text, *found)
    else:
      values = group(text)
    for name, value in values.items():
      if (rule := f'min_{name}') in active and value < rules[rule]:
        yield rule, value
      if (rule := f'max_{name}') in active and value > rules[rule]:
        yield rule, value
  if 'blocked' in active and (word := words.found(text, rules['blocked'].split())):
    yield 'blocked', word


@functools.cache
def names(fields, off):
  """The rules that are on, of a preset's fields and its `off`. Raises InputError for an unknown name."""
  known = frozenset(['blocked']).union(*(rules for _, rules in _GROUPS))
  named = frozenset(fields).difference(OPTIONS)
  if unknown := sorted(named.union(off.split()) - known):
    raise InputError(f'no rule is named {", ".join(unknown)}; the rules are {", ".join(sorted(known))}')
  return named - set(off.split())


def stats(text):
  """What histograms and labels show of a text; lengths in characters, shares from 0 to 1."""
  by_class, by_line = _classes(text), _lines(text)
  return {
    'characters': len(text),
    'lines': text.count('\n') + 1 if text else 0,
    'mean_line': by_line['mean_line'],
    'han_share': by_class['han'],
    'kana_share': by_class['kana'],
    'code_share': code_share(text),
    'repeated_share': repeated_share(text),
  }


def han_share(text):
  """Chinese characters over all characters that are not space, 0 for no text."""
  return _classes(text)['han']


def code_share(text):
  """The share of characters in lines without Chinese that look like code, or stand between ``` fences."""
  sizes = [0, 0]
  for is_code, line in _by_code(text):
    sizes[is_code] += len(line)
  return sizes[True] / max(sum(sizes), 1)


def without_code(text):
  """The lines that `code_share` takes for no code."""
  return '\n'.join(line for is_code, line in _by_code(text) if line and not is_code)


def _by_code(text):
  """(whether it is code, line) of each line, without blanks at its ends."""
  for i, part in enumerate(text.split('```')):
    for line in part.split('\n'):
      line = line.strip()
      yield bool(i % 2 or (not _HAN.search(line) and _CODE.match(line))), line


def repeated_share(text):
  """The share of 13-character windows that occurred earlier in the same text."""
  if len(text) < _N:
    return 0.0
  # A window's number is a polynomial of its characters modulo 2⁶⁴, from those of 8, 4 and 1 characters.
  one = np.frombuffer(text.encode('utf-32-le', 'replace'), np.uint32).astype(np.uint64)
  base = np.uint64(0x9E3779B97F4A7C15)
  two = one[:-1] * base + one[1:]
  four = two[:-2] * base**2 + two[2:]
  eight = four[:-4] * base**4 + four[4:]
  windows = (eight[:-5] * base**4 + four[8:-1]) * base + one[12:]
  windows.sort()
  return float(np.count_nonzero(windows[1:] == windows[:-1])) / len(windows)


def _length(text):
  return {'characters': len(text)}


def _marks(text):
  """Signs of broken text, as shares of the characters."""
  size, held = max(len(text), 1), 0
  if _MOJIBAKE_SIGN.search(text):
    held = sum(len(m[0]) for m in _MOJIBAKE.finditer(text))
  in_brackets = sum(map(len, _BRACKETED.findall(text))) if '【' in text else 0
  return {'mojibake': held / size, 'bracketed': in_brackets / size}


@functools.cache
def _class_of():
  """[0x110000] the class of every character; rare: Chinese that neither GB 2312 nor Big5 has."""
  table = np.zeros(0x110000, np.uint8)
  for code in range(0x3000):
    table[code] = _SPACE if chr(code).isspace() else _DIGIT if 0x30 <= code < 0x3A else _OTHER
  table[0x3000] = _SPACE
  for first, last in ((0x3041, 0x3096), (0x30A1, 0x30FA), (0xFF66, 0xFF9D)):
    table[first : last + 1] = _KANA
  for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)):
    table[first : last + 1] = _RARE
  for first, last in ((0xE000, 0xF8FF), (0xF0000, 0x10FFFF)):
    table[first : last + 1] = _PRIVATE
  for code in range(0x4E00, 0xA000):
    character = chr(code)
    if character.encode('gb2312', 'ignore') or character.encode('big5', 'ignore'):
      table[code] = _COMMON
  return table


def _classes(text):
  """Shares of characters by class: of those that are not space, or of han; and the distinct ones."""
  codes = np.frombuffer(text.encode('utf-32-le', 'replace'), np.uint32)
  counts = np.bincount(_class_of()[codes], minlength=7).tolist()
  seen = np.zeros(int(codes.max(initial=0)) + 1, bool)
  seen[codes] = True
  letters = max(len(codes) - counts[_SPACE], 1)
  han = counts[_COMMON] + counts[_RARE]
  return {
    'han': han / letters,
    'digits': counts[_DIGIT] / letters,
    'private_use': counts[_PRIVATE] / letters,
    'kana': counts[_KANA] / max(counts[_KANA] + han, 1),
    'rare': counts[_RARE] / max(han, 1),
    'distinct': int(np.count_nonzero(seen)) / max(min(len(codes), 200), 1),
  }


def _lines(text):
  """Shares of lines, and the characters of lines that stood there before, as datatrove takes them."""
  split = text.split('\n')
  filled = [line for line in split if line and not line.isspace()]
  n, size = max(len(filled), 1), sum(map(len, split))
  distinct = dict.fromkeys(filled)
  runs = re.split('\n+', text) if '\n\n' in text else split
  more = ends = ellipses = bullets = 0
  for line in filled:
    ends += line.rstrip(_CLOSING).endswith(_TERMINAL)
    more += line.endswith(_MORE)
    ellipses += line.rstrip().endswith(('...', '…'))
    bullets += line.lstrip().startswith(('•', '-'))
  return {
    'mean_line': sum(map(len, filled)) / n,
    'line_ends': ends / n,
    'more_lines': more / n,
    'ellipsis_lines': ellipses / len(split),
    'bullet_lines': bullets / len(split),
    'dup_lines': 1 - len(set(runs)) / len(runs),
    'dup_line_characters': (sum(map(len, filled)) - sum(map(len, distinct))) / max(size, 1),
  }


def _repeated(text):
  return {'repeated': repeated_share(text)}


def _group(function, *no_words):
  """(function, the rules that bound its measures)."""
  return function, frozenset(f'{end}_{name}' for name in function('', *no_words) for end in ('min', 'max'))


_GROUPS = (  # by cost
  _group(_length),
  _group(_marks),
  _group(_classes),
  _group(_lines),
  _group(_repeated),
  _group(words.count, [], []),
  _group(words.repeats, [], []),
)
