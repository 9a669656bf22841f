"""A step is done once, and again as soon as anything it depends on is different."""

import json
import os

import pytest

from zhlm.corpus import cache, engine, meter
from zhlm.errors import InputError

CALLS = []


def double(call):
  """Writes twice a number."""
  folder, name, number = call
  CALLS.append(name)
  path = os.path.join(folder, f'{name}.txt')
  with open(path, 'w', encoding='utf-8') as file:
    file.write(str(2 * number))
  return {'path': path, 'value': 2 * number, 'dropped': {}}, [path]


def fail(call):
  """A step that dies after it wrote."""
  double(call)
  raise OSError('the disk is full')


def run(work, numbers, function=double):
  """(results, names of the tasks that were computed)."""
  CALLS.clear()
  tasks = {name: (number, number) for name, number in numbers.items()}
  told = meter.Meter(lambda _: None)
  results = cache.run(str(work), 'double', function, tasks, engine.here, told)
  return [result['value'] for result in results], list(CALLS)


def test_what_is_done_is_not_done_again(tmp_path):
  assert run(tmp_path, {'a': 1, 'b': 2}) == ([2, 4], ['a', 'b'])
  assert run(tmp_path, {'a': 1, 'b': 2}) == ([2, 4], [])
  assert run(tmp_path, {'b': 2, 'a': 1}) == ([4, 2], [])


def test_only_what_changed_is_done_again(tmp_path):
  run(tmp_path, {'a': 1, 'b': 2})
  assert run(tmp_path, {'a': 1, 'b': 3, 'c': 5}) == ([2, 6, 10], ['b', 'c'])


@pytest.mark.parametrize('harm', ['remove', 'shorten', 'marker', 'half a marker'])
def test_a_result_whose_files_are_not_whole_is_made_anew(tmp_path, harm):
  run(tmp_path, {'a': 10, 'b': 2})
  path = tmp_path / 'double' / ('a.json' if 'marker' in harm else 'a.txt')
  if harm in ('remove', 'marker'):
    path.unlink()
  else:
    path.write_text(path.read_text()[:1])
  assert run(tmp_path, {'a': 10, 'b': 2}) == ([20, 4], ['a'])


def test_a_step_that_died_has_no_marker(tmp_path):
  run(tmp_path, {'a': 1})
  with pytest.raises(OSError, match='full'):
    run(tmp_path, {'a': 2}, fail)
  assert not (tmp_path / 'double' / 'a.json').exists()
  assert run(tmp_path, {'a': 1}) == ([2], ['a'])


def test_files_of_tasks_that_are_no_more_are_removed(tmp_path):
  run(tmp_path, {'a': 1, 'b': 2})
  (tmp_path / 'double' / 'c.txt.part').write_text('half')
  run(tmp_path, {'b': 2})
  assert sorted(os.listdir(tmp_path / 'double')) == ['b.json', 'b.txt']


def test_a_changed_line_of_code_changes_the_hash_of_its_module(tmp_path, monkeypatch):
  (tmp_path / 'some_rules.py').write_text('limit = 1\n')
  monkeypatch.syspath_prepend(tmp_path)
  first = cache.code('some_rules')
  (tmp_path / 'some_rules.py').write_text('limit = 2\n')
  cache.code.cache_clear()
  assert cache.code('some_rules') != first


def test_a_folder_belongs_to_one_preparation_at_a_time(tmp_path):
  with (
    cache.lock(str(tmp_path)),
    pytest.raises(InputError, match='another launch.prepare'),
  ):
    cache.lock(str(tmp_path))
  cache.lock(str(tmp_path)).close()


def test_the_marker_tells_what_the_task_cost(tmp_path):
  run(tmp_path, {'a': 1})
  marker = json.loads((tmp_path / 'double' / 'a.json').read_text())
  assert marker['seconds'] >= 0 and marker['peak'] > 1e6
  assert marker['outputs'] == {str(tmp_path / 'double' / 'a.txt'): 1}
