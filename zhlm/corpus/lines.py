"""Lines that stand in many documents (menus, footers, notices) are taken out of all of them.

Lines are compared by their letters alone, in lower case: without spaces, punctuation and digits, so
that “阅读（12）” and “阅读 (3045)” are one line. A line of few Han characters is left alone: code,
tables and links repeat by right. What is frequent is counted over the whole corpus, so that all
documents lose the same lines in whatever order they come. Not for verse, dialogue and books, where
a line may stand in many texts by right.
"""

import re

import numpy as np

from zhlm.corpus import hashing
from zhlm.errors import InputError

_BLOCK = 1 << 17  # characters at once; a line as long as that is no boilerplate
_ROW_BYTES = 64  # a line, while its range of hashes is merged


def _blocks(text):
  """Yields the text in blocks of whole lines; in place of a line longer than a block, an empty one."""
  start = 0
  while len(text) - start > _BLOCK:
    end = text.rfind('\n', start, start + _BLOCK)
    yield text[start : max(end, start)]
    end = end if end >= 0 else text.find('\n', start)
    if end < 0:
      return
    start = end + 1
  yield text[start:]


def _keys(text, min_characters):
  """uint64[lines]: a hash of each line, 0 for one of fewer Han characters than `min_characters`."""
  return np.concatenate([_block_keys(block, min_characters) for block in _blocks(text)])


def _block_keys(text, min_characters):
  code = hashing.codes(text)
  end = code == ord('\n')
  out = np.zeros(np.count_nonzero(end) + 1, np.uint64)
  plain = hashing.plain(code)
  kept = np.flatnonzero(plain > ord('9'))  # all letters come after the digits
  plain, line = plain[kept], np.cumsum(end)[kept]
  first = np.flatnonzero(np.diff(line, prepend=-1))
  if len(first):
    long = np.add.reduceat(hashing.han(plain), first, dtype=np.int64) >= min_characters
    out[line[first]] = np.where(long, hashing.sequences(plain, first), 0)
  return out


def hashes(text, min_characters):
  """uint64[lines], ascending: the different lines of a document with so many Han characters."""
  found = np.unique(_keys(text, min_characters))
  return found[found > 0]


def counted(paths, memory=1 << 28):
  """Yields (hashes, counts), ascending, of all .npy files of ascending hashes together.

  They are merged range by range, so narrow that `memory` bytes are enough; what a file holds more
  than once is counted before. Raises InputError for a file that cannot be read.
  """
  files = [_open(path) for path in paths]
  parts = max(1, -(-sum(map(len, files)) * _ROW_BYTES // memory))
  edges = np.array([part * 2**64 // parts for part in range(1, parts)], np.uint64)
  cuts = [[0, *np.searchsorted(file, edges), len(file)] for file in files]
  for part in range(parts):
    some = [runs(np.array(f[c[part] : c[part + 1]])) for f, c in zip(files, cuts, strict=True)]
    values = np.concatenate([np.zeros(0, np.uint64), *(v for v, _ in some)])
    counts = np.concatenate([np.zeros(0, np.int64), *(n for _, n in some)])
    order = np.argsort(values)
    yield runs(values[order], counts[order])


def _open(path):
  try:
    return np.load(path, mmap_mode='r')
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: damaged ({error}); remove this file and run again') from None


def runs(values, counts=None):
  """(different values, how often they are there) of ascending values."""
  first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
  if counts is None:
    return values[first], np.diff(first, append=len(values))
  return values[first], np.add.reduceat(counts, first) if len(first) else counts


def frequent(paths, at_least, memory=1 << 28):
  """uint64, ascending: the lines that stand in so many documents, of one .npy file a shard, which holds
  the `hashes` of all its documents, sorted. Takes `memory` bytes beside the result."""
  return np.concatenate([np.zeros(0, np.uint64), *(v[n >= at_least] for v, n in counted(paths, memory))])


def strip(text, frequent, min_characters):
  """(text without its frequent lines, how many these were); a text without any comes back as it is."""
  keys = _keys(text, min_characters)
  drop = contains(frequent, keys)
  if not drop.any():
    return text, 0
  rest = '\n'.join(line for line, gone in zip(text.split('\n'), drop, strict=True) if not gone)
  return re.sub('\n{3,}', '\n\n', rest).strip('\n'), int(drop.sum())


def contains(ascending, values):
  """bool[values]: which of them are there."""
  if not len(ascending):
    return np.zeros(len(values), bool)
  place = np.searchsorted(ascending, values)
  return ascending[np.minimum(place, len(ascending) - 1)] == values
