"""How far does counting get? Character n-grams with Witten–Bell back-off, the bar to clear.

It knows no tokenizer and no model: texts in, bits per character and per byte out. The events are
those a neural model is scored on: every character of a document and then its end, each document
beginning anew (its first contexts are start symbols).

  p(c | h) = (count(h c) + T(h) p(c | h')) / (count(h) + T(h))         (Witten & Bell 1991)

where T(h) is the number of distinct continuations of h and h' is h without its oldest character.
Below the unigram lies a uniform floor over the characters of train, the end of a document and the
rest of the block CJK Unified Ideographs: a character that train lacks gets the floor's share (about
24 bits), also where it lies outside that block. That last rule favours the n-gram: it is the only
place where the probabilities of all strings may sum to more than one.
"""

from typing import NamedTuple

import numpy as np

from zhlm.errors import InputError

START, END, UNSEEN = 0, 1, 2  # ids; characters of train follow from 3 on
NO_CHARACTER = np.uint32(0x110000)  # the first code point that is none stands for START, then END
IDEOGRAPHS = np.arange(0x4E00, 0xA000, dtype=np.uint32)  # 20,992 code points


class Counts(NamedTuple):
  """One order's sorted n-grams and contexts, packed into uint64, with their numbers."""

  ngrams: np.ndarray
  ngram_counts: np.ndarray
  contexts: np.ndarray
  context_counts: np.ndarray
  context_types: np.ndarray  # T(h)


class Model(NamedTuple):
  characters: np.ndarray  # sorted code points of train
  orders: tuple[Counts, ...]  # orders[n - 1] counts n-grams


def code_points(text):
  """uint32 code points of a text."""
  return np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)


def encode(texts, characters, order):
  """Ids of all documents in one row: `order - 1` starts (at least one), the characters, the end."""
  start, end = np.full(max(order - 1, 1), NO_CHARACTER), np.full(1, NO_CHARACTER + 1)
  points = np.concatenate([row for text in texts for row in (start, code_points(text), end)])
  at = np.searchsorted(characters, points).clip(max=len(characters) - 1)
  ids = np.where(characters[at] == points, at + UNSEEN + 1, UNSEEN)
  return np.where(points >= NO_CHARACTER, points - NO_CHARACTER, ids).astype(np.uint64)


def pack(ids, n, base):
  """The n-gram that ends at each event of `ids` (all but the starts), as one number a piece."""
  events = np.flatnonzero(ids != START)
  packed = np.zeros(len(events), np.uint64)
  for back in range(n - 1, -1, -1):
    packed = packed * np.uint64(base) + ids[events - back]
  return packed


def look_up(keys, values, wanted):
  """`values` at `wanted` in the sorted `keys`; 0 where it is absent."""
  at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
  return np.where(keys[at] == wanted, values[at], 0)


def count(ids, n, base):
  """Counts of one order. Sorted n-grams keep a context's continuations together: one sort does."""
  ngrams, ngram_counts = np.unique(pack(ids, n, base), return_counts=True)
  contexts, first, types = np.unique(ngrams // np.uint64(base), return_index=True, return_counts=True)
  return Counts(ngrams, ngram_counts, contexts, np.add.reduceat(ngram_counts, first), types)


def fit(texts, order=3):
  """Counts of the orders 1 … `order` of a list of documents. Raises InputError without text."""
  characters = np.unique(code_points(''.join(texts)))
  if not len(characters):
    raise InputError('n-grams: the training documents hold no character')
  base = len(characters) + UNSEEN + 1
  if base**order > 2**64:
    raise InputError(f'n-grams: order {order} over {base} symbols does not fit 64 bits')
  ids = encode(texts, characters, order)
  return Model(characters, tuple(count(ids, n, base) for n in range(1, order + 1)))


def event_probabilities(model, texts):
  """p of each event (each character, each end) of `texts` under every order: [order, events]."""
  base = len(model.characters) + UNSEEN + 1
  ids = encode(texts, model.characters, len(model.orders))
  floor = 1 / (len(np.union1d(model.characters, IDEOGRAPHS)) + 1)
  p, rows = np.full(np.count_nonzero(ids != START), floor), []
  for n, counts in enumerate(model.orders, start=1):
    ngrams = pack(ids, n, base)
    contexts = ngrams // np.uint64(base)
    total = look_up(counts.contexts, counts.context_counts, contexts)
    types = look_up(counts.contexts, counts.context_types, contexts)
    found = look_up(counts.ngrams, counts.ngram_counts, ngrams)
    # A context that train lacks says nothing: p stays that of the shorter one.
    p = np.where(total > 0, (found + types * p) / np.maximum(total + types, 1), p)
    rows.append(p)
  return np.stack(rows)


def bits_per_character(train_texts, test_texts, orders=(1, 2, 3)):
  """{order: (bits per character, bits per UTF-8 byte)} of `test_texts` given `train_texts`.

  The bits of the ends of documents count; their number does not (the denominator is text only).
  Raises InputError if either side holds no character.
  """
  train_texts, test_texts = list(train_texts), list(test_texts)
  n_characters = sum(map(len, test_texts))
  if not n_characters:
    raise InputError('n-grams: the test documents hold no character')
  n_bytes = sum(len(text.encode('utf-8', 'surrogatepass')) for text in test_texts)
  p = event_probabilities(fit(train_texts, max(orders)), test_texts)
  bits = -np.log2(p).sum(axis=1)
  return {n: (float(bits[n - 1] / n_characters), float(bits[n - 1] / n_bytes)) for n in orders}
