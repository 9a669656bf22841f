"""Which documents are copies of others, and the clusters a split must not cut; order never matters.

A text is dropped when any of its 16 buckets (zhlm.corpus.minhash) holds a smaller key: no chains,
the same whoever computes it. A cluster is all that buckets and groups connect. Keys are hashes of
ids, so that no source goes before another.

  sketch(items)            one record a document, made in parallel, saved (numpy.save) by the caller
  resolve(paths)           the verdict on all documents, in bounded memory, on one machine
  buckets, edges, finish   the same for an engine that groups by key itself
"""

from typing import NamedTuple

import numpy as np

from zhlm.corpus import hashing, minhash
from zhlm.errors import InputError

_FIELDS = {
  'key': 'u8',
  'exact': 'u8',
  'bands': f'{minhash.BANDS}u8',
  'group': 'u8',
  'near': '?',
  'label': 'i1',
}
SKETCH = np.dtype(list(_FIELDS.items()))
RESULT = np.dtype([('key', 'u8'), ('reason', 'u1'), ('cluster', 'u8'), ('size', 'u4')])
EDGE = np.dtype([('key', 'u8'), ('least', 'u8'), ('why', 'u1')])
REASONS = ('kept', 'exact_duplicate', 'near_duplicate', 'label_conflict')
EXACT, NEAR, CONFLICT, GROUP = 1, 2, 3, 4  # why two documents are joined; the first three are reasons too
_UNNAMED = np.uint64(2**64 - 1)
_ROWS = 1 << 18  # sketches read at once
_SORT_BYTES = 48  # a document, while it is sorted
_COLUMNS = [(NEAR, 'bands', band) for band in range(minhash.BANDS)]
_COLUMNS += [(EXACT, 'exact', None), (GROUP, 'group', None)]


def sketch(items):
  """SKETCH[items]: what is compared of each item (`id`, `text`; `kind`, `group`, `label` if there are).

  Of a preference only exact copies are dropped: its texts share the prompt.
  """
  items = list(items)
  out = np.zeros(len(items), SKETCH)
  out['key'] = [hashing.key(item['id']) for item in items]
  out['exact'] = [hashing.key(item['text']) for item in items]
  out['group'] = [
    hashing.key(item['group'], b'group') if item.get('group') else hashing.key(item['id']) for item in items
  ]
  out['near'] = [item['kind'] != 'preference' for item in items]
  out['label'] = [-1 if item.get('label') is None else item['label'] for item in items]
  out['bands'] = minhash.bands(minhash.signatures([item['text'] for item in items]))
  return out


