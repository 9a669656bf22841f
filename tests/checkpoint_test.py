"""What is saved opens again: on other meshes, in other stages, and never by half."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from zhlm import checkpoint, devices, sharding, stages, store
from zhlm.errors import InputError


def mesh(data=1, fsdp=1, tensor=1):
  return devices.make_mesh({'data': data, 'fsdp': fsdp, 'tensor': tensor})


def leaves(tree):
  return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def equal(a, b):
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope='module')
def saved(toy, tmp_path_factory):
  """(folder, config, params, optimizer state) of a checkpoint at step 4, saved from 2 x 2 x 2 devices."""
  folder, config = tmp_path_factory.mktemp('saved') / 'run', tiny.config('pretrain', toy)
  stage, tx = stages.make(config), optax.adam(0.1)
  with jax.set_mesh(mesh(2, 2, 2)), checkpoint.Run(folder, config) as run:
    step, params, rest, _ = run.restore(lambda: stage.init(jax.random.key(0)), rest_of(tx), stage)
    assert step == 0
    rest = jax.tree.map(lambda x: x + 1, rest)
    run.save(4, params, rest, {})
  return folder, config, params, rest


def rest_of(tx):
  return lambda params: {'opt': tx.init(params), 'none': {}}


def reopen(folder, config, on, frozen=None):
  stage, tx = stages.make(config), optax.adam(0.1)
  with jax.set_mesh(on), checkpoint.Run(folder, config, frozen) as run:
    return run.restore(lambda: stage.init(jax.random.key(9)), rest_of(tx), stage)[:3]


@pytest.mark.parametrize('sizes', [(1, 1, 1), (1, 8, 1), (8, 1, 1), (1, 2, 4)])
def test_a_run_goes_on_where_it_stood_on_another_mesh(sizes, saved):
  folder, config, params, opt = saved
  on = mesh(*sizes)
  step, params_here, opt_here = reopen(folder, config, on)
  assert step == 4
  equal(params_here, params)
  equal(opt_here, opt)
  w = params_here['policy']['layers']['up']['w']  # N D F
  assert w.sharding.is_equivalent_to(sharding.sharding(on, 'NDF', w.shape), 3)
  assert w.addressable_shards[0].data.shape == (2, 32 // sizes[1], 64 // sizes[2])


def test_nothing_is_built_on_one_device_first(saved):
  params = saved[2]['policy']
  assert params['layers']['q']['w'].addressable_shards[0].data.shape == (2, 16, 4, 4)
  assert params['embed'].addressable_shards[0].data.shape == (176, 16)


def test_a_network_opens_from_the_folder_alone(saved):
  folder, _, params, _ = saved
  assert checkpoint.networks(folder) == ['policy'] and checkpoint.newest_step(folder) == 4
  with jax.set_mesh(mesh(1, 2, 1)):
    equal(checkpoint.load(folder, 'policy'), params['policy'])


def test_a_trunk_opens_for_a_new_head(saved):
  folder, config, params, _ = saved
  with jax.set_mesh(mesh()):
    trunk = checkpoint.load(folder, 'policy', checkpoint.transformer_shapes(config, 'scalar'))
  equal(trunk, params['policy'])  # and no `score`: the head is the new network's own


def test_what_does_not_fit_is_told(saved, tmp_path):
  folder, config, _, _ = saved
  other = config.copy_and_resolve_references()
  other.model.F = 32
  with jax.set_mesh(mesh()):
    with pytest.raises(InputError, match="'policy' does not fit this config: layers/down/w is .*64,32"):
      checkpoint.load(folder, 'policy', checkpoint.transformer_shapes(other, 'lm'))
    with pytest.raises(InputError, match=r"has networks \['policy'\], not 'reward'"):
      checkpoint.load(folder, 'reward')
    with pytest.raises(InputError, match='holds no run'):
      checkpoint.load(tmp_path, 'policy')
  fresh = tmp_path / 'fresh'
  checkpoint.Run(fresh, config)
  with jax.set_mesh(mesh()), pytest.raises(InputError, match='no finished checkpoint yet'):
    checkpoint.load(fresh, 'policy')


def test_half_a_checkpoint_is_none(saved, tmp_path):
  """What a killed save leaves is not taken, and is cleared away."""
  folder = tmp_path / 'run'
  shutil.copytree(saved[0], folder)
  half = folder / 'checkpoints' / '8.orbax-checkpoint-tmp'
  shutil.copytree(folder / 'checkpoints' / '4', half)
  shutil.rmtree(half / 'policy')
  assert checkpoint.newest_step(folder) == 4
  step, params, _ = reopen(folder, saved[1], mesh())
  assert step == 4 and not half.exists()
  equal(params, saved[2])


def test_the_newest_are_kept(toy, tmp_path):
  config = tiny.config('pretrain', toy, keep=2)
  with jax.set_mesh(mesh()), checkpoint.Run(tmp_path, config) as run:
    for step in (1, 2, 3, 4):
      run.save(step, {'policy': {'w': jnp.full(3, step)}}, {'opt': {'m': jnp.zeros(3)}}, {})
      assert run.saved == step
  assert sorted(p.name for p in (tmp_path / 'checkpoints').iterdir()) == ['3', '4']


def damage(folder, step, item):
  """Flips one bit in the file that holds most of an item's arrays; of meta, in what it says."""
  root = folder / 'checkpoints' / str(step) / item
  files = root.glob('_strings.json' if item == 'meta' else '**/d/*')
  path = max(files, key=lambda p: p.stat().st_size)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(data)


