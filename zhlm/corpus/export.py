"""A prepared table for other programs: plain text, JSON lines, Parquet or SQLite, whole or not at all."""

import contextlib
import functools
import json
import os
import sqlite3

from zhlm.errors import InputError

FORMATS = ('text', 'jsonl', 'parquet', 'sqlite')
_BATCH = 10_000  # rows in memory


def rows(workdir, table, split):
  """Yields the rows of a prepared table. Raises InputError, naming the tables that are there."""
  folder = os.path.join(workdir, 'data')
  path = os.path.join(folder, f'{table}.{split}.jsonl')
  if not os.path.isfile(os.path.join(folder, 'manifest.json')):
    raise InputError(f'{workdir}: holds no prepared data; make it with: python -m launch.prepare')
  if not os.path.isfile(path):
    there = sorted(name.removesuffix('.jsonl') for name in os.listdir(folder) if name.endswith('.jsonl'))
    raise InputError(f'{workdir}: no table {table}.{split}; there are {", ".join(there)}')
  with open(path, encoding='utf-8') as file:
    yield from map(json.loads, file)


def export(workdir, table, split, form, path):
  """Writes a table to `path` in a format of FORMATS; returns the number of rows.

  text: documents only, one after another, an empty line between two and none within. The others: a column a
  field; lists and dicts as JSON text. Raises InputError for another format or for a table without text.
  """
  if form not in FORMATS:
    raise InputError(f'format={form}: the formats are {", ".join(FORMATS)}')
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  part = f'{path}.part'
  with contextlib.suppress(FileNotFoundError):
    os.remove(part)
  find = functools.partial(rows, workdir, table, split)
  count = {'text': _text, 'jsonl': _jsonl, 'parquet': _parquet, 'sqlite': _sqlite}[form](find, part, table)
  os.replace(part, path)
  return count


def _text(find, path, table):
  count = 0
  with open(path, 'w', encoding='utf-8') as file:
    for row in find():
      if 'text' not in row:
        raise InputError(
          f'format=text is for documents; {table} have no text: choose {", ".join(FORMATS[1:])}'
        )
      file.write('\n'.join(line for line in row['text'].split('\n') if line.strip()) + '\n\n')
      count += 1
  return count


def _jsonl(find, path, _):
  count = 0
  with open(path, 'w', encoding='utf-8') as file:
    for row in find():
      file.write(json.dumps(row, ensure_ascii=False) + '\n')
      count += 1
  return count


def _flat(row):
  return {k: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for k, v in row.items()}


def _batches(found):
  batch = []
  for row in found:
    batch.append(_flat(row))
    if len(batch) == _BATCH:
      yield batch
      batch = []
  if batch:
    yield batch


def _columns(found):
  """The columns of all rows in the order they first appear: fields need not be in every row."""
  names = {}
  for row in found:
    names |= dict.fromkeys(row)
  return list(names)


def _parquet(find, path, _):
  """Two passes: a column may come late, and the schema stands before the first row."""
  import pyarrow
  from pyarrow import parquet

  schemas = (pyarrow.Table.from_pylist(batch, schema=None).schema for batch in _filled(find()))
  schema, count = pyarrow.unify_schemas(schemas, promote_options='permissive'), 0
  with parquet.ParquetWriter(path, schema, compression='zstd') as writer:
    for batch in _batches(find()):
      writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
      count += len(batch)
  return count


def _filled(found):
  """Batches whose first row has all their columns: pyarrow looks for names nowhere else."""
  for batch in _batches(found):
    yield [{**dict.fromkeys(_columns(batch)), **batch[0]}, *batch[1:]]


def _sqlite(find, path, table):
  count, known = 0, []
  with contextlib.closing(sqlite3.connect(path)) as base, base:
    for batch in _batches(find()):
      for name in _columns(batch):
        if name not in known:
          quoted = name.replace('"', '""')
          create = (
            f'CREATE TABLE "{table}" ("{quoted}")' if not known else f'ALTER TABLE "{table}" ADD "{quoted}"'
          )
          base.execute(create)
          known.append(name)
      marks = ', '.join('?' * len(known))
      base.executemany(
        f'INSERT INTO "{table}" VALUES ({marks})', ([row.get(n) for n in known] for row in batch)
      )
      count += len(batch)
  return count
