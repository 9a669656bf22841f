"""Texts that are much alike share a bucket: one-permutation MinHash over characters.

128 bins over 5-grams, in 16 bands of 8: texts alike (Jaccard) by more than (1/16)^(1/8) = 0.71
probably agree on the whole of a band, which is a bucket.
"""

import functools

import numpy as np

from zhlm.corpus import hashing

NGRAM, BINS, BANDS = 5, 128, 16
_EMPTY = np.uint64(2**64 - 1)
_BLOCK = 1 << 16  # characters at once: what fits a processor's cache


def signatures(texts):
  """uint64[texts, 128]: the smallest hash in each bin; the share that agrees estimates likeness."""
  out = np.full((len(texts), BINS), _EMPTY)
  owners, pieces, size = [], [], 0
  for owner, text in enumerate(texts):
    text = text.ljust(NGRAM)
    for start in range(0, len(text) - NGRAM + 1, _BLOCK):
      pieces.append(text[start : start + _BLOCK + NGRAM - 1])
      owners.append(owner)
      size += len(pieces[-1])
      if size >= _BLOCK:
        _lower(out, owners, pieces)
        owners, pieces, size = [], [], 0
  if pieces:
    _lower(out, owners, pieces)
  return _fill(out)


def _lower(out, owners, pieces):
  """Lowers the bins of the owners, of whom each has one piece of text here, to its hashes."""
  code = hashing.codes(''.join(pieces)).astype(np.uint64)
  hashed = hashing.mix(hashing.windows(code, NGRAM))
  row = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
  if len(pieces) > 1:  # a window over two texts belongs to neither
    inside = row[: len(hashed)] == row[NGRAM - 1 :]
    hashed, row = hashed[inside], row[: len(inside)][inside]
  least = np.full(len(pieces) * BINS, _EMPTY)
  np.minimum.at(least, row[: len(hashed)] * BINS + (hashed >> np.uint64(57)).astype(np.int64), hashed)
  out[owners] = np.minimum(out[owners], least.reshape(-1, BINS))


@functools.cache
def _order():
  """int[128, 128]: for each bin, all bins in an order of its own."""
  return hashing.mix(np.arange(1, BINS * BINS + 1, dtype=np.uint64)).reshape(BINS, BINS).argsort(1)


def _fill(bins):
  """An empty bin borrows from a full one, which it looks for in an order of its own.

  (Borrowing from the next full bin fills whole bands with one value, so that short texts that share
  five characters pass for duplicates.)
  """
  order, out = _order(), bins.copy()
  text, place = np.nonzero(bins == _EMPTY)
  for attempt in range(BINS):
    value = bins[text, order[place, attempt]]
    full = value != _EMPTY
    out[text[full], place[full]] = value[full]
    text, place = text[~full], place[~full]
    if not len(text):
      break
  return out


def bands(signature):
  """uint64[texts, 16]: the bucket of each text in each band; buckets of different bands differ."""
  rows = signature.reshape(len(signature), BANDS, BINS // BANDS)
  out = np.broadcast_to(np.arange(1, BANDS + 1, dtype=np.uint64), rows.shape[:2])
  for i in range(rows.shape[2]):
    out = hashing.mix(out * np.uint64(1_000_003) + rows[:, :, i])
  return out
