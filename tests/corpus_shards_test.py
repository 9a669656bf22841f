"""Rows come back as they were, by shard and by bucket; damage is an error that names the file."""

import pytest

from zhlm.corpus import shards
from zhlm.errors import InputError

ROWS = [{'id': f'来源/{i}', 'text': '字\n' * i, 'n': [i, None, 0.5]} for i in range(50)]


def test_rows_come_back_and_their_hash_is_that_of_their_content(tmp_path):
  first, second = (shards.write(str(tmp_path / name), iter(ROWS)) for name in 'ab')
  other = shards.write(str(tmp_path / 'c'), reversed(ROWS))
  assert list(shards.read(first['path'])) == ROWS
  assert first['sha256'] == second['sha256'] != other['sha256']
  assert (first['rows'], first['bytes']) == (50, other['bytes'])


def test_a_shelf_gives_each_bucket_its_rows(tmp_path):
  tables = {('documents', 'train', i): ROWS[i::3] for i in range(3)} | {('prompts', 'test', 0): ROWS[:2]}
  shelf = shards.write_shelf(str(tmp_path / 'a'), tables)
  again = shards.write_shelf(str(tmp_path / 'b'), dict(reversed(tables.items())))
  assert shelf['sha256'] == again['sha256']
  get = lambda *key: list(shards.read_frames(shards.frames([shelf, again], *key)))  # noqa: E731
  assert get('documents', 'train', {1}) == ROWS[1::3] * 2
  assert get('documents', 'train', {0, 2}) == (ROWS[0::3] + ROWS[2::3]) * 2
  assert get('prompts') == ROWS[:2] * 2
  assert get('prompts', 'train') == []


def test_damage_names_the_file(tmp_path):
  made = shards.write(str(tmp_path / 'a'), ROWS)
  data = bytearray((tmp_path / 'a').read_bytes())
  data[len(data) // 2] ^= 255
  (tmp_path / 'a').write_bytes(data)
  with pytest.raises(InputError, match=r'/a: damaged'):
    list(shards.read(made['path']))


def test_a_file_cut_at_any_byte_is_named(tmp_path):
  whole = shards.write(str(tmp_path / 'a'), ROWS[:9])
  shelf = shards.write_shelf(str(tmp_path / 'b'), {('documents', 'train', 0): ROWS[:9]})
  for path, read in (
    (tmp_path / 'a', lambda: shards.read(whole['path'])),
    (tmp_path / 'b', lambda: shards.read_frames(shards.frames([shelf], 'documents'))),
  ):
    data = path.read_bytes()
    for size in range(len(data)):
      path.write_bytes(data[:size])
      with pytest.raises(InputError, match=rf'/{path.name}: damaged .*remove this file and run again'):
        list(read())
    path.write_bytes(data)
    assert list(read()) == ROWS[:9]
  assert list(shards.read(shards.write(str(tmp_path / 'c'), [])['path'])) == []


def test_a_write_that_fails_leaves_nothing_under_the_name(tmp_path):
  def rows():
    yield ROWS[0]
    raise OSError('the disk is full')

  with pytest.raises(OSError, match='full'):
    shards.write(str(tmp_path / 'a'), rows())
  assert not (tmp_path / 'a').exists()
