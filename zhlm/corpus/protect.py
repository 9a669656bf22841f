"""What a model is tested on must not be in what it learns from: evaluation items, our own test split.

Texts are compared by windows of 13 characters, lower-case letters and digits alone: no spaces, no
punctuation; a run of Latin letters or of digits counts as one character, or every formula would
pass for a copy. Two sets of hashes are protected:
  evaluation   all windows of the evaluation items, but for phrases that many items share
  own test     one in eight of the windows of our test split, but for phrases of many documents
An item of fewer than 13 characters cannot be told from common speech, and is not protected.
"""

import re
from typing import NamedTuple

import numpy as np

from zhlm.collect import rows, sources
from zhlm.corpus import hashing, lines
from zhlm.errors import InputError

N = 13
EVALUATION = np.dtype([('hash', 'u8'), ('windows', 'u1')])
COMMON = 10  # a phrase in more items, or documents of our test split, is a phrase of many
_SAMPLE = 8  # our own test split is known by one window in so many
_NEAR = 200  # characters that an evaluation item may be spread over in a document
_LEAST = 3  # sampled windows shared with our test split that are no chance
_FORMATS = ('jsonl', 'json', 'csv', 'tsv', 'parquet', 'sqlite')
_BLOCK = 1 << 16  # characters at once: what fits a processor's cache
_TURN = np.uint64(32)  # bits; a hash is looked up by its first, and by its last
_REST_OF_WORD = re.compile(f'[A-Za-z0-9]{{0,{_BLOCK}}}')


def ngrams(text):
  """uint64[windows]: a hash of every 13 neighbouring characters in their order; none in shorter texts."""
  return np.concatenate([np.zeros(0, np.uint64), *_ngrams(text)])


def _ngrams(text):
  """Yields the hashes block by block, so that a long text takes no more memory than a short one."""
  rest, start = np.zeros(0, np.uint64), 0
  while start < len(text):
    end = _REST_OF_WORD.match(text, min(start + _BLOCK, len(text))).end()
    unit = np.concatenate([rest, _units(text[start:end])])
    if len(unit) >= N:
      yield hashing.mix(hashing.windows(unit, N))
    rest, start = unit[max(0, len(unit) - N + 1) :], end


def _units(text):
  """uint64[units]: a hash of each Han character and of each run of other letters or digits."""
  plain = hashing.plain(hashing.codes(text))
  kept = np.flatnonzero(plain)
  plain = plain[kept]
  alone = hashing.han(plain)
  first = alone.copy()
  first[:1] = True
  first[1:] |= alone[:-1] | (np.diff(kept) > 1)
  return hashing.sequences(plain, np.flatnonzero(first))


def sampled(hashes):
  """uint64, ascending: one in eight of a text's different n-grams, the same ones in every text."""
  return np.unique(hashes[hashes & np.uint64(_SAMPLE - 1) == 0])


def evaluation_texts(paths):
  """Yields the texts [str] of each item of evaluation files: all strings of a line of JSONL, an element
  of a JSON array, a row of CSV, TSV, Parquet or SQLite. Raises InputError for an item that cannot be
  read, for what is not read is not protected, and for a file without any text."""
  for path in paths:
    found = False
    for source in sources.find(path):
      if source.format not in _FORMATS:
        raise InputError(f'{path}: evaluation items are read from {" ".join(_FORMATS)} only')
      for where, row, why in rows.read(source):
        if why:
          raise InputError(f'{where}: {why}; mend it, or what it asks is not protected')
        texts = [text for text in _strings(row) if text.strip()]
        found = found or bool(texts)
        yield texts
    if not found:
      raise InputError(f'{path}: holds no text to protect')


def _strings(value):
  if isinstance(value, str):
    yield value
  elif isinstance(value, dict | list):
    for child in value.values() if isinstance(value, dict) else value:
      yield from _strings(child)


def build(items, test_paths, memory=1 << 28):
  """(EVALUATION[…], uint64[…]), both ascending: what `contaminated` looks for.

  `items` are lists of texts, as `evaluation_texts` yields them; `test_paths` .npy files of `sampled`
  n-grams of the test split's documents, sorted. Takes 40 bytes an evaluation character, one a character
  of the test split, and `memory`.
  """
  none = np.zeros(0, np.uint64)
  own = (hashes[count <= COMMON] for hashes, count in lines.counted(test_paths, memory))
  return _evaluation(items), np.concatenate([none, *own])


