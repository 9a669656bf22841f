"""Tensors and shards: what is read is where it belongs, whole or not at all, and nothing is read twice."""

import json
import math
import shutil
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_dtypes import bfloat16
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from configs import pretrain
from tests import hub
from zhlm import devices
from zhlm.convert import fields, names, read, runs, write
from zhlm.errors import InputError

GOLDENS = Path(__file__).parent / 'goldens'


@pytest.fixture
def folder(tmp_path):
  """A copy of a golden folder, to spoil."""
  return Path(shutil.copytree(GOLDENS / 'qwen2', tmp_path / 'qwen2'))


def spoil(folder, change):
  """Rewrites its tensors: change({name: array})."""
  tensors = load_file(folder / 'model.safetensors')
  change(tensors)
  save_file(tensors, folder / 'model.safetensors')


def opened(folder, mesh):
  """{path: array} of a folder on a mesh."""
  found, config = read.Folder(folder), pretrain.get_config('size=tiny')
  config.model.update(fields.read(found.config)[0])
  with jax.set_mesh(mesh):
    return write.leaves(runs.load(found, config))


def one():
  return devices.make_mesh({}, jax.devices()[:1])


@pytest.mark.parametrize('name', ['glm4', 'qwen3_moe'])
@pytest.mark.parametrize('piece', [64, read.PIECE])
def test_every_shard_holds_its_part_and_is_read_once(name, piece, monkeypatch):
  """Also head by head, and where devices hold copies."""
  whole, count = opened(GOLDENS / name, one()), []
  plain = read.Folder._read

  def counted(*args):
    block = plain(*args)
    count.append(block.size)
    assert block.nbytes <= max(piece, 8 * block[0].nbytes)  # one head
    return block

  monkeypatch.setattr(read.Folder, '_read', counted)
  monkeypatch.setattr(read, 'PIECE', piece)
  mesh = devices.make_mesh({'data': 2, 'fsdp': 2, 'tensor': 2})
  cut = opened(GOLDENS / name, mesh)
  assert whole.keys() == cut.keys()
  for path, x in cut.items():
    np.testing.assert_array_equal(x, whole[path], err_msg=path)
  assert cut['embed'].addressable_shards[0].data.shape == (16, 8)
  assert cut['layers/q/w'].addressable_shards[0].data.shape == (2, 8, 2, 8)  # N D H K
  assert sum(count) == sum(x.size for x in whole.values())


def test_any_part_of_an_array_is_that_part():
  """Heads, layers and experts cut anywhere; also inside an axis that they share."""
  draw = np.random.default_rng(0)
  for name in ('glm4', 'qwen3_moe'):
    found = read.Folder(GOLDENS / name)
    model, table = fields.read(found.config)[0], fields.family(found.config)[1].table
    sizes = names.sizes(model)
    for path, entry in names.present(model, table).items():
      shape = [sizes[letter] for letter in entry.ours]
      whole = found.shard(entry, sizes, [slice(None)] * len(shape))
      for _ in range(4):
        ends = [sorted(draw.choice(n + 1, 2, replace=False)) for n in shape]
        part = tuple(slice(int(a), int(b)) for a, b in ends)
        np.testing.assert_array_equal(found.shard(entry, sizes, part), whole[part], err_msg=path)


def test_the_host_holds_one_array_and_little_more(tmp_path, monkeypatch):
  """While an array is placed, at most 1.3 times the largest is there besides those that are placed."""
  config = pretrain.get_config('size=tiny')
  config.model.update(dict(V=4_096, D=256, F=1_024, N=6, H=8, G=8, K=32, qk_norm='before'))
  model = dict(config.model)
  sizes, pieces = names.sizes(model), write.pieces(model, names.DENSE, False, write.fold(model)[1], 'embed')
  tensors = {p.name: np.zeros(p.shape, bfloat16) for p in pieces}
  save_file(tensors, tmp_path / 'model.safetensors')
  (tmp_path / 'config.json').write_text(json.dumps(fields.write(model, False, 64, 'bfloat16', {})[1]))
  largest = 4 * max(math.prod(sizes[x] for x in e.ours) for e in names.present(model, names.DENSE).values())
  del tensors
  monkeypatch.setattr(read, 'PIECE', 2**18)
  held, plain = [], read.place

  def measured(*args):
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    x = plain(*args)
    held.append(tracemalloc.get_traced_memory()[1] - before)
    return x

  monkeypatch.setattr(read, 'place', measured)
  tracemalloc.start()
  try:
    arrays = opened(tmp_path, one())
  finally:
    tracemalloc.stop()
  assert max(x.nbytes for x in arrays.values()) == largest
  assert 0.9 * largest < max(held) < 1.3 * largest


