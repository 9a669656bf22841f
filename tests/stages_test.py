"""Every stage but pretraining (layouts_test.py) on a mesh that cuts every axis, some on others too."""

import math

import jax
import pytest

from configs import base
from tests import tiny
from zhlm import checkpoint, stages

DEVICES = 8


def fits(sizes):
  """Whether a mesh takes some or all of the eight devices."""
  return DEVICES % math.prod(map(abs, sizes)) == 0


NAMED = {
  name: [axes.get(a, 1) for a in ('data', 'fsdp', 'tensor')]
  for name, axes in base.MESHES.items()
  if fits(axes.values())
}
MESHES = {
  '8x1x1': (8, 1, 1),
  '1x8x1': (1, 8, 1),
  '2x2x2': (2, 2, 2),
}  # data fsdp tensor
AXES = ('data', 'fsdp', 'tensor')


def resolved(sizes):
  """The sizes with -1 replaced by what is left of eight devices."""
  known = math.prod(map(abs, sizes))
  return tuple(DEVICES // known if s == -1 else s for s in sizes)


def test_named_meshes_that_fit_are_among_those_tested():
  assert 'one' in NAMED and 'all' in NAMED and 'fsdp' in NAMED
  assert {resolved(s) for s in NAMED.values()} <= {*MESHES.values(), (1, 1, 1)}


# pretrain: in layouts_test, on all layouts. The network is the same in every stage, and what a stage adds
# is cut along the batch: one mesh that cuts every axis is enough, and one that cuts the weights most.
ON = {'pretrain': [], **dict.fromkeys(('sft', 'dpo', 'grpo', 'rloo'), ['2x2x2'])}
ON |= {'reward': ['1x8x1', '2x2x2'], 'ppo': ['8x1x1', '1x8x1', '2x2x2']}


@pytest.mark.parametrize('stage, mesh', [(s, m) for s in stages.names() for m in ON.get(s, MESHES)])
def test_mesh_does_not_change_the_losses(stage, mesh, runs, toy, tmp_path, monkeypatch):
  """The first five on eight devices are those on one, to 2e-5."""
  one = tiny.lines(runs(stage))[:5]
  monkeypatch.setattr(checkpoint.Run, 'save', lambda *_: None)  # checkpoint_test saves on meshes
  sizes = {f'mesh__{a}': n for a, n in zip(AXES, MESHES[mesh], strict=True)}
  state = tiny.train(stage, toy, tmp_path / 'run', runs, steps=5, **sizes)
  assert all(len(x.sharding.device_set) == DEVICES for x in jax.tree.leaves(state.params))
  eight = tiny.lines(tmp_path / 'run')
  assert [x['step'] for x in eight] == [1, 2, 3, 4, 5]
  assert [x['loss'] for x in eight] == pytest.approx([x['loss'] for x in one], abs=2e-5)
