"""Datasets: what was written comes back, and half of one is none."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from zhlm.data import records, whole
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
  assert os.listdir(tmp_path) == []


def shard_of(folder, number):
  return os.path.join(folder, f'sft-train.array_record-{number:05}-of-00003')


def change(path, at, byte=None):
  with open(path, 'r+b') as file:
    file.seek(at)
    old = file.read(1)[0]
    file.seek(at)
    file.write(bytes([old ^ 4 if byte is None else byte]))


@pytest.fixture
def three(tmp_path):
  """A dataset of twelve records in three shards of 5, 5 and 2."""
  folder = str(tmp_path / 'sft')
  write(folder, {'train': [example(i) for i in range(12)]}, 5)
  assert whole.finished(folder)
  return folder


def unclosed(path):
  """What a process leaves that dies before it closes its writer."""
  code = (
    'import os, sys\n'
    'from array_record.python.array_record_module import ArrayRecordWriter\n'
    'writer = ArrayRecordWriter(sys.argv[1], "group_size:1")\n'
    'for i in range(5): writer.write(bytes([i]) * 999)\n'
    'os._exit(1)\n'
  )
  subprocess.run([sys.executable, '-c', code, path], check=False)


HARMS = {
  'missing': (os.remove, 'missing, cut or damaged .*No such file'),
  'empty': (lambda path: os.truncate(path, 0), 'missing, cut or damaged'),
  'a byte': (lambda path: os.truncate(path, 1), 'missing, cut or damaged'),
  'half': (lambda path: os.truncate(path, 1 << 16), 'missing, cut or damaged'),
  'all but a byte': (lambda path: os.truncate(path, os.path.getsize(path) - 1), 'missing, cut or damaged'),
  'unclosed': (unclosed, 'missing, cut or damaged'),
  'foreign': (lambda path: shutil.copy(sys.executable, path), 'missing, cut or damaged'),
  'fewer': (
    lambda path: shutil.copy(path.replace('00001-of', '00002-of'), path),
    'holds 2 .* should hold 5',
  ),
}


@pytest.mark.parametrize('name', HARMS)
def test_a_shard_that_is_not_whole_is_named_when_the_split_is_opened(three, name):
  harm, says = HARMS[name]
  path = shard_of(three, 1)
  os.link(path, f'{path}.other') if name == 'missing' else None
  harm(path)
  assert not whole.finished(three)
  with pytest.raises(InputError, match=f'^{path}: {says}.*launch.prepare again$'):
    records.open_split(three, 'train')


def test_more_records_than_the_metadata_say_are_told(three):
  os.replace(shard_of(three, 1), shard_of(three, 2))
  shutil.copy(shard_of(three, 0), shard_of(three, 1))
  with pytest.raises(InputError, match='00002-of-00003: holds 5 records, and should hold 2'):
    records.open_split(three, 'train')


def bad_ones(data, first=0):
  """The numbers of the records that cannot be read, one by one and together; the others are as written."""
  bad = []
  for i in range(len(data)):
    for read in (data.__getitem__, lambda i: data.__getitems__([i, i])[1]):
      try:
        assert read(i)['source'] == f'来源{first + i}'
      except InputError as error:
        number = re.search(r'00001-of-00003: record (\d) is damaged.*hash mismatch', str(error))[1]
        assert first + i == 5 + int(number) and '\n' not in str(error)
        bad.append(first + i)
  return bad


def test_a_changed_bit_is_an_error_with_file_and_record_and_the_others_are_read(three):
  seen = set()
  for at in range(100, 600, 50):  # within the records of the file
    change(shard_of(three, 1), at)
    bad = bad_ones(records.open_split(three, 'train'))
    assert len(bad) == 2 == bad.count(bad[0])
    inside = bad_ones(records.open_split(three, 'train[6:9]'), 6)
    assert inside == (bad if 6 <= bad[0] < 9 else [])
    with pytest.raises(InputError, match='record . is damaged'):
      list(records.open_split(three, 'train'))
    change(shard_of(three, 1), at)
    seen |= set(bad)
  assert len(seen) >= 4 and bad_ones(records.open_split(three, 'train')) == []


def test_lengths_that_are_not_there_or_of_another_dataset_are_named(three, tmp_path):
  path = os.path.join(three, 'lengths-train.npy')
  assert records.lengths(three, 'train').tolist() == list(range(1, 13))
  for data, says in ((np.ones(11, np.int32), 'tells of 11 records'), (None, 'missing or damaged')):
    os.remove(path) if data is None else np.save(path, data)
    with pytest.raises(InputError, match=f'^{path}: {says}'):
      records.lengths(three, 'train')
  for harm in (b'', b'\x93NUMPY'):
    with open(path, 'wb') as file:
      file.write(harm)
    with pytest.raises(InputError, match=f'^{path}: missing or damaged'):
      records.lengths(three, 'train')
  with pytest.raises(InputError, match='there are train'):
    records.lengths(three, 'test')


@pytest.mark.parametrize('name', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('text', ['', '{"splits": [{"name"', '[]', '{}'])
def test_half_of_the_metadata_are_none(three, name, text):
  with open(os.path.join(three, name), 'w', encoding='utf-8') as file:
    file.write(text)
  if not (name == 'features.json' and text in ('[]', '{}')):
    with pytest.raises(InputError, match='no finished dataset here'):
      records.open_split(three, 'train')


def test_no_records_are_no_dataset_and_an_empty_split_is_left_out(tmp_path):
  folder = str(tmp_path / 'sft')
  for splits in ({}, {'train': []}):
    with pytest.raises(InputError, match='sft: a dataset needs records'):
      write(folder, splits)
  empty = records.write_shard(str(tmp_path / 'empty'), 'sft', [])
  with pytest.raises(InputError, match='there are none in train, test'):
    records.write_dataset(folder, 'sft', {'train': [empty], 'test': []})
  assert not os.path.exists(folder) and not os.path.exists(f'{folder}.tmp')
  full = records.write_shard(str(tmp_path / 'full'), 'sft', [example(1)])
  assert list(records.write_dataset(folder, 'sft', {'train': [empty, full], 'test': [empty]})) == ['train']
  assert len(records.open_split(folder, 'train')) == 1


def test_what_a_shard_leaves_beside_it_is_checked(tmp_path):
  shard = records.write_shard(str(tmp_path / 'a'), 'sft', [example(1)])
  os.truncate(f'{shard["path"]}.npz', 200)
  with pytest.raises(InputError, match=r'/a\.npz: missing or damaged .*remove this file and run again'):
    records.write_dataset(str(tmp_path / 'sft'), 'sft', {'train': [shard]})
  with pytest.raises(InputError, match='no finished dataset'):
    records.open_split(str(tmp_path / 'sft'), 'train')


def test_half_a_surrogate_pair_does_no_harm(tmp_path):
  folder = str(tmp_path / 'sft')
  made = write(folder, {'train': [{**example(1), 'source': '坏\ud83d'}]})
  assert records.open_split(folder, 'train')[0]['source'] == '坏?'
  assert made == write(folder, {'train': [{**example(1), 'source': '坏?'}]})


def test_a_split_beyond_what_tfds_shuffles_in_memory_is_written(tmp_path, monkeypatch):
  """TFDS' own builder needs TensorFlow there, which is why this one does without."""
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1)
  folder = str(tmp_path / 'sft')
  write(folder, {'train': [example(i) for i in range(12)]}, 5)
  assert [e['source'] for e in records.open_split(folder, 'train')] == [f'来源{i}' for i in range(12)]


def test_nothing_is_written_as_parquet(three):
  """Of which TFDS 4.9.10 loses rows."""
  assert tfds.builder_from_directory(three).info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def test_a_full_disk_leaves_no_shard(tmp_path):
  code = (
    'import resource, sys\n'
    'from zhlm.data import records\n'
    'resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n'
    'rows = ({"tokens": [i * j % 9**7 for j in range(3_000)], "text": ""} for i in range(99))\n'
    'records.write_shard(sys.argv[1], "ppo", rows)\n'
  )
  path = str(tmp_path / 'a')
  done = subprocess.run([sys.executable, '-c', code, path], capture_output=True, text=True, check=False)
  assert re.search(f'InputError: {path}: cannot be written .*File too large.*run again', done.stderr)
  assert os.listdir(tmp_path) == []


def test_records_of_an_older_shape_are_told(three, monkeypatch):
  monkeypatch.setitem(records.FEATURES, 'sft', {**records.FEATURES['sft'], 'mood': 'text'})
  with pytest.raises(InputError, match='lack mood.*finished=False'):
    records.open_split(three, 'train')
