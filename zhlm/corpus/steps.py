"""One shard at a time: read, clean, sketch, place. Functions of (folder, name, task) for an engine.

Each returns (what it found as JSON, the files it wrote); no function knows of another shard, but
through the files that `lines`, `dedup` and `protect` made of all of them.
"""

import heapq
import itertools
import math
import os
from collections import Counter, defaultdict

import numpy as np

from zhlm.corpus import dedup, hashing, lines, protect, shards
from zhlm.data.draw import fraction, split_of

SAMPLES = 50  # rejected texts kept a rule
SHOWN = 200  # characters of each
COUNTS = ('in', 'kept', 'characters_in', 'characters')  # of a source


def _path(folder, name, ending):
  return os.path.join(folder, f'{name}.{ending}')


def read(call):
  """Source files (or the demo's archives) become shards of about `characters` each."""
  from zhlm.collect import files, sources

  folder, name, task = call
  if task['sources']:
    stream = itertools.chain.from_iterable(sources.read(sources.Source(**s)) for s in task['sources'])
  else:
    from zhlm.demo import packages

    stream = packages.read(task['archives'])
  made, bad, held, size = [], [], [], 0

  def flush():
    nonlocal held, size
    shard = f'{name}-{len(made):05}'
    made.append({'name': shard, **shards.write(_path(folder, shard, 'jsonl.zst'), held)})
    held, size = [], 0

  count = 0
  for item in stream:
    if isinstance(item, files.Bad):
      count += 1
      if len(bad) < SAMPLES:
        bad.append([item.where, item.why])
      continue
    held.append(item)
    size += len(item['html'] if 'html' in item else item['text'])
    if size >= task['characters']:
      flush()
  if held or not made:
    flush()
  rows, bytes_out = (sum(shard[k] for shard in made) for k in ('rows', 'bytes'))
  result = {'shards': made, 'bad': count, 'bad_samples': bad, 'in': rows + count, 'kept': rows}
  result |= {
    'bytes_in': task['bytes'],
    'bytes': bytes_out,
    'dropped': {'bad_record': count} if count else {},
  }
  return result, [shard['path'] for shard in made]


class Rejected:
  """Counts by source and rule, and of each rule the samples with the smallest draw: no order matters."""

  def __init__(self):
    self.dropped, self.heaps = defaultdict(Counter), defaultdict(list)

  def add(self, item, rule, value):
    """One text that `rule` dropped, and the value that broke it."""
    self.dropped[item['source']][rule] += 1
    place = fraction('sample', item['id'])
    heap = self.heaps[rule]
    if len(heap) >= SAMPLES and place >= -heap[0][0]:
      return
    text = (item['text'] if 'text' in item else item['html'])[:SHOWN]
    row = {'rule': rule, 'value': value, 'id': item['id'], 'source': item['source'], 'text': text}
    if 'url' in item:
      row['url'] = item['url']
    (heapq.heappush if len(heap) < SAMPLES else heapq.heapreplace)(heap, (-place, item['id'], row))

  def rows(self):
    """The samples, rule by rule."""
    return [row for rule in sorted(self.heaps) for _, _, row in sorted(self.heaps[rule], reverse=True)]

  def counts(self):
    """{source: {rule: count}}."""
    return {source: dict(rules) for source, rules in self.dropped.items()}


