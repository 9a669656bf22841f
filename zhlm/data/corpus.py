"""From a source to a prepared folder: read → clean → dedup → split → tasks → tokenizer → datasets.

workdir/data/{pretrain,sft,reward,ppo}/     TFDS datasets (zhlm.data.records)
workdir/data/{documents,conversations,…}.{split}.jsonl   the same, to read
workdir/data/report.{md,json}               what was kept and dropped, and why
workdir/data/manifest.json                  written last: without it the folder is not prepared
workdir/tokenizer/{tokenizer.model,report.json}
"""

import json
import os
import time
from collections import Counter

from zhlm.data import (
  clean,
  collect,
  dedup,
  encode,
  files,
  manifest,
  packages,
  records,
  report,
  tasks,
  tokenizer,
)
from zhlm.errors import InputError


def prepare(config, workdir, say=print):
  """Prepares `workdir` and returns its manifest; does nothing when that was done with this config.

  Raises InputError for bad sources, and for a folder that was prepared with another config or from
  other files (`config.finished=False` makes it anew).
  """
  folder = os.path.join(workdir, 'data')
  model = os.path.join(workdir, 'tokenizer', 'tokenizer.model')
  wanted = json.loads(config.to_json())
  if config.finished and (found := manifest.read(workdir)):
    inputs = None if config.source == 'demo' else hashes(files.list_files(config.source))
    manifest.check_same(found, wanted, inputs, workdir)
    made = [os.path.join(folder, stage) for stage, splits in found['datasets'].items() if splits]
    same = os.path.isfile(model) and manifest.sha256(model) == found['tokenizer_sha256']
    if same and all(map(records.finished, made)):
      say(f'{workdir}: already prepared')
      return found
  started, seconds, notes, datasets = time.time(), {}, {}, {}
  step = manifest.steps(say, seconds)

  with step('read') as done:
    items, inputs = read_source(config, say)
    done(f'{len(items):,} items from {len(inputs)} files')
  with step('clean') as done:
    items, sources = clean.clean(items, lambda item: config.rules[item['kind']])
    done(f'{len(items):,} kept')
  with step('dedup and split') as done:
    items, clusters = split_items(items, config, sources)
    done(f'{len(items):,} kept')
  with step('tasks') as done:
    tables = tasks.build(items, config, notes)
    done(', '.join(f'{sum(map(len, t.values())):,} {name}' for name, t in tables.items()))
  if not items:
    raise InputError(f'source={config.source}: no text is left: {_why(sources)} (--config.rules.…)')
  os.makedirs(folder, exist_ok=True)
  if os.path.isfile(manifest.path(workdir)):
    os.remove(manifest.path(workdir))  # from here on what was prepared before is overwritten
  with step('tokenizer') as done:
    tokenizer.train(training_texts(tables), model, config.vocab_size, config.character_coverage)
    spm = tokenizer.load(model)
    about = describe(spm, tables)
    manifest.write_json(os.path.join(os.path.dirname(model), 'report.json'), about)
    done(', '.join(f'{k} {v["characters_per_token"]}' for k, v in about.items()) + ' characters/token')
  for stage in encode.STAGES:
    with step(f'write {stage}') as done:
      datasets[stage], too_long = encode.write_stage(folder, stage, tables, spm, config, say)
      notes[f'{stage}: above max_tokens'] = too_long
      done(', '.join(f'{k} {v["records"]:,}' for k, v in datasets[stage].items()) or 'nothing')
  with step('write jsonl'):
    write_tables(folder, tables)

  tokenizer_sha256 = manifest.sha256(model)
  seconds['all'] = round(time.time() - started, 1)
  summary = {
    'config': wanted,
    'tokenizer_sha256': tokenizer_sha256,
    'inputs': inputs,
    'datasets': datasets,
    'tables': {name: {s: len(rows) for s, rows in t.items()} for name, t in tables.items()},
    'versions': manifest.versions(),
  }
  whole = {'tokenizer': about, 'sources': sources, 'clusters': clusters, 'notes': notes}
  whole = {**summary, **whole, 'seconds': seconds}
  manifest.write_json(os.path.join(folder, 'report.json'), whole)
  manifest.write_text(os.path.join(folder, 'report.md'), report.markdown(whole, tables))
  manifest.write_json(manifest.path(workdir), summary)
  say(f'{workdir}: prepared in {seconds["all"]} s; have a look at {folder}/report.md')
  return summary


