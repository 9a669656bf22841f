"""Text in, the same text written plainly; it knows nothing of what the text is worth.

Chinese punctuation stays as it is: `，！？：；（）～` are no “full-width ASCII” to be folded. U+FFFD stays,
so that the rules see it. Code between ``` fences keeps its blanks: indentation is part of it.
"""

import re
import unicodedata

_CJK_PUNCTUATION = '，！？：；（）～'
_BREAKS = '\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029'  # all that str.splitlines takes for the end of a line
_BLANKS = '\xa0\u1680\u2000-\u200a\u202f\u205f\u3000'
# Control characters, soft hyphen, zero width, bidi marks and overrides, BOM, fillers, variation
# selectors, tags, annotations, the object replacement, lone surrogates.
_INVISIBLE = (
  '\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f'
  '\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc'
  '\ufffe\uffff\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff'
)
_WIDE = ''.join(c for c in map(chr, range(0xFF01, 0xFF5F)) if c not in _CJK_PUNCTUATION)
_ODD = re.compile(f'[{_BREAKS}{_BLANKS}{_INVISIBLE}{_WIDE}]+')
_RUN = re.compile('\t[\t ]*| [\t ]+')  # not ' +': that would put each single blank in its own place
_FENCED = re.compile('(```.*?```)', re.DOTALL)


def _characters(ranges):
  """The characters of a regex class such as 'a-z'."""
  for first, last in re.findall('(.)(?:-(.))?', ranges, re.DOTALL):
    yield from map(chr, range(ord(first), ord(last or first) + 1))


_PLAIN = (
  dict.fromkeys(map(ord, _characters(_INVISIBLE)))
  | dict.fromkeys(map(ord, _characters(_BLANKS)), ' ')
  | dict.fromkeys(map(ord, _characters(_BREAKS)), '\n')
  | {ord(c): chr(ord(c) - 0xFEE0) for c in _WIDE}
)


def normalise(text):
  """NFC; full-width letters and digits halved; invisible characters out; runs of blanks made one.

  Applied twice it does what it does once. Lines lose blanks at both ends, and more than one empty
  line becomes one.
  """
  if '\r' in text:
    text = text.replace('\r\n', '\n')
  if not (text.isascii() and text.isprintable()):
    # One search for everything odd: most texts hold little of it, and `translate` is slow.
    text = _ODD.sub(lambda run: run[0].translate(_PLAIN), text)
  if not unicodedata.is_normalized('NFC', text):
    text = unicodedata.normalize('NFC', text)  # last: what was between a letter and its mark is gone
  if '```' in text:
    text = ''.join(p if i % 2 else _tidy(p) for i, p in enumerate(_FENCED.split(text)))
  else:
    text = _tidy(text)
  return text.strip()


def _tidy(text):
  """Single blanks, none of them beside a line's end, and at most one empty line in a row."""
  if '\t' in text or '  ' in text:
    text = _RUN.sub(' ', text)
  if ' \n' in text or '\n ' in text:
    text = text.replace(' \n', '\n').replace('\n ', '\n')
  return re.sub('\n{3,}', '\n\n', text) if '\n\n\n' in text else text


def normalise_all(value):
  """`normalise` on every string inside lists and dicts (keys are left alone)."""
  return each(normalise, value)


def each(function, value):
  """`function` on every string inside lists and dicts (keys are left alone)."""
  if isinstance(value, str):
    return function(value)
  if isinstance(value, list):
    return [each(function, v) for v in value]
  if isinstance(value, dict):
    return {k: each(function, v) for k, v in value.items()}
  return value
