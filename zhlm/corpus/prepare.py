"""From sources to a prepared folder, step by step; what is done is not done again.

  read → clean → lines → sketch → dedup → grams → protect → place → tasks → tokenizer → write

workdir/data/{pretrain,sft,reward,ppo}/     TFDS datasets (zhlm.data.records)
workdir/data/{documents,conversations,…}.{split}.jsonl   the same, to read
workdir/data/report.{html,md,json}, rejected/{rule}.jsonl   what was kept and dropped, and why
workdir/data/manifest.json                  written last: without it the folder is not prepared
workdir/tokenizer/{tokenizer.model,report.json}
workdir/work/                               what the steps made, and their markers (zhlm.corpus.cache)
"""

import json
import os
import time
from collections import Counter
from typing import Any, NamedTuple

from zhlm import disk
from zhlm.corpus import cache, encode, engine, finish, gather, meter, place, steps, words, write
from zhlm.corpus import shards as shelf
from zhlm.data import manifest, tokenizer
from zhlm.errors import InputError


def _corpus(*names):
  return tuple(f'zhlm.corpus.{name}' for name in names)


# The code whose change makes a step's results void, and so do other versions of these libraries.
_PLACING = ('protect', 'lines', 'hashing', 'place')
CODE = {
  'read': ('zhlm.collect', 'zhlm.demo'),
  'clean': ('zhlm.clean', 'zhlm.collect.pages', *_corpus('lines', 'hashing', 'steps')),
  'lines': _corpus('lines', 'hashing'),
  'sketch': _corpus('dedup', 'minhash', *_PLACING),
  'dedup': _corpus('dedup', 'minhash', 'hashing'),
  'grams': ('zhlm.data.draw', *_corpus(*_PLACING)),
  'protect': _corpus('protect', 'lines', 'hashing'),
  'place': ('zhlm.data.draw', *_corpus(*_PLACING)),
  'tasks': ('zhlm.demo', 'zhlm.data.draw', *_corpus('write', 'place')),
  'tokenizer': ('zhlm.data.tokenizer', 'zhlm.data.hub', 'zhlm.data.draw', *_corpus('write')),
  'annotate': ('zhlm.clean.annotate', 'zhlm.clean.lists', *_corpus('words')),
  'write': (
    'zhlm.data.chat',
    'zhlm.data.chatml',
    'zhlm.data.hub',
    'zhlm.data.template',
    'zhlm.data.tokenizer',
    'zhlm.data.turns',
    'zhlm.data.records',
    *_corpus('encode', 'write', 'place'),
  ),
}
LIBRARIES = (
  'numpy',
  'opencc',
  'rjieba',
  'resiliparse',
  'trafilatura',
  'sentencepiece',
  'tokenizers',
  'jinja2',
)
# Fields that the demo's tasks read, besides review_* and keyword_*.
TASK_FIELDS = ('seed', 'answer_characters', 'definition_preferences')


class Job(NamedTuple):
  """One preparation: settings, and `run(step, function, {name: (key, task)}) -> results` that skips."""

  config: Any
  plain: dict  # the same as JSON
  run: Any
  told: Any  # the meter


def prepare(config, workdir, say=print):
  """Prepares `workdir` and returns its manifest; does nothing when that was done with this config.

  Raises InputError for bad sources, and for a folder that was prepared with another config or from
  other files (`config.finished=False` makes it anew: only the steps that the change concerns run).
  """
  plain = json.loads(config.to_json())
  found, given = manifest.read(workdir) if config.finished else None, config.tokenizer
  if given:
    tokenizer.load(given)  # now, not after hours of reading
  if found and config.source == 'demo':  # its archives need not be there any more
    sources, inputs = {}, found['inputs']
  else:
    sources = gather.sources(config, say)
    inputs = gather.inputs(sources)
  if found:
    manifest.check_same(found, plain, inputs, workdir)
    if given and tokenizer.fingerprint(given) != found['tokenizer_sha256']:
      raise InputError(
        f'{workdir}: prepared before with another tokenizer than lies in {given} now: '
        'choose another --workdir, or --config.finished=False to make it anew'
      )
    if finish.whole(workdir, found):
      say(f'{workdir}: already prepared')
      return found
    sources = sources or gather.sources(config, say)
  work, started, told = os.path.join(workdir, 'work'), time.time(), meter.Meter(say)
  with cache.lock(work), engine.engine(config) as spread:

    def run(step, function, tasks, spread=spread):
      known = [cache.code(*CODE[step]), [cache.version(name) for name in LIBRARIES]]
      tasks = {name: ([known, key], task) for name, (key, task) in tasks.items()}
      return cache.run(work, step, function, tasks, spread, told)

    results = steps_of(Job(config, plain, run, told), sources, inputs)
  return finish.finish(workdir, plain, inputs, results, told, time.time() - started, say)