def clean(call):
  """Texts made plain, those that break a rule left out; the hashes of their lines are kept aside."""
  from zhlm.clean import document, labels
  from zhlm.collect import pages

  folder, name, task = call
  rejected, sources, histograms, hashed = Rejected(), {}, defaultdict(Counter), []

  def tried():
    for item in shards.read(task['path']):
      about = sources.setdefault(item['source'], dict.fromkeys(COUNTS, 0))
      about['in'] += 1
      if 'html' in item:
        html = item.pop('html')
        found = pages.extract(html, item.get('url', ''), task['thorough'])
        if found is None:
          rejected.add({**item, 'text': html}, 'no_main_text', 0)
          continue
        item.update({k: v for k, v in found.items() if v})
      about['characters_in'] += len(item['text'])
      item, broken = document.clean(item, task['rules'][item['preset']])
      for key, value in _histogram(item).items():
        histograms[key][value] += 1
      yield item, broken

  def kept():
    for item, broken in labels.judged(tried(), task['labels']):
      for label, share in item.get('labels', {}).items():
        histograms['labels'][label] += share > 0.5
      if broken:
        rejected.add(item, *broken)
        continue
      about = sources[item['source']]
      about['kept'] += 1
      about['characters'] += len(item['text'])
      if item['preset'] in task['lines']['presets'].split():
        hashed.append(lines.hashes(item['text'], task['lines']['characters']))
      yield item

  made = shards.write(_path(folder, name, 'jsonl.zst'), kept())
  outputs = [made['path'], _path(folder, name, 'lines.npy'), _path(folder, name, 'rejected.zst')]
  hashes = np.sort(np.concatenate(hashed)) if hashed else np.zeros(0, np.uint64)
  np.save(outputs[1], hashes)
  shards.write(outputs[2], rejected.rows())
  result = {
    **made,
    'lines': outputs[1],
    'rejected': outputs[2],
    'sources': sources,
    'dropped_by_source': rejected.counts(),
    'histograms': {key: dict(counts) for key, counts in histograms.items()},
    'in': sum(about['in'] for about in sources.values()),
    'kept': made['rows'],
    'bytes_in': task['bytes'],
    'dropped': dict(sum(rejected.dropped.values(), Counter())),
  }
  return result, outputs


def _histogram(item):
  """{histogram: bucket} of one text, before it is kept or dropped."""
  stats = item['stats']
  return {
    'characters': 2 ** int(math.log2(max(stats['characters'], 1))),
    'han_share': round(math.floor(stats['han_share'] * 10) / 10, 1),
    'script': item['script'],
  }


def _stripped(item, task, frequent):
  """(item without the lines that the corpus repeats, None) or (item, the rule that it breaks by now)."""
  if not len(frequent) or item['preset'] not in task['lines']['presets'].split():
    return item, None
  text, removed = lines.strip(item['text'], frequent, task['lines']['characters'])
  if removed and len(text) < task['rules'][item['preset']]['min_characters']:
    return item, ('repeated_lines', removed)
  return {**item, 'text': text} if removed else item, None


def sketch(call):
  """What dedup must know of each text: its key, and the buckets in which it may meet others."""
  folder, name, task = call
  frequent, items = np.load(task['frequent']), []
  for item in shards.read(task['path']):
    item, broken = _stripped(item, task, frequent)
    if broken is None:
      items.append({k: item[k] for k in ('id', 'kind', 'text', 'group', 'label') if k in item})
  path = _path(folder, name, 'npy')
  np.save(path, dedup.sketch(items))
  result = {'path': path, 'in': task['rows'], 'kept': len(items), 'bytes_in': task['bytes'], 'dropped': {}}
  return result, [path]


def decide(docs, ids):
  """(reason, cluster, its size) of each id in `docs`, what `dedup.resolve` gives; reason -1: not there."""
  keys = np.array([hashing.key(i) for i in ids], np.uint64)
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

  def portion(items):
    decided = decide(docs, [item['id'] for item in items])
    for item, reason, cluster, size in zip(items, *decided, strict=True):
      item, broken = _stripped(item, task, frequent)
      item['cluster_size'] = int(size)
      if broken is None and reason != 0:
        broken = (dedup.REASONS[reason], f'{cluster:016x}')
      yield item, broken, int(cluster)

  items = []
  for item in shards.read(task['path']):
    items.append(item)
    if len(items) == 1_000:
      yield from portion(items)
      items = []
  yield from portion(items)


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
    if broken and broken[0] == 'unknown':
      continue
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
