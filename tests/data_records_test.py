"""Datasets: what was written comes back, and half of one is none."""

import os

import numpy as np
import pytest

from zhlm.data import records
from zhlm.errors import InputError


def example(i):
  return {'tokens': list(range(i + 1)), 'mask': [i % 2] * (i + 1), 'source': f'来源{i}'}


def write(folder, splits, shard=9):
  """A dataset of {split: examples}, `shard` to a file."""
  beside = f'{folder}.shards'
  os.makedirs(beside, exist_ok=True)
  made = {
    split: [
      records.write_shard(os.path.join(beside, f'{split}-{i}'), 'sft', rows[i : i + shard])
      for i in range(0, len(rows), shard)
    ]
    for split, rows in splits.items()
  }
  return records.write_dataset(folder, 'sft', made)


def test_what_was_written_comes_back_over_shards(tmp_path):
  folder = str(tmp_path / 'sft')
  made = write(folder, {'train': [example(i) for i in range(7)], 'test': []}, 3)
  assert list(made) == ['train']
  assert len([n for n in os.listdir(folder) if n.endswith('-of-00003')]) == 3
  data = records.open_split(folder, 'train')
  assert len(data) == 7
  for i in range(7):
    got = data[i]
    assert got['tokens'].tolist() == example(i)['tokens']
    assert (got['tokens'].dtype, got['mask'].dtype) == (np.int32, np.uint8)
    assert got['source'] == f'来源{i}'
  assert records.lengths(folder, 'train').tolist() == list(range(1, 8))
  assert len(records.open_split(folder, 'train[:3]')) == 3
  assert [e['source'] for e in data.__getitems__([4, 2])] == ['来源4', '来源2']


def test_equal_records_have_equal_hashes_wherever_they_lie(tmp_path):
  made = [
    write(str(tmp_path / name), {'train': rows}, shard)['train']['sha256']
    for name, rows, shard in (
      ('a', [example(1), example(2)], 9),
      ('b', [example(1), example(2)], 1),
      ('c', [example(2), example(1)], 9),
    )
  ]
  assert made[0] == made[1] != made[2]


def test_half_a_dataset_is_none(tmp_path, monkeypatch):
  folder = str(tmp_path / 'sft')
  with monkeypatch.context() as patch:
    patch.setattr(records, '_link', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      write(folder, {'train': [example(1)]})
  with pytest.raises(InputError, match='no finished dataset'):
    records.open_split(folder, 'train')
  write(folder, {'train': [example(1)]})
  with pytest.raises(InputError, match='there are train'):
    records.open_split(folder, 'test')
  os.remove(os.path.join(folder, 'dataset_info.json'))
  with pytest.raises(InputError, match='no finished dataset'):
    records.open_split(folder, 'train')


def test_a_shard_whose_writing_fails_is_not_there(tmp_path):
  def examples():
    yield example(1)
    raise OSError('the disk is full')

  with pytest.raises(OSError, match='full'):
    records.write_shard(str(tmp_path / 'a'), 'sft', examples())
  assert not (tmp_path / 'a').exists()
