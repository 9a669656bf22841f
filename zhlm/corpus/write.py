"""From placed rows to what training reads: the demo's tasks, the tokenizer, shards, datasets, tables."""

import itertools
import os
from types import SimpleNamespace

from zhlm.corpus import encode, place, shards
from zhlm.data import chat, records, tokenizer
from zhlm.data.draw import fraction

SPLITS = ('train', 'validation', 'test')
_DESCRIBED = 1_000  # test texts by which the tokenizer is described


def tasks(call):
  """The demo's facts and reviews become instructions, preferences and prompts; they meet in memory."""
  from zhlm.demo import tasks as demo

  folder, name, task = call
  notes, tables = {}, {}
  items = sorted(shards.read_frames(task['frames']), key=lambda item: item['id'])
  for table, split, row in demo.build(items, SimpleNamespace(**task['config']), notes):
    bucket = int(place.order(task['config']['seed'], row['id']) * task['buckets'])
    tables.setdefault((table, split, bucket), []).append(row)
  made = shards.write_shelf(os.path.join(folder, f'{name}.shelf'), tables)
  return {**made, 'notes': notes, 'in': len(items), 'dropped': {}}, [made['path']]


def texts(frames, share, seed):
  """Yields the texts of rows, or of a share of them, that a tokenizer may learn from; role names too."""
  for row in shards.read_frames(frames):
    if share < 1 and fraction('tokenizer', seed, row['id']) >= share:
      continue
    if 'text' in row:
      yield row['text']
    for message in row['prompt'] if 'prompt' in row else row.get('messages', ()):
      yield from (message['role'], message['content'])
    yield from row.get('completions', ())


def train_tokenizer(call):
  """Learns the vocabulary from the training rows, or from a share of them when they are many."""
  folder, name, task = call
  path = os.path.join(folder, f'{name}.model')
  learning = texts(task['frames'], task['share'], task['seed'])
  tokenizer.train(learning, path, task['vocab_size'], task['character_coverage'])
  return _tokenizer(path, task['tests'], task['share']), [path]


def take_tokenizer(call):
  """Copies the tokenizer that was given, which learns nothing of the rows."""
  folder, name, task = call
  path = os.path.join(folder, f'{name}.given')
  tokenizer.copy(task['folder'], path)
  return _tokenizer(path, task['tests'], 0), [os.path.join(path, file) for file in os.listdir(path)]


def _tokenizer(path, tests, share):
  """The result of step `tokenizer`: how it does on test texts, from what share of the rows it learnt."""
  made, about = tokenizer.load(path), {}
  for table, frames in tests.items():
    sample = list(itertools.islice(_contents(frames), _DESCRIBED))
    if sample:
      about[table] = tokenizer.describe(made, sample)
  sha256 = tokenizer.fingerprint(path)
  return {'path': path, 'sha256': sha256, 'about': about, 'share': share, 'dropped': {}}


def _contents(frames):
  for row in shards.read_frames(frames):
    if 'text' in row:
      yield row['text']
    yield from (message['content'] for message in row.get('messages', ()))


def plan(shelves, table, most_rows, most_bytes=1 << 23):
  """{(split, number): buckets}: neighbouring buckets put together into shards of at most so many rows and
  bytes (compressed: about a third of the text), for a shard is sorted in memory."""
  count = {}
  for shelf in shelves:
    for name, split, bucket, _, size, rows in shelf['index']:
      if name == table:
        held = count.setdefault(split, {}).setdefault(bucket, [0, 0])
        held[0], held[1] = held[0] + rows, held[1] + size
  out = {}
  for split in sorted(count):
    number, rows, size = 0, 0, 0
    for bucket in sorted(count[split]):
      more = count[split][bucket]
      if rows and (rows + more[0] > most_rows or size + more[1] > most_bytes):
        number, rows, size = number + 1, 0, 0
      out.setdefault((split, number), []).append(bucket)
      rows, size = rows + more[0], size + more[1]
  return out


def write(call):
  """Some buckets of a table's split, in order: as lines to read, and as a shard of the dataset."""
  folder, name, task = call
  rows = sorted(
    shards.read_frames(task['frames']), key=lambda row: (place.order(task['seed'], row['id']), row['id'])
  )
  lines = shards.write(os.path.join(folder, f'{name}.jsonl.zst'), rows)
  result = {k: task[k] for k in ('table', 'split', 'stage')} | {'lines': lines['path'], 'rows': len(rows)}
  result['sha256'] = lines['sha256']
  result |= {'in': len(rows), 'bytes_in': lines['bytes']}
  outputs = [lines['path']]
  if task['stage'] is None:
    return {**result, 'kept': len(rows), 'dropped': {}}, outputs
  spm, make = tokenizer.load(task['tokenizer']), encode.STAGES[task['stage']][1]
  path, too_long, refused, why = os.path.join(folder, f'{name}.array_record'), 0, 0, ''
  limit = task['document_tokens' if task['stage'] == 'pretrain' else 'max_tokens']

  def examples():
    nonlocal too_long, refused, why
    for row in rows:
      try:
        made = list(make(spm, row, limit))
      except chat.Refused as error:
        refused, why = refused + 1, why or str(error)
        continue
      too_long += not made
      yield from made

  shard = records.write_shard(path, task['stage'], examples())
  counts = {'too_long': too_long, 'refused': refused}
  result |= {'shard': shard, 'why': why, 'kept': len(rows) - too_long - refused, **counts}
  dropped = {why: count for why, count in counts.items() if count}
  return {**result, 'dropped': dropped}, [*outputs, path, f'{path}.npz']


def write_tables(folder, parts):
  """`{table}.{split}.jsonl` for whoever wants to read; those of an earlier run are removed.

  parts: {(table, split): [files in order]}.
  """
  for name in os.listdir(folder):
    if name.endswith('.jsonl'):
      os.remove(os.path.join(folder, name))
  for (table, split), paths in parts.items():
    whole = os.path.join(folder, f'{table}.{split}.jsonl')
    with open(f'{whole}.part', 'wb') as out:
      for path in paths:
        with open(path, 'rb') as file:
          out.writelines(shards.chunks(file, path))
    os.replace(f'{whole}.part', whole)