def two(saved, tmp_path):
  """A copy of the run with another checkpoint, at step 8, of other numbers."""
  folder, config, params, rest = saved
  shutil.copytree(folder, tmp_path / 'run')
  with jax.set_mesh(mesh(2, 2, 2)), checkpoint.Run(tmp_path / 'run', config) as run:
    run.save(8, jax.tree.map(lambda x: x * 2, params), jax.tree.map(lambda x: x * 2, rest), {})
  return tmp_path / 'run'


@pytest.mark.parametrize('item', ['policy', 'opt', 'meta'])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(item, saved, tmp_path, capsys):
  folder = two(saved, tmp_path)
  assert reopen(folder, saved[1], mesh())[0] == 8
  damage(folder, 8, item)
  step, params, rest = reopen(folder, saved[1], mesh())
  assert step == 4
  equal(params, saved[2])
  equal(rest, saved[3])
  assert sorted(p.name for p in (folder / 'checkpoints').iterdir()) == ['4', '8.damaged']
  assert '/8 is damaged (' in capsys.readouterr().err
  assert reopen(folder, saved[1], mesh())[0] == 4 and capsys.readouterr().err == ''


def test_another_run_opens_the_newest_that_is_whole_and_renames_nothing(saved, tmp_path, capsys):
  folder = two(saved, tmp_path)
  with jax.set_mesh(mesh()):
    twice = jax.tree.map(lambda x: 2 * np.asarray(x), saved[2]['policy'])
    equal(checkpoint.load(folder, 'policy'), twice)
    damage(folder, 8, 'opt')  # which nobody reads here
    assert checkpoint.newest_step(folder) == 8
    damage(folder, 8, 'policy')
    equal(checkpoint.load(folder, 'policy'), saved[2]['policy'])
  assert 'taking step 4 instead' in capsys.readouterr().err
  assert checkpoint.newest_step(folder) == 4 and store.steps(folder / 'checkpoints') == [4, 8]


def test_what_stands_beside_a_run_must_be_what_it_was(saved, tmp_path):
  """A reference policy whose run went on would make another run of this one."""
  config, reference = saved[1], {'reference': {'w': np.arange(4.0, dtype=np.float32)}}
  with jax.set_mesh(mesh(2, 2, 2)), checkpoint.Run(tmp_path, config, reference) as run:
    run.save(1, saved[2], saved[3], {})
  assert reopen(tmp_path, config, mesh(), reference)[0] == 1
  with pytest.raises(InputError, match="'reference' is not what .* was trained with until now"):
    reopen(tmp_path, config, mesh(), {'reference': {'w': reference['reference']['w'] + np.float32(1e-6)}})


def test_where_an_average_is_kept_it_is_opened(saved, tmp_path):
  folder, config, params, rest = saved
  slow = jax.tree.map(lambda x: x / 2, params)
  with jax.set_mesh(mesh(2, 2, 2)), checkpoint.Run(tmp_path, config) as run:
    run.save(1, params, {**rest, 'ema': slow}, {})
    run.wait()
    equal(checkpoint.load(tmp_path, 'policy'), slow['policy'])


def test_a_folder_belongs_to_one_config(saved, tmp_path):
  folder, config, _, _ = saved
  free = config.copy_and_resolve_references()
  free.log_every, free.keep, free.mesh.fsdp = 7, 9, 8  # these may change when a run goes on
  free.guard.patience, free.debug = 9, True
  checkpoint.Run(folder, free)
  about = (folder / 'config.json').read_text()
  other = config.copy_and_resolve_references()
  other.seed, other.optimizer.b1 = 3, 0.5
  with pytest.raises(InputError, match=r'optimizer.b1=0.9 \(now 0.5\), seed=0 \(now 3\)'):
    checkpoint.Run(folder, other)
  assert (folder / 'config.json').read_text() == about
  # A folder where nothing was saved yet may be claimed again.
  checkpoint.Run(tmp_path / 'new', config)
  checkpoint.Run(tmp_path / 'new', other)
  assert checkpoint.read_config(tmp_path / 'new').seed == 3


def test_config_json_says_what_made_the_run(saved, toy):
  about = json.loads((saved[0] / 'config.json').read_text())
  assert about['config'] == json.loads(saved[1].to_json())
  assert about['versions']['jax'] == jax.__version__ and set(about) >= {'tokenizer_sha256', 'git'}
  manifest = json.loads((toy / 'data' / 'manifest.json').read_text())
  assert about['tokenizer_sha256'] == manifest['tokenizer_sha256']


def test_a_run_of_another_version_says_which_field_is_missing(tmp_path):
  model = tiny.config('pretrain', 'nowhere').model.to_dict()
  del model['unroll'], model['window']
  (tmp_path / 'config.json').write_text(json.dumps({'config': {'model': model}}))
  with pytest.raises(InputError, match='"model" lacks window, unroll; add the default'):
    checkpoint.read_config(tmp_path)