def _evaluation(items):
  found = [np.zeros(0, EVALUATION)]
  for texts in items:
    hashes = np.unique(ngrams('\n'.join(texts)))
    question = np.unique(ngrams(max(texts, key=len, default='')))
    part = np.zeros(len(hashes), EVALUATION)
    part['hash'] = hashes
    part['windows'] = np.where(np.isin(hashes, question), min(len(question), 255), 255)
    found.append(part)
  found = np.concatenate(found)
  found = found[np.lexsort((found['windows'], found['hash']))]
  hashes, count = lines.runs(found['hash'])
  return found[np.searchsorted(found['hash'], hashes)][count <= COMMON]


class Evaluation(NamedTuple):
  """The evaluation's n-grams, ready to be looked up."""

  hashes: np.ndarray  # uint64, ascending
  windows: np.ndarray  # of the shortest question that holds this one; 255 for many, and for no question
  seen: np.ndarray  # bits by the first and by the last bits of a hash: 0 for most of what is not there


def lookup(evaluation):
  """The Evaluation of what `build` made; takes 8 bytes an n-gram more, so make it once a process."""
  hashes = np.ascontiguousarray(evaluation['hash'])
  seen = np.zeros(1 << min(28, len(hashes).bit_length() + 2), np.uint8)
  for turned in (hashes, hashes << _TURN):
    np.bitwise_or.at(seen, *_place(turned, seen))
  return Evaluation(hashes, np.ascontiguousarray(evaluation['windows']), seen)


def _place(hashes, seen):
  """(index of the byte, its bit) that stand for each hash."""
  place = hashes >> np.uint64(62 - len(seen).bit_length())
  return (place >> np.uint64(3)).astype(np.int64), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8)


def _find(evaluation, hashes):
  """(index of each hash that the evaluation holds, its place there)."""
  byte, bit = _place(hashes, evaluation.seen)
  maybe = np.flatnonzero(evaluation.seen[byte] & bit)
  byte, bit = _place(hashes[maybe] << _TURN, evaluation.seen)
  maybe = maybe[evaluation.seen[byte] & bit > 0]
  maybe = maybe[lines.contains(evaluation.hashes, hashes[maybe])]
  return maybe, np.searchsorted(evaluation.hashes, hashes[maybe])


def contaminated(text, evaluation, own_test, rules):
  """None, or (rule, value) of a training text that repeats what the model will be tested on.

  'evaluation_ngrams': within 200 characters stand at least `rules['ngrams']` different n-grams of
  evaluation items (10 are 22 characters on end), or all of a question that has fewer.
  'own_test_share': of its sampled n-grams more than `rules['share']`, and three, are in our test split.
  """
  at, which, own, done = [], [], [np.zeros(0, np.uint64)], 0
  for hashes in _ngrams(text):
    hit, place = _find(evaluation, hashes)
    at.append(hit + done)
    which.append(place)
    own.append(hashes[hashes & np.uint64(_SAMPLE - 1) == 0])
    done += len(hashes)
  if any(map(len, at)):
    value = _most(np.concatenate(at), np.concatenate(which), evaluation.windows, rules['ngrams'])
    if value > rules['ngrams'] - 0.5:  # the last of a question's few n-grams adds 1 or more
      return 'evaluation_ngrams', round(value)
  own = lines.runs(np.sort(np.concatenate(own)))[0]
  hits = np.count_nonzero(lines.contains(own_test, own))
  if hits >= _LEAST and hits / len(own) > rules['share']:
    return 'own_test_share', round(hits / len(own), 3)
  return None


def _most(at, which, windows, wanted):
  """The most n-grams `which` that stand `at` places near each other; those of a question that has
  fewer than `wanted` count for more, so that all of them make up that number."""
  which, first = np.unique(which, return_index=True)
  order = np.argsort(at[first])
  at, which = at[first][order], which[order]
  total = np.concatenate([[0.0], np.cumsum(np.maximum(1, wanted / windows[which]))])
  return float((total[np.searchsorted(at, at + _NEAR)] - total[:-1]).max())
