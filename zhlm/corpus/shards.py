"""Rows between the steps: zstd-compressed JSON lines, whole or not at all, and known by their content.

A shelf is a file of many small tables: one zstd frame a (table, split, bucket), found by an index at
its end, so that a bucket is read from a thousand shelves without reading them.
"""

import hashlib
import io
import json
import os

import zstandard

from zhlm.errors import InputError

_LEVEL = 3
_CHUNK = 1 << 14  # compressed bytes at once: what comes out of them is not bounded otherwise


def _line(row):
  return (json.dumps(row, ensure_ascii=False) + '\n').encode()


def write(path, rows):
  """Writes rows; returns {'path', 'sha256' of the lines, 'rows', 'bytes' of the lines}."""
  digest, count, size = hashlib.sha256(), 0, 0
  part, compressor = f'{path}.part', zstandard.ZstdCompressor(_LEVEL, write_checksum=True)
  with open(part, 'wb') as file, compressor.stream_writer(file) as out:
    for row in rows:
      line = _line(row)
      digest.update(line)
      out.write(line)
      count, size = count + 1, size + len(line)
  os.replace(part, path)
  return {'path': path, 'sha256': digest.hexdigest(), 'rows': count, 'bytes': size}


def _damaged(path, why):
  return InputError(f'{path}: damaged ({why}); remove this file and run again')


def chunks(file, path):
  """Yields the bytes of an open zstd frame. Raises InputError when it is damaged, or ends early (which
  zstandard's own stream reader takes for the end)."""
  engine = zstandard.ZstdDecompressor().decompressobj()
  try:
    while data := file.read(_CHUNK):
      yield engine.decompress(data)
  except zstandard.ZstdError as error:
    raise _damaged(path, error) from None
  if not engine.eof:
    raise _damaged(path, 'it is cut')


def _rows(file, path):
  rest = b''
  for data in chunks(file, path):
    *lines, rest = (rest + data).split(b'\n')
    for line in lines:
      try:
        row = json.loads(line)
      except ValueError as error:
        raise _damaged(path, error) from None
      yield row


def read(path):
  """Yields the rows of a file that `write` made. Raises InputError when it is damaged."""
  with open(path, 'rb') as file:
    yield from _rows(file, path)


def write_shelf(path, tables):
  """Writes {(table, split, bucket): [row]}; returns {'path', 'sha256', 'index'}, where index is
  [[table, split, bucket, offset, bytes, rows], …] in order."""
  digest, index, part = hashlib.sha256(), [], f'{path}.part'
  with open(part, 'wb') as file:
    for key, rows in sorted(tables.items()):
      lines = b''.join(map(_line, rows))
      digest.update(repr(key).encode() + lines)
      frame = zstandard.ZstdCompressor(_LEVEL, write_checksum=True).compress(lines)
      index.append([*key, file.tell(), len(frame), len(rows)])
      file.write(frame)
  os.replace(part, path)
  return {'path': path, 'sha256': digest.hexdigest(), 'index': index}


def frames(shelves, table, split=None, buckets=None):
  """[[path, offset, bytes]] of a table, of one split, of some buckets; from what `write_shelf` returned."""
  return [
    [shelf['path'], offset, size]
    for shelf in shelves
    for name, part, bucket, offset, size, _ in shelf['index']
    if name == table and split in (None, part) and (buckets is None or bucket in buckets)
  ]


def read_frames(frames):
  """Yields the rows of frames, one frame after another. Raises InputError when one is damaged."""
  for path, offset, size in frames:
    with open(path, 'rb') as file:
      file.seek(offset)
      frame = io.BytesIO(file.read(size))
    yield from _rows(frame, path)
