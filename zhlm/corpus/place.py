"""Clean texts find their place: what dedup must know of them, then which table, split and bucket is theirs.

Functions of (folder, name, task) for an engine, which know of other shards only through the files that
`lines`, `dedup` and `protect` made of all of them.
"""

import itertools
import os
from collections import Counter, defaultdict

import numpy as np

from zhlm.corpus import dedup, hashing, lines, protect, shards
from zhlm.corpus.rejected import Rejected
from zhlm.data.draw import fraction, split_of


def _path(folder, name, ending):
  return os.path.join(folder, f'{name}.{ending}')


def _stripped(item, task, frequent):
  """(item without the lines that the corpus repeats, None) or (item, the rule that it breaks by now)."""
  if not len(frequent) or item['preset'] not in task['lines']['presets'].split():
    return item, None
  text, removed = lines.strip(item['text'], frequent, task['lines']['characters'])
  if removed and len(text) < task['rules'][item['preset']]['min_characters']:
    return item, ('repeated_lines', removed)
  return {**item, 'text': text} if removed else item, None


def _portions(rows, size=1_000):
  rows = iter(rows)
  while portion := list(itertools.islice(rows, size)):
    yield portion


def sketch(call):
  """What dedup must know of each text: its key, and the buckets in which it may meet others."""
  folder, name, task = call
  frequent, made = np.load(task['frequent']), [dedup.sketch([])]
  for portion in _portions(shards.read(task['path'])):
    items = [item for item, broken in (_stripped(i, task, frequent) for i in portion) if broken is None]
    made.append(dedup.sketch(items))
  path = _path(folder, name, 'npy')
  sketches = np.concatenate(made)
  np.save(path, sketches)
  return {
    'path': path,
    'in': task['rows'],
    'kept': len(sketches),
    'bytes_in': task['bytes'],
    'dropped': {},
  }, [path]


def decide(docs, ids):
  """(reason, cluster, its size) of each id in `docs`, what `dedup.resolve` gives; reason -1: not there."""
  keys = np.array([hashing.key(i) for i in ids], np.uint64)
  if not len(docs):  # every text was nothing but repeated lines
    return np.full(len(keys), -1), keys, np.ones(len(keys), int)
  at = np.searchsorted(docs['key'], keys).clip(max=len(docs) - 1)
  there = docs['key'][at] == keys
  return np.where(there, docs['reason'][at], -1), docs['cluster'][at], docs['size'][at]


def split(item, cluster, shares):
  """The split of an item: by its cluster; a review may be kept for the judge."""
  review = item['kind'] == 'review'
  test, validation = shares['review' if review else 'other']
  name = split_of(f'{cluster:016x}', shares['seed'], test, validation)
  if review and fraction('judge', shares['seed'], f'{cluster:016x}') < shares['judge']:
    return 'judge-test' if name == 'test' else 'judge-train'
  return name


def _decided(task):
  """Yields (item, rule that drops it or None, cluster) of a clean shard, in portions."""
  frequent, docs = np.load(task['frequent']), np.load(task['docs'], mmap_mode='r')

  for portion in _portions(shards.read(task['path'])):
    decided = decide(docs, [item['id'] for item in portion])
    for item, reason, cluster, size in zip(portion, *decided, strict=True):
      item, broken = _stripped(item, task, frequent)
      item['cluster_size'] = int(size)
      if broken is None and reason != 0:
        broken = (dedup.REASONS[reason], f'{cluster:016x}')
      yield item, broken, int(cluster)


def grams(call):
  """The n-grams of this shard's test documents, sampled: what no training document may repeat."""
  folder, name, task = call
  found = [np.zeros(0, np.uint64)]
  for item, broken, cluster in _decided(task):
    if broken is None and item['kind'] == 'document' and split(item, cluster, task['shares']) == 'test':
      found.append(protect.sampled(protect.ngrams(item['text'])))
  path = _path(folder, name, 'npy')
  np.save(path, np.sort(np.concatenate(found)))  # as often as documents hold them
  return {'path': path, 'bytes_in': task['bytes'], 'in': task['rows'], 'dropped': {}}, [path]


TABLES = {  # kind: (table, its field in a row)
  'document': ('documents', ('text', 'url', 'title', 'date', 'script', 'labels', 'cluster_size')),
  'conversation': ('conversations', ('messages',)),
  'preference': ('preferences', ('prompt', 'completions', 'ranks')),
  'prompt': ('prompts', ('messages',)),
}


def rows(item, cluster):
  """(table, row) of an item. Kinds that only the demo knows wait in the table `items` for its tasks."""
  if item['kind'] not in TABLES:
    yield 'items', {**item, 'cluster': cluster}
    return
  table, fields = TABLES[item['kind']]
  row = {k: item[k] for k in ('id', 'source', 'licence') if k in item} | {'cluster': cluster}
  row |= {k: item[k] for k in fields if k in item}
  if table == 'prompts':
    row['prompt'] = row.pop('messages')
  yield table, row
  if table in ('conversations', 'preferences'):  # for a source that has no prompts of its own
    prompt = row['prompt'] if 'prompt' in row else row['messages'][:-1]
    yield (
      'lent',
      {**{k: row[k] for k in ('source', 'cluster')}, 'id': f'prompt/{row["id"]}', 'prompt': prompt},
    )


def place(call):
  """Duplicates and what quotes a test are left out; the rest becomes rows of tables, split by cluster."""
  folder, name, task = call
  evaluation, own_test = protect.lookup(np.load(task['evaluation'])), np.load(task['own_test'])
  rejected, tables, kept, characters = Rejected(), defaultdict(list), defaultdict(Counter), Counter()
  for item, broken, cluster in _decided(task):
    part = split(item, cluster, task['shares'])
    if broken is None and part in ('train', 'judge-train'):
      broken = protect.contaminated(item['text'], evaluation, own_test, task['contamination'])
    if broken:
      rejected.add(item, *broken)
      continue
    kept[item['source']][part] += 1
    characters[item['source']] += len(item['text'])
    item['split'] = part
    for table, row in rows(item, f'{cluster:016x}'):
      bucket = int(order(task['shares']['seed'], row['id']) * task['buckets'])
      tables[table, part, bucket].append(row)
  made = shards.write_shelf(_path(folder, name, 'shelf'), tables)
  samples = _path(folder, name, 'rejected.zst')
  shards.write(samples, rejected.rows())
  result = {
    **made,
    'rejected': samples,
    'dropped_by_source': rejected.counts(),
    'splits': {source: dict(counts) for source, counts in kept.items()},
    'characters': dict(characters),
    'in': task['rows'],
    'kept': sum(map(Counter.total, kept.values())),
    'bytes_in': task['bytes'],
    'dropped': dict(sum(rejected.dropped.values(), Counter())),
  }
  return result, [made['path'], samples]


def order(seed, key):
  """Where a row lies in its split: by hash, so that whoever reads on meets all sources."""
  return fraction('order', seed, key)
