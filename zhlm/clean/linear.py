"""Good or bad, by a linear model over hashed character n-grams: numpy in, probabilities out; no words.

A text is a bag of its n-grams (1 to 3 characters, lower case, digits made one), each hashed to one of
2^bits buckets; with c_b of its N n-grams in bucket b, its log-odds are bias + Σ w_b c_b / √N. Weights are
float16, whose sums in float64 are exact: a text's score depends on no batch and no order. fit.py trains it.
"""

import itertools
import json
import os
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from zhlm.errors import InputError

VERSION = 1  # of the hash and the file: a model of another version would score nonsense
_BATCH = 1 << 19  # characters hashed at once: about 40 MB
_MULTIPLIER = np.uint32(0x9E3779B1)
_EDGE = '\n'  # begins and ends a text, so that n-grams know of both


class Model(NamedTuple):
  """What `train` makes and a file holds."""

  weights: np.ndarray  # [2^bits + 1] float64 of values that float16 has; the last is 0: nobody's n-grams
  bias: float
  settings: dict  # bits, sizes, characters
  threshold: float  # a score from here on is positive
  report: dict  # what was held out and how it went; telling n-grams of each side


def features(texts, settings):
  """The n-grams of texts: (buckets [sizes, characters], where each text starts, n-grams of each text).

  Only the first `settings['characters']` of a text are read. Bucket 2^bits is of n-grams that would cross
  a text's end: nobody's.
  """
  bits, (low, high) = settings['bits'], settings['sizes']
  folded = [fold(text, settings) for text in texts]
  lengths = np.array([len(text) for text in folded], np.int64)
  ends = np.cumsum(lengths)
  code = np.frombuffer(''.join(folded).encode('utf-32-le', 'surrogatepass'), '<u4').copy()
  code[(code >= ord('0')) & (code <= ord('9'))] = ord('0')
  buckets = np.full((high - low + 1, len(code)), 1 << bits, np.int64)
  h, totals = np.zeros(len(code), np.uint32), np.zeros(len(texts), np.int64)
  for n in range(1, high + 1):
    h = (h[: len(code) - n + 1] ^ code[n - 1 :]) * _MULTIPLIER
    h ^= h >> np.uint32(15)
    if n >= low:
      buckets[n - low, : len(h)] = (h * _MULTIPLIER) >> np.uint32(32 - bits)
      for i in range(1, n):
        buckets[n - low, ends - i] = 1 << bits
      totals += np.maximum(lengths - n + 1, 0)
  return buckets, ends - lengths, totals


def fold(text, settings):
  """What is read of a text: its beginning, in lower case, between edges."""
  return f'{_EDGE}{text[: settings["characters"]].lower()}{_EDGE}'


def log_odds(made, *models):
  """[texts] float64 for each model, from `features` made with their settings."""
  buckets, starts, totals = made
  root = np.sqrt(np.maximum(totals, 1))
  for model in models:
    yield np.add.reduceat(model.weights[buckets], starts, axis=1).sum(0) / root + model.bias


def batches(texts, settings):
  """`features` of texts in order, so many texts at once that half a million characters are in memory."""
  batch, size = [], 0
  for text in texts:
    batch.append(text)
    size += min(len(text), settings['characters']) + 2
    if size >= _BATCH:
      yield features(batch, settings)
      batch, size = [], 0
  if batch:
    yield features(batch, settings)


def scores(texts, model):
  """Probabilities of being positive, float64 [texts]."""
  found = [next(log_odds(made, model)) for made in batches(texts, model.settings)]
  return sigmoid(np.concatenate([np.zeros(0), *found]))


def scored(items, model, most=1000):
  """(item, score) for items with a `text`, in order; streams."""
  items = iter(items)
  while batch := list(itertools.islice(items, most)):
    yield from zip(batch, scores([item['text'] for item in batch], model).tolist(), strict=True)


def sigmoid(x):
  """1 / (1 + e^-x) without overflow."""
  return 0.5 * (1 + np.tanh(0.5 * x))


def save(model, path):
  """Writes the model as .npz, whole or not at all."""
  about = {'version': VERSION, 'bias': model.bias, 'settings': model.settings}
  about |= {'threshold': model.threshold, 'report': model.report}
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  part = f'{path}.part-{os.getpid()}'
  with open(part, 'wb') as file:
    np.savez_compressed(
      file, weights=model.weights[:-1].astype(np.float16), about=np.array(json.dumps(about))
    )
  os.replace(part, path)


def load(path):
  """The model of a file. Raises InputError when it is none, or one of another version."""
  try:
    with np.load(path, allow_pickle=False) as file:
      weights, about = file['weights'], json.loads(str(file['about']))
    version, shape = about['version'], (1 << about['settings']['bits'],)
    model = Model(np.append(weights.astype(np.float64), 0), *(about[name] for name in Model._fields[1:]))
  except (OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
    raise InputError(f'{path}: no model of launch.classify: {error}') from None
  if version != VERSION or weights.shape != shape:
    raise InputError(f'{path}: a model of version {version}, where {VERSION} is read: train it again')
  return model
