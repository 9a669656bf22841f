"""Whether a dataset on disk is whole: its metadata, which are written last, and the shards they tell of."""

import json
import os
import zipfile

import numpy as np

from zhlm.errors import InputError

AGAIN = 'remove this dataset and work/write, and run launch.prepare again'


def shards(folder):
  """{split: [(path, records)]} as the metadata say. Raises InputError when these are not there, or none."""
  try:
    for name in ('features.json', 'dataset_info.json'):
      with open(os.path.join(folder, name), encoding='utf-8') as file:
        found = json.load(file)
    name, splits = found['name'], {s['name']: list(map(int, s['shardLengths'])) for s in found['splits']}
  except (OSError, ValueError, KeyError, TypeError):
    advice = 'make it with: python -m launch.prepare'
    raise InputError(f'{folder}: no finished dataset here; {advice}') from None
  path = os.path.join(folder, f'{name}-{{}}.array_record-{{:05}}-of-{{:05}}').format
  return {
    split: [(path(split, i, len(counts)), count) for i, count in enumerate(counts)]
    for split, counts in splits.items()
  }


def check(found):
  """Raises InputError for the first of some shards that is missing, cut, or holds other than its records.

  Reads their ends alone, 0.1 ms each; that a record is as it was is seen when it is read.
  """
  from array_record.python.array_record_module import ArrayRecordReader

  for path, records in found:
    try:
      reader = ArrayRecordReader(path)
      count = reader.num_records()
      reader.close()
    except RuntimeError as error:
      raise InputError(f'{path}: missing, cut or damaged ({error}); {AGAIN}') from None
    if count != records:
      raise InputError(f'{path}: holds {count:,} records, and should hold {records:,}; {AGAIN}')


def beside(path):
  """What `records.write_shard` left beside a shard. Raises InputError when it is missing or damaged."""
  try:
    with np.load(path) as found:
      return {name: found[name] for name in ('lengths', 'digests')}
  except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise InputError(f'{path}: missing or damaged ({error}); remove this file and run again') from None


def finished(folder):
  """Whether `folder` holds a whole dataset."""
  try:
    for found in shards(folder).values():
      check(found)
  except InputError:
    return False
  return True
