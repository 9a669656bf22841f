"""Traditional and Simplified Chinese: which of them a text is in, and the one made the other."""

import functools

import numpy as np

from zhlm.errors import InputError

_MIXED = 0.1  # share of the rarer script from which on a text is in both: names and quotations are less
_WINDOW = 20_000  # characters that the label looks at: the first ones


def script(text):
  """'hans', 'hant', 'mixed', or 'none' when no character of the text is of one script only."""
  codes = np.frombuffer(text[:_WINDOW].encode('utf-16-le', 'replace'), np.uint16)
  hans, hant = np.bincount(_only()[codes], minlength=3)[1:].tolist()
  if not hans + hant:
    return 'none'
  if min(hans, hant) >= _MIXED * (hans + hant):
    return 'mixed'
  return 'hans' if hans > hant else 'hant'


@functools.cache
def _only():
  """[65536] 1 for characters that only Simplified Chinese has, 2 for those only Traditional has.

  Two sources must agree, for each alone takes rare characters of both for one: the other script's
  national charset lacks the character, and opencc turns it into another.
  """
  table = np.zeros(65536, np.uint8)
  characters = ''.join(map(chr, range(0x4E00, 0xA000)))
  for kind, how, own, other in ((1, 's2t', 'gb2312', 'big5'), (2, 't2s', 'big5', 'gb2312')):
    for old, new in zip(characters, _converter(how).convert(characters), strict=True):
      if old != new and _encodes(old, own) and not _encodes(old, other):
        table[ord(old)] = kind
  return table


def _encodes(character, charset):
  try:
    character.encode(charset)
  except UnicodeEncodeError:
    return False
  return True


def convert(text, how):
  """The text by an opencc configuration ('t2s', 'tw2sp', 's2t', …); '' leaves it as it is.

  Raises InputError for an unknown one.
  """
  return _converter(how).convert(text) if how else text


@functools.cache
def _converter(how):
  """One opencc converter a process; it loads its dictionaries once."""
  try:
    import opencc
  except ImportError:
    raise InputError(
      'opencc is missing, which tells Traditional from Simplified: pip install opencc'
    ) from None
  version = getattr(opencc, '__version__', '0')
  if [int(n) for n in version.split('.')[:2]] < [1, 4]:  # a slow one installs a module of the same name
    raise InputError(
      f'opencc {version}: this is opencc-python-reimplemented or older than 1.4: '
      'pip uninstall opencc-python-reimplemented opencc; pip install "opencc>=1.4"'
    )
  choices = sorted(name.removesuffix('.json') for name in opencc.CONFIGS)
  if how not in choices:
    raise InputError(f"convert={how}: no such conversion; choose '' for none, {', '.join(choices)}")
  return opencc.OpenCC(how)
