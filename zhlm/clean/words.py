"""Words of a text and what FineWeb-2 asks of them (datatrove's definitions, one cut for all of them).

Words are rjieba's, without blanks. An n-gram is known by two numbers, its first and its last n−1 words,
so nothing is hashed and nothing collides; an n-gram that occurs once is not looked at again for n + 1.
"""

import collections
import functools
import itertools
import math
import re
import sys

import numpy as np

from zhlm.errors import InputError

# FineWeb-2 `cmn_Hani`: a text of fewer than two of these is no running Chinese text.
STOP_WORDS = frozenset('的年在月是和日了於·為有被人中为他與後也而由')
TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # the n of Gopher's n-gram rules


def index(text):
  """(distinct words, ids): the words of a text in order, without blanks, as indices into the distinct."""
  number = collections.defaultdict(itertools.count().__next__)
  tokens = segmenter().cut(text)
  ids = np.fromiter(map(number.__getitem__, tokens), np.int64, len(tokens))
  distinct = list(number)
  blank = np.fromiter(map(str.isspace, distinct), bool, len(distinct))
  return distinct, ids[~blank[ids]] if blank.any() else ids


def segmenter():
  """The rjieba module. Raises InputError when it is missing."""
  try:
    import rjieba
  except ImportError:
    raise InputError('rjieba is missing, which finds the words: pip install rjieba') from None
  return rjieba


def found(text, lexicon):
  """The first word of `lexicon` (a list) that `text` holds as words of its own, or ''.

  体操你 does not hold 操你: a hit must begin and end where words do.
  """
  hits = [word for word in lexicon if word in text]
  if not hits:
    return ''
  borders = np.zeros(len(text) + 1, bool)
  borders[0] = True
  borders[np.cumsum(list(map(len, segmenter().cut(text, False))))] = True
  for word in hits:
    start = text.find(word)
    while start >= 0:
      if borders[start] and borders[start + len(word)]:
        return word
      start = text.find(word, start + 1)
  return ''


_COUNTS = (
  *('words', 'mean_word', 'hashes', 'ellipses', 'alpha_words', 'stop_words', 'new_lines', 'entropy'),
  'top_word',
)
_HAN_WORD = re.compile('[\u3400-\u9fff]{2,4}')  # longer ones are names, and law repeats those


def count(text, distinct, ids):
  """What Gopher's quality rules, FineWeb's list rule and MAP-CC's entropy measure; {name: number}.

  top_word is ours: the share of characters in the most frequent Chinese word of two to four characters.
  """
  n = len(ids)
  if not n:
    return dict.fromkeys(_COUNTS, 0)
  times = np.bincount(ids, minlength=len(distinct))
  sizes = np.fromiter(map(len, distinct), np.int64, len(distinct))
  codes = np.frombuffer(''.join(distinct).encode('utf-32-le', 'surrogatepass'), '<u4')
  kinds = np.maximum.reduceat(_kinds()[codes], np.cumsum(sizes) - sizes)
  real = int(times[kinds > 0].sum())  # words that are not symbols
  some = times[times > 0]
  lengths = times * sizes
  often = (int(i) for i in np.argsort(-lengths, kind='stable') if _HAN_WORD.fullmatch(distinct[i]))
  top = next(often, None)
  return {
    'words': real,
    'mean_word': int(lengths[kinds > 0].sum()) / max(real, 1),
    'hashes': text.count('#') / n,
    'ellipses': (text.count('...') + text.count('…')) / n,
    'alpha_words': int(times[kinds == 2].sum()) / n,
    'stop_words': len(STOP_WORDS.intersection(distinct)),
    'new_lines': text.count('\n') / n,
    'entropy': math.log(n) - float(some @ np.log(some)) / n,
    'top_word': 0.0 if top is None else int(lengths[top]) / int(lengths.sum()),
  }


@functools.cache
def _kinds():
  """int8 of every code point: 2 for a letter (a Chinese character is one), 1 for a digit, 0 for a sign; a
  word is what the best of its characters is."""
  every = map(chr, range(sys.maxunicode + 1))
  return np.fromiter((2 if c.isalpha() else c.isalnum() for c in every), np.int8, sys.maxunicode + 1)


_REPEATS = [f'top_{n}gram' for n in TOP] + [f'dup_{n}gram' for n in DUPLICATE]


def repeats(text, distinct, ids):
  """Gopher's n-gram shares of a text's characters: {'top_2gram': …, …, 'dup_10gram': …}.

  top: the most frequent n-gram (of equals the first), its words joined by blanks, times its count.
  dup: reading on, each n-gram that was read before counts its characters, and n words are skipped.
  (datatrove compares n-grams without borders: there 我|们好 repeats 我们|好. Here it does not.)
  """
  shares, count = dict.fromkeys(_REPEATS, 0.0), len(ids)
  sizes = np.fromiter(map(len, distinct), np.int64, len(distinct))
  ends = np.concatenate([[0], np.cumsum(sizes[ids])])
  # Of each n, the places of the n-grams that occur twice, and their numbers: what is longer and occurs
  # twice begins at such a place, and at the next word begins another.
  where, numbers = np.arange(count), np.where(np.bincount(ids)[ids] > 1, ids, -1) if count else ids
  for n in range(2, min(DUPLICATE[-1], count) + 1):
    where = where[where <= count - n]
    where = where[(numbers[where] >= 0) & (numbers[where + 1] >= 0)]
    keys = numbers[where] * max(count, len(distinct)) + numbers[where + 1]
    where, group, most, first = _groups(where, keys)
    if n in TOP:
      shares[f'top_{n}gram'] = most * float(ends[first + n] - ends[first] + n - 1) / len(text)
    if n in DUPLICATE:
      shares[f'dup_{n}gram'] = _read_again(where, group, ends[where + n] - ends[where], n) / len(text)
    if not len(where) and n >= TOP[-1]:
      break
    numbers = np.full(count, -1)
    numbers[where] = group
  return shares


def _groups(where, keys):
  """Of keys that occur twice: places, the number of their equals; most equals and where they begin."""
  # Most keys occur once: a table of hash counts drops nearly all of these, before the rest is sorted.
  bits = max(int(len(keys)).bit_length() + 2, 8)
  hashed = (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)
  hashed = hashed.astype(np.int64)
  twice = np.flatnonzero(np.bincount(hashed, minlength=1)[hashed] > 1)
  where, keys = where[twice], keys[twice]
  _, group, times = np.unique(keys, return_inverse=True, return_counts=True)
  often = times[group]
  real = often > 1
  where, group, often = where[real], group[real], often[real]
  if not len(where):
    return where, group, 1, 0
  best = np.argmax(often)
  return where, group, int(often[best]), int(where[best])


def _read_again(where, group, sizes, n):
  """Characters of n-grams that were read before; only those that occur twice need to be walked."""
  seen, free, total = set(), 0, 0
  for i, gram, size in zip(where.tolist(), group.tolist(), sizes.tolist(), strict=True):
    if i < free:
      continue
    if gram in seen:
      total += size
      free = i + n
    else:
      seen.add(gram)
  return total
