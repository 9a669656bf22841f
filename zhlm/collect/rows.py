"""The rows of a file: JSON Lines, JSON, CSV, TSV, Parquet, SQLite; one row, or a small batch, in memory.

Each is (where, row, why): `why` is empty, or says why the row cannot be read. Knows not what rows mean.
"""

import csv
import json
import os
import re
import sqlite3
import urllib.parse

from zhlm.collect import files
from zhlm.errors import InputError

_CHUNK = 1 << 18  # characters read at once of a JSON array
_LONGEST = 1 << 27  # characters of one record; more is a quote or bracket that is never closed
_SPACE = re.compile(r'[\s,]*')


def read(source):
  """Yields (where, row, why) for every row of a file; where is path:line, or path[index] of a JSON array.

  Raises InputError for a file that is cut, damaged or not of `source.format`.
  """
  readers = {'jsonl': _jsonl, 'json': _json, 'csv': _csv, 'tsv': _csv, 'parquet': _parquet}
  return {**readers, 'sqlite': _sqlite}[source.format](source)


def _unique(pairs):
  row = dict(pairs)
  if len(row) < len(pairs):
    names = [k for k, _ in pairs]
    raise ValueError(f'the field {next(n for n in names if names.count(n) > 1)!r} is there twice')
  return row


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _loads(text):
  """(value, '') or (None, why not) of one JSON value."""
  why = files.undecodable(text)
  if why:
    return None, why
  try:
    row = _DECODER.decode(text)
  except json.JSONDecodeError as error:
    return None, f'not JSON: {error.msg} at column {error.pos + 1}'
  except (ValueError, RecursionError) as error:
    return None, str(error)
  return (files.scrub(row) if '\\ud' in text or '\\uD' in text else row), ''


def _jsonl(source):
  for number, line in enumerate(files.lines(source.path, source.charset), 1):
    if not line.isspace():
      yield f'{source.path}:{number}', *_loads(line)


def _json(source):
  """An array, an object a line, or one object, which may hold its rows as `data`."""
  with files.open_text(source.path, source.charset) as text:
    start = text.read(_CHUNK).lstrip()
    if start.startswith('['):
      yield from _array(source.path, text, start[1:])
      return
    line, newline, _ = start.partition('\n')
    if newline and not line.rstrip().endswith('}'):
      row, why = _loads(start + text.read())
      if why:
        raise InputError(f'{source.path}: {why}')
      yield from _unwrapped(f'{source.path}:1', row, '')
      return
  for where, row, why in _jsonl(source):
    yield from _unwrapped(where, row, why)


def _unwrapped(where, row, why):
  rows = row['data'] if isinstance(row, dict) and 'data' in row else None
  if isinstance(rows, list) and rows and isinstance(rows[0], dict):
    yield from ((f'{where} data[{i}]', r, '') for i, r in enumerate(rows))
  else:
    yield where, row, why


def _array(path, stream, buffer):
  """The elements of a JSON array as they come; raises InputError where it breaks off."""
  plain, number, at, size = json.JSONDecoder(), 0, 0, _CHUNK
  while True:
    at = _SPACE.match(buffer, at).end()
    if buffer.startswith(']', at):
      if (buffer[at + 1 :] + stream.read(_CHUNK)).strip():
        raise InputError(f'{path}: more follows on the end of its array; is it a .jsonl?')
      return
    why = 'it ends before its ]'
    try:
      _, end = plain.raw_decode(buffer, at)
    except (json.JSONDecodeError, RecursionError) as error:
      end, why = len(buffer), str(error)
    if end < len(buffer):
      yield f'{path}[{number}]', *_loads(buffer[at:end])
      number, at, size = number + 1, end, _CHUNK
      continue
    more = stream.read(size)
    if not more or len(buffer) > _LONGEST:
      raise InputError(f'{path}[{number}]: the array cannot be read on from here: {why}')
    buffer, at, size = buffer[at:] + more, 0, 2 * size


def _csv(source):
  """CSV with a header and `"` around what holds commas; TSV without any quoting."""
  csv.field_size_limit(_LONGEST)
  lines = files.lines(source.path, source.charset, newline='')
  if source.format == 'csv':
    reader = csv.reader(lines, strict=True)
  else:
    reader = csv.reader(lines, delimiter='\t', quoting=csv.QUOTE_NONE)
  names, line = None, 0
  while True:
    where, why = f'{source.path}:{line + 1}', ''
    try:
      cells = next(reader, None)
    except csv.Error as error:
      cells, why = [], str(error)
    line = reader.line_num
    if cells is None:
      return
    why = why or files.undecodable('\n'.join(cells))
    if not cells and not why:
      continue  # an empty line
    if names is None:
      names = _names(source.path, cells, why)
      continue
    if not why and len(cells) != len(names):
      why = f'has {len(cells)} fields; the header has {len(names)}'
    yield where, None if why else dict(zip(names, cells, strict=True)), why


def _names(path, names, why=''):
  if why or len(set(names)) < len(names):
    raise InputError(f'{path}: columns: {why or "two have the same name"}: {", ".join(names)}')
  return names


def _parquet(source):
  try:
    import pyarrow as pa
    import pyarrow.parquet as pq
  except ImportError:
    raise InputError(f'{source.path}: needs a library: pip install pyarrow') from None
  number = 0
  try:
    table = pq.ParquetFile(source.path)
    _names(source.path, table.schema_arrow.names)
    for batch in table.iter_batches(64):
      try:
        found = [(row, '') for row in batch.to_pylist()]
      except UnicodeDecodeError:
        found = [_slowly(batch.slice(i, 1)) for i in range(len(batch))]
      for row, why in found:
        number += 1
        yield f'{source.path}:{number}', row, why
  except (pa.ArrowException, OSError) as error:
    reason = ' '.join(str(error).split())
    raise InputError(f'{source.path}: not Parquet, or damaged after row {number}: {reason}') from None


def _slowly(batch):
  try:
    return batch.to_pylist()[0], ''
  except UnicodeDecodeError as error:
    return None, f'not UTF-8: {error.reason} at byte {error.start}'


def _sqlite(source):
  path = urllib.parse.quote(os.path.abspath(source.path))
  base, number = None, 0
  try:
    base = sqlite3.connect(f'file:{path}?mode=ro', uri=True)
    charset = files.known(source.charset or 'utf-8')
    base.text_factory = lambda data: data.decode(charset, 'surrogateescape')
    rows = base.execute(source.query or f'SELECT * FROM "{_only_table(source.path, base)}"')
    names = _names(source.path, [column[0] for column in rows.description or ()])
    for number, cells in enumerate(rows, 1):
      why = files.undecodable('\n'.join(c for c in cells if isinstance(c, str)))
      yield f'{source.path}:{number}', dict(zip(names, cells, strict=True)), why
  except sqlite3.Error as error:
    raise InputError(f'{source.path}: query: {error} (after row {number})') from None
  finally:
    if base:
      base.close()


def _only_table(path, base):
  names = base.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
  names = [name for (name,) in names]
  if len(names) != 1:
    raise InputError(f'{path}: query: say which of its tables: {", ".join(names) or "it has none"}')
  return names[0]