@pytest.mark.parametrize(
  ('change', 'match'),
  [
    (lambda t: t.pop('model.layers.1.mlp.up_proj.weight'), 'missing: model.layers.1.mlp.up_proj.weight'),
    (lambda t: t.update(extra=np.zeros(3, np.float32)), 'no place for extra'),
    (lambda t: t.update({'model.norm.weight': np.zeros(3, np.float32)}), r'shape \[3\], not \[16\]'),
    (lambda t: t.update({'model.norm.weight': np.zeros(16, np.int8)}), 'is I8; convert quantised'),
    (lambda t: t.update({'lm_head.weight': np.zeros((32, 16), np.float32)}), 'differs from the embedding'),
  ],
)
def test_a_folder_that_does_not_fit_is_refused_by_the_tensors_name(change, match, folder):
  spoil(folder, change)
  with pytest.raises(InputError, match=match):
    opened(folder, one())


def test_what_old_files_hold_besides_is_passed_over(folder):
  """Buffers of the rotation, and the head of a tied model that is the embedding once more."""
  before = opened(folder, one())

  def more(tensors):
    tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = np.ones(4, np.float32)
    tensors['lm_head.weight'] = tensors['model.embed_tokens.weight'].copy()

  spoil(folder, more)
  after = opened(folder, one())
  for path, x in before.items():
    np.testing.assert_array_equal(x, after[path])


def test_a_folder_that_is_not_whole_is_refused(folder):
  data = (folder / 'model.safetensors').read_bytes()
  (folder / 'model.safetensors').write_bytes(data[:-7])
  with pytest.raises(InputError, match='is the download whole'):
    read.Folder(folder)
  (folder / 'model.safetensors').unlink()
  with pytest.raises(InputError, match='no model.safetensors; is the download whole'):
    read.Folder(folder)
  (folder / 'pytorch_model.bin').touch()
  with pytest.raises(InputError, match='pytorch_model.bin must be saved as safetensors'):
    read.Folder(folder)
  (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': {'a': 'b.safetensors'}}))
  with pytest.raises(InputError, match='no b.safetensors'):
    read.Folder(folder)
  (folder / 'config.json').write_text('[')
  with pytest.raises(InputError, match='config.json: not JSON'):
    read.Folder(folder)


@pytest.mark.parametrize('name', ['qwen3', 'qwen3_moe', 'llama'])
def test_a_folder_written_in_several_files_is_the_same_again(name, tmp_path):
  net, params = hub.network(GOLDENS / name)
  limit = 4_000
  hub.export(net, params, tmp_path, 'bfloat16', limit)
  index = json.loads((tmp_path / 'model.safetensors.index.json').read_text())
  files = sorted(p.name for p in tmp_path.glob('*.safetensors'))
  assert files == [f'model-{i + 1:05}-of-{len(files):05}.safetensors' for i in range(len(files))]
  assert len(files) > 2 and set(index['weight_map'].values()) == set(files)
  total = 0
  for file in files:
    with safe_open(tmp_path / file, 'np') as tensors:
      assert tensors.metadata() == {'format': 'pt'}
      parts = [tensors.get_tensor(key) for key in tensors.keys()]  # noqa: SIM118
    assert {x.dtype for x in parts} == {np.dtype(bfloat16)}
    assert sum(x.nbytes for x in parts) <= limit or len(parts) == 1
    total += sum(x.nbytes for x in parts)
  assert index['metadata']['total_size'] == total
  ours, theirs = write.leaves(hub.network(tmp_path)[1]), write.leaves(params)
  for path, x in theirs.items():  # the goldens are of bfloat16: nothing is lost
    np.testing.assert_array_equal(ours[path], x, err_msg=path)


def test_the_names_written_are_those_that_transformers_writes(tmp_path):
  for name in hub.EXPORTED:
    net, params = hub.network(GOLDENS / name)
    hub.export(net, params, tmp_path / name, 'bfloat16')
    written, golden = (load_file(f / name / 'model.safetensors') for f in (tmp_path, GOLDENS))
    assert {k: x.shape for k, x in written.items()} == {k: x.shape for k, x in golden.items()}


def test_a_weight_beyond_float16_is_refused(tmp_path):
  net, params = hub.network(GOLDENS / 'qwen3')
  params['norm']['w'] = params['norm']['w'] + 1e6
  with pytest.raises(InputError, match='model.norm.weight .* float16 cannot hold'):
    hub.export(net, params, tmp_path, 'float16')
