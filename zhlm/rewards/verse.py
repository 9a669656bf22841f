"""Classical verse by its sound and shape: form, rhyme, tone pattern, repeated characters; not by its sense.

Sound is that of today: rhyme and tone are those of 中华新韵 (十四韵, 中华诗词学会, 2005), where the first
and second tones are level (平), the third and fourth oblique (仄), and there is no entering tone. So
Tang verse, written by the sounds of its time, falls short of 1 here; verse written today need not.
Characters are read as pypinyin reads the whole line. A completion is the poem alone; a line ends at any
punctuation, so a title is a line too.
"""

import collections
import functools
import re

from zhlm.errors import InputError

KINDS = {'五绝': (4, 5), '七绝': (4, 7), '五律': (8, 5), '七律': (8, 7)}  # lines, characters in each
_ASKED = re.compile('([五七])言?([绝絕律])')
_ENDS = re.compile(r'[\s，。！？；：、,.!?;:]+')
_QUOTES = re.compile('[“”‘’「」『』"\']')
# 中华新韵's parts by their finals (ü is v, -i after zh ch sh r z c s is 支).
_PARTS = (
  '麻 a ia ua, 波 o e uo, 皆 ie ve, 开 ai uai, 微 ei uei, 豪 ao iao, 尤 ou iou, 寒 an ian uan van, '
  '文 en in uen vn, 唐 ang iang uang, 庚 eng ing ueng ong iong, 齐 i er v, 姑 u'
)
_RHYMES = {final: part for part, *finals in map(str.split, _PARTS.split(',')) for final in finals}
_DENTAL = ('zh', 'ch', 'sh', 'r', 'z', 'c', 's')
# The lines of regulated verse in five characters (王力《诗词格律》): * may be either tone, and the second
# form of b is its usual variant. Seven have two more before them, the second contrary to the fourth.
_LINES = {
  'a': ('*仄平平仄',),
  'A': ('*仄仄平平',),
  'b': ('*平平仄仄', '平平仄平仄'),
  'B': ('平平仄仄平',),
}
# 仄起 and 平起, each without and with a rhyme in the first line; 粘 and 对 are in their order.
_POEMS = ('aBbAaBbA', 'ABbAaBbA', 'bAaBbAaB', 'BAaBbAaB')


def form(prompt, completion, kind: str = ''):
  """The share of lines with the right number of characters, all of them Chinese, in [0, 1].

  kind: 五绝 七绝 五律 or 七律; without it the one that the prompt names last, or else the best fit.
  Lines that are missing and lines too many both count as wrong. Raises InputError for another kind.
  """
  lines = _lines(completion)
  return max(
    sum(_fits(line, size) for line in lines[:count]) / max(count, len(lines))
    for count, size in _kinds(prompt, kind)
  )


def rhyme(prompt, completion):
  """How many of the even lines rhyme with each other, in [0, 1]: (most that do − 1) / (even lines − 1).

  They rhyme when they end in different characters of one part of 中华新韵 and one class of tone (平, 仄).
  0 for less than two even lines. Any number of lines may be given: use it beside `form`.
  """
  even = _lines(completion)[1::2]
  rhyming = collections.defaultdict(set)
  for line in even:
    part, level = _read(line)[-1]
    if part:
      rhyming[part, level].add(line[-1])
  most = max(map(len, rhyming.values()), default=1)
  return (most - 1) / max(len(even) - 1, 1)


def tones(prompt, completion, kind: str = ''):
  """The share of positions with a fixed tone that have it, mean over lines, in the standard pattern of
  regulated verse (王力《诗词格律》) that fits best, in [0, 1]; random characters get about 0.6.

  kind as in `form`; a line without its number of characters gets 0. Raises InputError for another kind.
  """
  lines = _lines(completion)
  best = 0.0
  for count, size in _kinds(prompt, kind):
    heard = [{name: _agreement(line, name, size) for name in _LINES} for line in lines[:count]]
    for poem in _POEMS:
      agreed = sum(line[name] for line, name in zip(heard, poem, strict=False))
      best = max(best, agreed / max(count, len(lines)))
  return best


def distinct(prompt, completion):
  """Different characters over all characters of the lines, in [0, 1]; 0 for no line."""
  characters = ''.join(_lines(completion))
  return len(set(characters)) / max(len(characters), 1)


def _kinds(prompt, kind):
  """[(lines, characters)] that the poem may have."""
  if kind and kind not in KINDS:
    raise InputError(f'no form is named {kind!r}; choose from {", ".join(KINDS)}, or nothing for any')
  if not kind and (asked := _ASKED.findall(prompt)):
    kind = ''.join(asked[-1]).replace('絕', '绝')
  return [KINDS[kind]] if kind else KINDS.values()


def _lines(text):
  return [line for line in _ENDS.split(_QUOTES.sub('', text)) if line]


def _fits(line, size):
  return len(line) == size and all(level is not None for _, level in _read(line))


def _agreement(line, name, size):
  """The share of fixed positions of a line that have the tone of the line `name`; 0 at another size."""
  if len(line) != size:
    return 0.0
  heard = [{True: '平', False: '仄', None: ''}[level] for _, level in _read(line)]
  best = 0.0
  for pattern in _LINES[name]:
    if size == 7:
      pattern = '*' + ('仄' if pattern[1] == '平' else '平') + pattern
    fixed = [(tone, wanted) for tone, wanted in zip(heard, pattern, strict=True) if wanted != '*']
    best = max(best, sum(tone == wanted for tone, wanted in fixed) / len(fixed))
  return best


@functools.lru_cache(maxsize=4096)
def _read(line):
  """[(part of 中华新韵 or '', whether the tone is level)] of each character; None of what is no Chinese."""
  try:
    from pypinyin import Style, lazy_pinyin
    from pypinyin.contrib.tone_convert import to_finals, to_initials
  except ImportError:
    raise InputError('pypinyin is missing, which reads characters: pip install pypinyin') from None
  readings = lazy_pinyin(
    line, style=Style.TONE3, neutral_tone_with_five=True, errors=lambda text: [''] * len(text)
  )
  heard = []
  for reading in readings:
    final = to_finals(reading, strict=True) if reading else ''
    dental = final == 'i' and to_initials(reading) in _DENTAL
    level = reading[-1] in '12' if reading else None
    heard.append(('支' if dental else _RHYMES.get(final, ''), level))
  return heard
