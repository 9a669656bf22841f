"""Near-duplicates by MinHash, and a split that they cannot straddle; order never matters, ids do.

One-permutation hashing over character 5-grams: 128 bins in 16 bands of 8, so that texts alike by
more than (1/16)^(1/8) = 0.71 probably share a bucket. A text is dropped when any of its buckets
holds a smaller id (no chains, the same whoever computes it); a cluster is all that buckets connect.
"""

import hashlib

import numpy as np

NGRAM, BINS, BANDS = 5, 128, 16
_EMPTY = np.uint64(2**64 - 1)


def _mix(x):
  """splitmix64: every bit of the input reaches every bit of the output."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def signatures(texts, chunk=2_000):
  """uint64[texts, 128]: the smallest hash in each bin; the share that agrees estimates likeness."""
  parts = [_signatures(texts[i : i + chunk]) for i in range(0, len(texts), chunk)]
  return np.concatenate(parts) if parts else np.zeros((0, BINS), np.uint64)


def _signatures(texts):
  texts = [text.ljust(NGRAM) for text in texts]
  length = np.array([len(text) for text in texts])
  code = np.frombuffer(''.join(texts).encode('utf-32-le'), np.uint32).astype(np.uint64)
  gram = np.zeros(len(code) - NGRAM + 1, np.uint64)
  for i in range(NGRAM):
    gram = gram * np.uint64(1_000_003) + code[i : i + len(gram)]
  owner = np.repeat(np.arange(len(texts)), length)
  inside = owner[: len(gram)] == owner[NGRAM - 1 :]  # a window over two texts belongs to neither
  hashed, owner = _mix(gram[inside]), owner[: len(gram)][inside]
  out = np.full((len(texts), BINS), _EMPTY)
  np.minimum.at(out, (owner, (hashed >> np.uint64(57)).astype(np.int64)), hashed)
  return _fill(out)


def _fill(bins):
  """An empty bin borrows from a full one, which it looks for in an order of its own.

  (Borrowing from the next full bin fills whole bands with one value, so that short texts that share
  five characters pass for duplicates.)
  """
  order = np.stack([np.random.default_rng(i).permutation(BINS) for i in range(BINS)])
  out = bins.copy()
  text, place = np.nonzero(bins == _EMPTY)
  for attempt in range(BINS):
    value = bins[text, order[place, attempt]]
    full = value != _EMPTY
    out[text[full], place[full]] = value[full]
    text, place = text[~full], place[~full]
  return out


def buckets(signature):
  """int64[16, texts]: for each band the number of the bucket a text falls into."""
  rows = BINS // BANDS
  out = []
  for band in range(BANDS):
    key = np.zeros(len(signature), np.uint64)
    for i in range(band * rows, (band + 1) * rows):
      key = _mix(key * np.uint64(1_000_003) + signature[:, i])
    out.append(np.unique(key, return_inverse=True)[1])
  return np.stack(out)


def _spread(bucket, label):
  """Every text takes the smallest label that any of its buckets holds."""
  new = label.copy()
  for inverse in bucket:
    least = np.full(inverse.max() + 1, len(label))
    np.minimum.at(least, inverse, label)
    new = np.minimum(new, least[inverse])
  return new


def dedup(ids, texts, groups=None):
  """(kept bool[texts], cluster list[str]): the cluster is the smallest id reached through buckets.

  Texts of one group (say, neighbours on a page) share a cluster too, but are no duplicates.
  Raises ValueError when two ids are equal.
  """
  if len(set(ids)) != len(ids):
    raise ValueError('ids must differ')
  if not ids:
    return np.zeros(0, bool), []
  order = sorted(range(len(ids)), key=ids.__getitem__)
  bucket = buckets(signatures([texts[i] for i in order]))
  rank = np.arange(len(ids))
  label = _spread(bucket, rank)
  kept_sorted = label == rank
  if groups is not None:
    group = np.unique([groups[i] for i in order], return_inverse=True)[1]
    bucket = np.concatenate([bucket, group[None]])
  while not np.array_equal(label, new := _spread(bucket, label)):
    label = new
  kept, cluster = np.zeros(len(ids), bool), [''] * len(ids)
  for place, i in enumerate(order):
    kept[i], cluster[i] = kept_sorted[place], ids[order[label[place]]]
  return kept, cluster


def fraction(*key):
  """A number in [0, 1) that depends on the key alone: the same on every machine, in every run."""
  text = '/'.join(map(str, key)).encode('utf-8', 'surrogatepass')
  return int.from_bytes(hashlib.sha256(text).digest()[:8], 'big') / 2**64


def split_of(key, seed, test, validation):
  """'test', 'validation' or 'train' by hash of the key: data that grows moves nothing across."""
  place = fraction('split', seed, key)
  return 'test' if place < test else 'validation' if place < test + validation else 'train'