def steps_of(job, sources, inputs):
  """All steps in order; {step: [result]} for the report and the datasets."""
  read = job.run('read', steps.read, gather.reading(sources, inputs, job.config.shard_characters))
  raw = {shard['name']: shard for result in read for shard in result['shards']}
  cleaned = _cleaned(job, raw)
  shared, decided = _decided(job, cleaned)
  characters = sum(about['characters'] for s in cleaned.values() for about in s['sources'].values())
  shared['buckets'] = gather.buckets(characters, job.config.shard_characters)
  placed = _placed(job, cleaned, shared)
  results = {'read': read, 'clean': list(cleaned.values()), **decided, 'place': placed, 'tasks': []}
  if shelf.frames(placed, 'items'):
    results['tasks'] = [_demo(job, placed, shared['buckets'])]
  results |= _written(job, [*placed, *results['tasks']], characters)
  results['annotate'] = _annotated(job, results['write']) if job.config.annotate else []
  return results


def _once(job, step, function, key, task):
  """A step of one task, which runs here; that on Beam is its own affair."""
  return job.run(step, function, {step: (key, task)}, engine.here)[0]


def _cleaned(job, raw):
  settings = {k: job.plain[k] for k in ('rules', 'lines', 'labels', 'thorough')}
  aside = gather.judges(job.plain['labels'])
  tasks = {
    name: ([shard['sha256'], settings, aside], {'path': shard['path'], 'bytes': shard['bytes'], **settings})
    for name, shard in raw.items()
  }
  cleaned = job.run('clean', steps.clean, tasks)
  if not any(shard['rows'] for shard in cleaned):
    dropped = sum((Counter(shard['dropped']) for shard in cleaned), Counter())
    why = ', '.join(f'{rule} {n:,}' for rule, n in dropped.most_common())
    raise InputError(f'source={job.config.source}: no text is left: {why} (--config.rules.…)')
  return dict(zip(raw, cleaned, strict=True))


def _each(job, step, function, cleaned, key, shared):
  """A step over the clean shards, whose results also depend on `key`."""
  tasks = {
    name: (
      [shard['sha256'], key],
      {'path': shard['path'], 'bytes': shard['bytes'], 'rows': shard['rows'], **shared},
    )
    for name, shard in cleaned.items()
  }
  return job.run(step, function, tasks)


def _decided(job, cleaned):
  """What all texts together decide: repeated lines, duplicates, protected n-grams. (settings, results)"""
  config, settings = job.config, {k: job.plain[k] for k in ('rules', 'lines')}
  shards = list(cleaned.values())
  texts = [[name, shard['sha256']] for name, shard in cleaned.items()]
  beam = config.beam_options if config.engine == 'beam' else ''
  task = {'paths': [shard['lines'] for shard in shards], 'copies': config.lines.copies, 'beam': beam}
  frequent = _once(job, 'lines', gather.lines, [texts, job.plain['lines']], task)
  shared = {**settings, 'frequent': frequent['path']}
  key = [settings, frequent['sha256']]
  sketches = _each(job, 'sketch', place.sketch, cleaned, key, shared)
  before = gather.before(config.grows_from)
  task = {'paths': [shard['path'] for shard in sketches], 'before': before, 'beam': beam}
  docs = _once(job, 'dedup', gather.resolve, [texts, key, before and disk.sha256(before)], task)

  shares = gather.shares(config)
  shared |= {'docs': docs['path'], 'shares': shares}
  key = [key, docs['sha256'], shares]
  grams = _each(job, 'grams', place.grams, cleaned, key, shared)
  exams = gather.evaluations(config.protect)
  task = {'evaluations': exams, 'grams': [shard['path'] for shard in grams]}
  key = [texts, key, [disk.sha256(path) for path in exams]]
  protected = _once(job, 'protect', gather.guard, key, task)
  shared |= {k: protected[k] for k in ('evaluation', 'own_test')}
  shared['decided'] = [settings, frequent['sha256'], docs['sha256'], protected['sha256']]
  return shared, {'sketch': sketches, 'dedup': [docs], 'protect': [protected]}


