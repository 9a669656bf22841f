"""One update, many layouts: the losses are those of one device; each device holds its share of the state.

The update of `launch.train` on synthetic rows, dense and with experts, over all axes of the mesh; data,
saving and two hosts are in stages_test.py, checkpoint_test.py and hosts_test.py.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, devices, layout, sharding, stages, train

STEPS = 5
DENSE = {
  'data8': {'data': 8},
  'fsdp8': {'fsdp': 8},
  'tensor8': {'tensor': 8},
  'data2-fsdp2-tensor2': {'data': 2, 'fsdp': 2, 'tensor': 2},
  'fsdp2-sequence2-tensor2': {'fsdp': 2, 'sequence': 2, 'tensor': 2},
}
EXPERTS = {'expert4-fsdp2': {'expert': 4, 'fsdp': 2}}
CUTS = ('fsdp', 'expert', 'tensor')  # the axes that weights are cut by
LAYOUTS = [('dense', m) for m in DENSE.values()] + [('experts', m) for m in EXPERTS.values()]


def config(kind, name='adamw'):
  c = tiny.plain('pretrain')
  if kind == 'experts':
    c.model.update({'E': 4, 'top': 2, 'F': 32, 'capacity': 1.25})
  c.batch.update({'B': 16, 'T': 32})
  c.optimizer.update({'name': name, 'learning_rate': 3e-3, 'warmup_steps': 0, 'decay': 'constant'})
  return c


def rows(c):
  """This process's part of a batch: random tokens, two packed documents a row. It is learnt."""
  rng = np.random.default_rng(0)
  B, T = c.batch.B, c.batch.T
  tokens = rng.integers(1, c.model.V, (B, T + 1), dtype=np.int32)
  cut = rng.integers(1, T, (B, 1), dtype=np.int32)
  t = np.arange(T, dtype=np.int32)
  batch = {'tokens': tokens[:, :-1], 'targets': tokens[:, 1:], 'segments': 1 + (t >= cut)}
  batch |= {'positions': np.where(t < cut, t, t - cut), 'weights': rng.integers(0, 3, (B, T))}
  n = B // jax.process_count()
  mine = slice(n * jax.process_index(), n * (jax.process_index() + 1))
  return {k: x[mine].astype(np.float32 if k == 'weights' else np.int32) for k, x in batch.items()}


def compiled(c, mesh):
  """(the compiled update, the abstract state it takes) under the current mesh."""
  stage = stages.make(c)
  step, fresh = train.update(c, stage)
  params = checkpoint._abstract(jax.eval_shape(stage.init, jax.random.key(0)))
  whole = jax.ShapeDtypeStruct((), jnp.int32, sharding=jax.NamedSharding(mesh, jax.P()))
  state = train.State(whole, params, **layout.made_from(fresh, params))
  cut = jax.NamedSharding(mesh, sharding.spec('B'))
  batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=cut), stage.shapes())
  return step.lower(state, batch).compile(), state


def first(c):
  """The first state, on the host."""
  stage = stages.make(c)
  params = jax.jit(lambda: checkpoint.unbox(stage.init(jax.random.key(0))))()
  return jax.device_get(train.State(np.int32(0), params, **train.update(c, stage)[1](params)))


def losses(c, sizes):
  """The losses of the first updates on a mesh; also (compiled program, the state before it, after it)."""
  mesh = devices.make_mesh(sizes)
  with jax.set_mesh(mesh):
    step, shapes = compiled(c, mesh)
    state = jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), first(c), shapes)
    batch, out = devices.put_batch(mesh, rows(c)), []
    for _ in range(STEPS):
      before = state
      state, info = step(state, batch)
      out.append(float(info['loss']))
  return out, (step, before, state)


@pytest.fixture(scope='module')
def one(made):
  """`one(kind, optimizer)`: the losses on one device."""

  def load(*how):
    path = made(
      f'layouts-{"-".join(how)}.json', lambda path: path.write_text(json.dumps(losses(config(*how), {})[0]))
    )
    return json.loads(path.read_text())

  return load


@pytest.mark.parametrize('kind, sizes', LAYOUTS, ids=[*DENSE, *EXPERTS])
def test_a_layout_changes_no_loss_and_cuts_the_state(kind, sizes, one):
  out, (step, before, state) = losses(config(kind), sizes)
  assert out == pytest.approx(one(kind), abs=2e-5)
  assert out[-1] < out[0] - 0.3  # so the gradients are in it

  size = dict.fromkeys(sharding.MESH_AXES, 1) | sizes
  parts = math.prod(size[a] for a in CUTS)
  total = sum(x.nbytes for x in jax.tree.leaves(state))
  batch = sum(x.nbytes for x in rows(config(kind)).values())
  memory = step.memory_analysis()
  assert memory.argument_size_in_bytes < 1.2 * total / parts + batch
  gate = {'dense': (2, 32, 64), 'experts': (2, 4, 32, 32)}[kind]  # N (E) D F
  if kind == 'dense':
    share = (2, 32 // size['fsdp'], 64 // size['tensor'])
  else:
    share = (2, 4 // size['expert'], 32 // size['fsdp'], 32 // size['tensor'])
  gates = [
    x for k, x in jax.tree_util.tree_leaves_with_path(state) if "['gate']" in jax.tree_util.keystr(k)
  ]
  assert len(gates) == 3  # the weight and its two moments
  for x in gates:
    assert x.shape == gate and {s.data.shape for s in x.addressable_shards} == {share}

  # Donation: the state before lies where the state after it is.
  assert memory.alias_size_in_bytes > 0.95 * memory.output_size_in_bytes
  assert all(x.is_deleted() for x in jax.tree.leaves(before))


ALL_AXES = """
import json
from tests import layouts_test as t
mesh = dict.fromkeys(('data', 'fsdp', 'sequence', 'expert', 'tensor'), 2)
print(json.dumps(t.losses(t.config('experts', 'muon'), mesh)[0]))
"""


def test_all_five_axes_at_once_and_nothing_is_copied_whole(one):
  """On 32 devices, with Muon, which needs its matrices whole. XLA says on stderr where it can only go from
  one layout to another by way of a whole copy on every device."""
  flags = re.sub(r'(device_count)=\d+', r'\1=32', os.environ['XLA_FLAGS'])
  env = os.environ | {'XLA_FLAGS': flags, 'JAX_DEFAULT_MATMUL_PRECISION': 'highest'}
  # Without the cache of compiled programs: what is not compiled does not warn.
  how = dict(cwd=Path(__file__).parent.parent, env=env, capture_output=True, text=True, timeout=300)
  run = subprocess.run([sys.executable, '-c', ALL_AXES], **how)
  assert run.returncode == 0, run.stderr
  assert json.loads(run.stdout.splitlines()[-1]) == pytest.approx(one('experts', 'muon'), abs=2e-5)
  assert 'Involuntary full rematerialization' not in run.stderr
