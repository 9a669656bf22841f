"""Sources become shards of items, and items become plain or are left out: functions for an engine.

Each takes (folder, name, task) and returns (what it found as JSON, the files it wrote); none knows of
another shard.
"""

import itertools
import math
import os
from collections import Counter, defaultdict

import numpy as np

from zhlm.corpus import lines, shards
from zhlm.corpus.rejected import SAMPLES, Rejected

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