def _why(sources):
  """The counts of all drops, by reason, in one line."""
  count = Counter()
  for source in sources.values():
    count.update({reason: drop['count'] for reason, drop in source['dropped'].items()})
  return ', '.join(f'{reason} {n:,}' for reason, n in count.most_common())


def hashes(paths):
  """{file name: sha256}: what a prepared folder was made of."""
  return {os.path.basename(path): manifest.sha256(path) for path in paths}


def read_source(config, say=print):
  """(items, {file name: sha256}) of the demo's packages or of a path. Raises InputError."""
  if config.source == 'demo':
    archives = {name: collect.fetch(name, config.cache, say) for name in collect.PACKAGES}
    return packages.read(archives), hashes(archives.values())
  paths = files.list_files(config.source)
  return [item for path in paths for item in files.read_file(path)], hashes(paths)


def split_items(items, config, sources):
  """(items without near-duplicates, each with `cluster` and `split`; histogram of cluster sizes).

  Reviews have two more splits, 'judge-train' and 'judge-test'. Texts that are equal but labelled
  differently are all dropped: nobody knows which label is right. Drops are noted in `sources`.
  """
  groups = [item.get('group', item['id']) for item in items]
  ids, texts = [item['id'] for item in items], [item['text'] for item in items]
  kept, clusters = dedup.dedup(ids, texts, groups)
  labels, members, exact, out = {}, {}, set(), []
  for item in items:
    labels.setdefault(item['text'], set()).add(item.get('label'))
  for item, keep, cluster in zip(items, kept, clusters, strict=True):
    members[cluster] = members.get(cluster, 0) + 1
    keep = keep or (item['kind'] == 'preference' and item['text'] not in exact)
    exact.add(item['text'])
    conflict = len(labels[item['text']]) > 1
    if keep and not conflict:
      out.append({**item, 'cluster': cluster, 'split': _split(item, cluster, config)})
      continue
    entry = sources[item['source']]
    entry['kept'] -= 1
    clean.note(entry, 'label_conflict' if conflict else 'near_duplicate', item['text'])
  return out, clean.histogram(members.values())


def _split(item, cluster, config):
  review = item['kind'] == 'review'
  test = config.review_test_share if review else config.test_share
  validation = config.review_validation_share if review else config.validation_share
  split = dedup.split_of(cluster, config.seed, test, validation)
  if review and dedup.fraction('judge', config.seed, cluster) < config.judge_share:
    return 'judge-test' if split == 'test' else 'judge-train'
  return split


def training_texts(tables):
  """What the tokenizer learns from: the training texts, and role names as often as they occur."""
  for row in tables['documents'].get('train', []):
    yield row['text']
  for row in tables['conversations'].get('train', []):
    for message in row['messages']:
      yield message['role']
      yield message['content']
  for row in tables['preferences'].get('train', []):
    yield from (message['content'] for message in row['prompt'])
    yield from row['completions']


def describe(spm, tables):
  """{table: how well the tokenizer does on its test texts}."""
  texts = {
    'documents': [row['text'] for row in tables['documents'].get('test', [])],
    'conversations': [
      m['content'] for row in tables['conversations'].get('test', []) for m in row['messages']
    ],
  }
  return {name: tokenizer.describe(spm, rows) for name, rows in texts.items() if rows}


def write_tables(folder, tables):
  """`{table}.{split}.jsonl` for whoever wants to read; files of an earlier config are removed."""
  for name in os.listdir(folder):
    if name.endswith('.jsonl'):
      os.remove(os.path.join(folder, name))
  for table, splits in tables.items():
    for split, rows in splits.items():
      manifest.write_jsonl(os.path.join(folder, f'{table}.{split}.jsonl'), rows)