def resolve(paths, memory=1 << 30, before=None):
  """RESULT[documents] by ascending key: the reason (index into REASONS), the cluster by its name, which
  is the smallest key in it, and its size.

  `paths`: .npy files of sketches, in any order. `before`: the result (fields key and cluster) for a
  smaller corpus: clusters keep the names they had there, of several the smallest, so that a split
  drawn from the name stays when the corpus grows. Takes about 60 bytes a document, and `memory` bytes
  to sort in: one band of all documents at once, or a range of its values.
  Raises InputError for two equal keys, with their places, and for a file that holds no sketches.
  """
  keys, near = (np.concatenate(list(_read(paths, f)) or [np.zeros(0, SKETCH[f])]) for f in ('key', 'near'))
  order = np.argsort(keys)
  rank = np.empty(len(keys), np.int64)
  rank[order] = np.arange(len(keys))
  keys, near = keys[order], near[order]
  _check_differ(keys, order, paths)
  state = State(keys, near, np.arange(len(keys)), np.zeros(len(keys), np.uint8))
  del order
  parts = max(1, -(-len(keys) * _SORT_BYTES // memory))
  for why, field, band in _COLUMNS:
    for part in range(parts):
      _apply(state, *_joined(why, *_column(paths, field, band, rank, part, parts)))
  return _result(state, before)


def buckets(sketches):
  """Yields ((why, bucket), (key, label)): group them by the first, and give each group to `edges`."""
  for record in sketches:
    key, label = int(record['key']), int(record['label'])
    for why, field, band in _COLUMNS:
      value = record[field] if band is None else record[field][band]
      yield (why, int(value)), (key, label)


def edges(why, members):
  """EDGE[…] of one bucket from its (key, label): every key with the smallest; none if it is alone."""
  members = list(members)
  keys = np.array([key for key, _ in members], np.uint64)
  labels = np.array([label for _, label in members], np.int8)
  why, docs, least = _joined(why, np.zeros(len(keys), bool), keys, labels)
  out = np.empty(len(docs), EDGE)
  out['key'], out['least'], out['why'] = docs, least, why
  return out


def finish(docs, joined, before=None):
  """What `resolve` returns, from all documents (fields key and near) and their edges, in any order."""
  order = np.argsort(docs['key'])
  keys = docs['key'][order]
  _check_differ(keys, order)
  state = State(keys, docs['near'][order], np.arange(len(keys)), np.zeros(len(keys), np.uint8))
  for why in (NEAR, EXACT, CONFLICT, GROUP):
    some = joined[joined['why'] == why]
    _apply(state, some['why'], *(np.searchsorted(keys, some[f]) for f in ('key', 'least')))
  return _result(state, before)


def find(result, keys):
  """RESULT[keys]: the verdicts on these keys, in their order. Raises InputError when one is missing."""
  place = np.searchsorted(result['key'], keys)
  known = place < len(result)
  known[known] = result['key'][place[known]] == np.asarray(keys)[known]
  if not known.all():
    raise InputError(f'{np.count_nonzero(~known)} documents were not there when duplicates were looked for')
  return result[place]


def _open(path):
  try:
    found = np.load(path, mmap_mode='r')
  except (OSError, ValueError) as error:
    raise InputError(f'{path}: damaged ({error}); remove this file and run again') from None
  if found.dtype != SKETCH:
    raise InputError(f'{path}: holds no sketches of this version; remove this file and run again')
  return found


def _read(paths, field, band=None):
  """Yields a field of the sketches; maps a file anew every some rows, or what was read would pile up."""
  for path in paths:
    start, rows = 0, 1
    while start < rows:
      found = _open(path)
      some = found[start : start + _ROWS][field]
      yield np.array(some if band is None else some[:, band])
      start, rows = start + _ROWS, len(found)


def _column(paths, field, band, rank, part, parts):
  """(values, ranks, labels) of the documents whose value falls into this part of all values."""
  chosen, done = [], 0
  labels = _read(paths, 'label')
  for values, label in zip(_read(paths, field, band), labels, strict=True):
    ranks = rank[done : done + len(values)]
    done += len(values)
    if parts > 1:
      inside = values % np.uint64(parts) == part
      values, ranks, label = values[inside], ranks[inside], label[inside]
    chosen.append((values, ranks, label))
  return [np.concatenate(c) for c in zip(*chosen, strict=True)] if chosen else (np.zeros(0, np.uint64),) * 3


def _joined(why, values, docs, labels):
  """(why, docs, least): each document in a bucket with others, beside the smallest document there.

  Equal texts with different labels have one more row each, of CONFLICT, the smallest too.
  """
  order = np.argsort(values)
  sorted_values = values[order]
  same = sorted_values[1:] == sorted_values[:-1]
  member = np.zeros(len(values), bool)
  member[1:] |= same
  member[:-1] |= same
  first = np.ones(len(values), bool)
  first[1:] = ~same
  order, first = order[member], first[member]
  if not len(order):
    return np.zeros(0, np.uint8), order, order
  start, docs, labels = np.flatnonzero(first), docs[order], labels[order]
  size = np.diff(start, append=len(docs))
  least = np.repeat(np.minimum.reduceat(docs, start), size)
  other = docs != least
  out = [np.full(np.count_nonzero(other), why, np.uint8), docs[other], least[other]]
  if why == EXACT:
    low = np.minimum.reduceat(np.where(labels < 0, 127, labels), start)
    clash = np.repeat(low < np.maximum.reduceat(labels, start), size)
    more = [np.full(np.count_nonzero(clash), CONFLICT, np.uint8), docs[clash], least[clash]]
    out = [np.concatenate(pair) for pair in zip(out, more, strict=True)]
  return out


def _check_differ(keys, order, paths=()):
  """Raises InputError, with the places of the first few, when keys (sorted by `order`) are equal."""
  twice = np.flatnonzero(keys[1:] == keys[:-1])
  if not len(twice):
    return
  starts = np.cumsum([0, *(len(_open(path)) for path in paths)])

  def place(position):
    file = np.searchsorted(starts, position, 'right') - 1
    return f'{paths[file]} record {position - starts[file]}' if paths else f'record {position}'

  some = '; '.join(f'{keys[i]:#018x}: {", ".join(map(place, sorted(order[i : i + 2])))}' for i in twice[:3])
  raise InputError(f'ids must differ; {len(twice):,} are there again: {some}')


class State(NamedTuple):
  """What is known of the documents, in the order of their keys; `parent` and `reason` are written to."""

  keys: np.ndarray
  near: np.ndarray
  parent: np.ndarray  # a document of the same cluster with a smaller key, or itself
  reason: np.ndarray


def _apply(state, why, docs, least):
  """Writes down the reasons that these rows give (the later the stronger) and joins the clusters."""
  for kind in (NEAR, EXACT, CONFLICT):
    some = docs[why == kind]
    state.reason[some[state.near[some]] if kind == NEAR else some] = kind
  a, b = _roots(state.parent, docs), _roots(state.parent, least)
  apart = a != b
  if apart.any():
    from scipy.sparse import coo_array, csgraph

    nodes, ends = np.unique(np.stack([a[apart], b[apart]]), return_inverse=True)
    graph = coo_array((np.ones(ends.shape[1], bool), tuple(ends)), shape=(len(nodes), len(nodes)))
    component = csgraph.connected_components(graph, directed=False)[1]
    state.parent[nodes] = nodes[np.unique(component, return_index=True)[1]][component]


def _roots(parent, docs):
  """The smallest document known of the clusters of these; shortens the way to it."""
  root = parent[docs]
  while not np.array_equal(root, above := parent[root]):
    root = above
  parent[docs] = root
  return root


def _result(state, before):
  """RESULT of what is known."""
  root = _roots(state.parent, np.arange(len(state.keys)))
  out = np.empty(len(root), RESULT)
  out['key'], out['reason'], out['cluster'] = state.keys, state.reason, state.keys[root]
  out['size'] = np.bincount(root, minlength=len(root))[root]
  if before is not None:
    place = np.searchsorted(state.keys, before['key'])
    known = place < len(root)
    known[known] = state.keys[place[known]] == before['key'][known]
    name = np.full(len(root), _UNNAMED)
    np.minimum.at(name, root[place[known]], before['cluster'][known])
    out['cluster'] = np.where(name[root] == _UNNAMED, out['cluster'], name[root])
  return out
