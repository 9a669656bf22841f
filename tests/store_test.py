"""Whatever happens to a file of the newest checkpoint, what is read is what was saved."""

import json
import random
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zhlm import checkpoint, devices, sharding, store
from zhlm.errors import InputError


@pytest.fixture(autouse=True)
def mesh():
  with jax.set_mesh(devices.make_mesh(dict.fromkeys(sharding.MESH_AXES, 1))):
    yield


def tree(step):
  rng = np.random.default_rng(step)
  policy = {'w': jnp.asarray(rng.normal(size=(16, 8)), jnp.float32), 'b': jnp.full(3, step)}
  return {'policy': policy, 'opt': {'count': jnp.int32(step)}}


def write(folder, *steps, keep=9, **how):
  writer = store.Writer(folder, keep, **how)
  for step in steps:
    writer.save(step, tree(step), {'seed': 1}, loss=abs(step - 5))
  writer.close()


def read(folder):
  """(step, meta, items, damaged)."""
  return store.newest(folder, lambda meta: checkpoint._abstract(tree(0)))


def same(a, b):
  return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


def test_what_is_read_is_what_was_saved(tmp_path):
  write(tmp_path, 3, 8)
  step, meta, items, damaged = read(tmp_path)
  assert (step, meta['step'], meta['seed'], damaged) == (8, 8, 1, [])
  assert same(items, tree(8))


def changes(data, draw):
  """A file's bytes, damaged: one bit, one byte, half of it, all of it."""
  flipped, other = bytearray(data), bytearray(data)
  flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
  other[draw.randrange(len(data))] ^= draw.randrange(1, 256)
  yield from (bytes(flipped), bytes(other), data[: draw.randrange(len(data))], None)


def test_any_damage_to_any_file_is_noticed_or_does_not_matter(tmp_path):
  write(tmp_path / 'saved', 3, 8)
  files = [p.relative_to(tmp_path) for p in (tmp_path / 'saved' / '8').rglob('*') if p.is_file()]
  draw, noticed = random.Random(0), set()
  for path in map(tmp_path.joinpath, files):
    data = path.read_bytes()
    for changed in changes(data, draw):
      path.unlink() if changed is None else path.write_bytes(changed)
      step, _, items, damaged = read(tmp_path / 'saved')
      assert same(items, tree(step)) and damaged == ([] if step == 8 else [8])
      if damaged:
        noticed.add(path)
      path.write_bytes(data)
  assert len(noticed) > len(files) / 3
  assert same(read(tmp_path / 'saved')[2], tree(8))


def test_meta_that_reads_well_but_says_something_else_is_noticed(tmp_path):
  write(tmp_path, 3, 8)
  path = tmp_path / '8' / 'meta' / '_strings.json'
  strings = json.loads(path.read_text())
  meta = json.loads(strings['json'])
  strings['json'] = json.dumps({**meta, 'seed': 2})
  path.write_text(json.dumps(strings))
  assert read(tmp_path)[0] == 3


def test_where_nothing_can_be_read_nothing_is_taken_away(tmp_path):
  write(tmp_path, 3, 8)
  for step in (3, 8):
    shutil.rmtree(tmp_path / str(step) / 'policy')
  with pytest.raises(InputError, match=r'no checkpoint in .* can be read: 8 \(.*\); 3 \('):
    read(tmp_path)
  assert store.steps(tmp_path) == [3, 8]


def test_damaged_ones_are_set_aside_under_names_of_their_own(tmp_path):
  for _ in range(2):
    write(tmp_path, *({3, 8} - set(store.steps(tmp_path))))
    writer = store.Writer(tmp_path, 9)
    writer.set_aside([8])
    writer.close()
  assert sorted(p.name for p in tmp_path.iterdir()) == ['3', '8.damaged', '8.damaged-2']
  assert store.steps(tmp_path) == [3]
  write(tmp_path, 8, keep=1)  # and they count for nothing when old ones go
  assert sorted(p.name for p in tmp_path.iterdir()) == ['8', '8.damaged', '8.damaged-2']


def test_the_newest_the_best_and_every_nth_are_kept(tmp_path):
  write(tmp_path, *range(1, 12), keep=2, keep_best=2, keep_every=4)  # 5 has the least loss, then 4 and 6
  left = set(store.steps(tmp_path))
  assert {4, 5, 8, 10, 11} <= left and len(left) <= 6
  for path in (tmp_path / '4' / 'meta').iterdir():  # whose loss then is not known
    path.write_bytes(b'{') if path.is_file() else None
  write(tmp_path, 12, keep=1, keep_best=1)  # it goes by what was saved
  assert store.steps(tmp_path) == [5, 12]
  write(tmp_path, 13, keep=1)  # another run of the program decides anew
  assert store.steps(tmp_path) == [13]


def test_the_devices_go_on_while_it_is_written(tmp_path):
  """The memory of what is saved is given to the next update at once."""
  step = jax.jit(lambda x: x + 1, donate_argnums=0)
  x = jnp.zeros((1_000, 1_000))
  writer = store.Writer(tmp_path, 9)
  for i in range(4):
    writer.save(i, {'x': {'x': x}}, {})
    for _ in range(5):
      x = step(x)
  writer.close()
  for i in range(4):
    item = store._read(tmp_path / str(i), lambda meta: {'x': {'x': jax.ShapeDtypeStruct(x.shape, x.dtype)}})
    assert item[2] == '' and float(item[1]['x']['x'].max()) == float(item[1]['x']['x'].min()) == 5 * i


@pytest.mark.parametrize('when', ['the next save', 'close'])
def test_a_disk_that_takes_no_more_is_told_at(when, tmp_path):
  write(tmp_path, 3, keep=1)
  writer = store.Writer(tmp_path, keep=1)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
  try:
    with pytest.raises(InputError, match='cannot save checkpoint 8 .*checkpoint 3 is whole'):
      writer.save(8, tree(8), {})
      writer.save(9, tree(9), {}) if when == 'the next save' else writer.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  writer.close()
  assert read(tmp_path)[0] == 3 and same(read(tmp_path)[2], tree(3))
  write(tmp_path, 8, keep=1)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['8']