def _placed(job, cleaned, shared):
  shared['contamination'] = job.plain['contamination']
  key = [shared[k] for k in ('decided', 'shares', 'buckets', 'contamination')]
  return _each(job, 'place', place.place, cleaned, key, shared)


def _demo(job, placed, buckets):
  fields = [k for k in job.plain if k in TASK_FIELDS or k.startswith(('review_', 'keyword_'))]
  settings = {k: job.plain[k] for k in fields}
  task = {'frames': shelf.frames(placed, 'items'), 'config': settings, 'buckets': buckets}
  key = [[s['sha256'] for s in placed], settings, buckets]
  return _once(job, 'tasks', write.tasks, key, task)


def _written(job, shelves, characters):
  """The tokenizer, and with it the shards of all datasets."""
  contents = [s['sha256'] for s in shelves]
  settings = {k: job.plain[k] for k in ('vocab_size', 'character_coverage', 'seed', 'tokenizer_characters')}
  task = {**settings, 'share': min(1.0, job.config.tokenizer_characters / max(characters, 1))}
  task['frames'] = [
    f for t in ('documents', 'conversations', 'preferences') for f in shelf.frames(shelves, t, 'train')
  ]
  task['tests'] = {t: shelf.frames(shelves, t, 'test') for t in ('documents', 'conversations')}
  if job.config.tokenizer:
    key = [contents, tokenizer.fingerprint(job.config.tokenizer)]
    task = {'tests': task['tests'], 'folder': job.config.tokenizer}
    learned = _once(job, 'tokenizer', write.take_tokenizer, key, task)
  else:
    learned = _once(job, 'tokenizer', write.train_tokenizer, [contents, settings], task)

  settings = {k: job.plain[k] for k in ('max_tokens', 'document_tokens', 'seed')}
  tables = {table for s in shelves for table, *_ in s['index']} - {'items'}
  # A source without prompts of its own lends those of its conversations and preferences.
  tables -= {'lent'} if 'prompts' in tables else set()
  stage_of = {table: stage for stage, (table, _) in encode.STAGES.items()} | {'lent': 'ppo'}
  todo = {}
  for table in sorted(tables):
    for (split, number), buckets in write.plan(shelves, table, job.config.shard_records).items():
      stage = stage_of[table] if table in stage_of and split in write.SPLITS else None
      task = {'table': table.replace('lent', 'prompts'), 'split': split, 'stage': stage, **settings}
      key = [contents, table, split, buckets, learned['sha256'], settings]
      task |= {'frames': shelf.frames(shelves, table, split, set(buckets)), 'tokenizer': learned['path']}
      todo[f'{task["table"]}-{split}-{number:05}'] = (key, task)
  return {'tokenizer': [learned], 'write': job.run('write', write.write, todo)}


def _annotated(job, written):
  """Words, parts of speech and stop words beside the documents."""
  aside = disk.sha256(words.STOP)
  tasks = {
    f'{shard["split"]}-{number:05}': (
      [shard['sha256'], aside],
      {'lines': shard['lines'], 'split': shard['split'], 'bytes': shard['bytes_in']},
    )
    for number, shard in enumerate(written)
    if shard['table'] == 'documents'
  }
  return job.run('annotate', words.write, tasks)
