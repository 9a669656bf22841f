"""Adapters through the stages: what trains, what another run opens, and whose reference the policy is."""

import jax
import numpy as np
import pytest

from tests import tiny
from tests.checkpoint_test import leaves, mesh
from zhlm import checkpoint, evals, model, rollout, stages, train
from zhlm.errors import InputError

HOW = dict(model__lora_rank=4, model__lora_on=('q', 'v', 'up'), optimizer__learning_rate=0.02)


@pytest.fixture(scope='module')
def adapted(made, toy, runs):
  """An SFT run of adapters on the pretrained policy."""
  return made('adapted', lambda folder: tiny.train('sft', toy, folder, runs, steps=4, **HOW))


def opened(folder, network='policy', into=None):
  with jax.set_mesh(mesh()):
    return checkpoint.load(folder, network, into)


def test_only_adapters_train_and_only_they_have_a_state(adapted, runs):
  state = train.train(checkpoint.read_config(adapted), adapted)  # it is finished: as it was saved
  before, after = leaves(opened(runs('pretrain'))), leaves(state.params['policy'])
  moved = {k for k, x in after.items() if k not in before or (x != before[k]).any()}
  assert moved == {k for k in after if 'lora_' in k} and len(moved) == 6
  sizes = {x.shape for x in jax.tree.leaves(state.opt) if x.ndim > 1}
  assert sizes == {after[k].shape for k in moved}


def test_another_run_opens_them_merged(adapted, runs):
  """The same function by a network without adapters."""
  config = checkpoint.read_config(adapted)
  own, run = train.train(config, adapted).params['policy'], evals.open_run(adapted)
  params, base = opened(adapted), leaves(opened(runs('pretrain')))
  moved = {k.split("']['")[1] for k, x in leaves(params).items() if (base[k] != x).any()}
  assert leaves(params).keys() == base.keys() and moved == {'q', 'v', 'up'}
  tokens = jax.random.randint(jax.random.key(0), (2, 16), 0, 352)
  logp, merged = (
    rollout.reads(model.make(c), x, tokens, tokens, 1.0)[0]
    for c, x in ((config, own), (run.config, params))
  )
  np.testing.assert_allclose(merged, logp, atol=2e-5)


def test_adapters_go_on_from_adapters_merged(adapted, toy):
  """A fresh pair of another rank beside the merged weights; a trunk of another width is refused."""
  c = tiny.config('sft', toy, init_from=str(adapted), model__lora_rank=2)
  params = opened(adapted, into=checkpoint.transformer_shapes(c, 'scalar'))
  assert leaves(params).keys() == leaves(opened(adapted)).keys()
  c.model.F = 32
  with pytest.raises(InputError, match="'policy' does not fit this config, at .*down"):
    opened(adapted, into=checkpoint.transformer_shapes(c, 'lm'))


def test_the_reference_of_adapters_is_the_policy_without_them(toy, runs, tmp_path):
  how = dict(steps=4, **{**HOW, 'model__lora_on': ('q', 'v', 'up', 'down')})
  config = tiny.config('ppo', toy, runs, **how)
  assert set(stages.make(config).frozen) == {'reward'}
  state = train.train(config, tmp_path / 'run')
  sft = opened(runs('sft'))
  with jax.set_mesh(mesh()):
    stage = stages.make(config)
    networks = {**checkpoint.open_frozen(stage, config), **state.params}
    _, _, carry = next(stage.batches(lambda: networks, 0, 'train'))
    rows = carry['rollout']
    plain = model.make(tiny.plain('ppo'))
    read = (rows['tokens'], rows['targets'], config.rollout.temperature)
    logp_ref, _ = rollout.reads(plain, sft, *read)
    logp, _ = rollout.reads(model.make(config), state.params['policy'], *read)
  kl = ((logp - logp_ref) * rows['weights']).sum(1).mean()
  assert float(carry['info']['kl']) == pytest.approx(float(kl), abs=1e-4) and abs(float(kl)) > 1e-3
  lines = tiny.lines(tmp_path / 'run')
  assert lines[0]['kl'] == pytest.approx(0, abs=1e-6) and lines[-1]['kl'] != 0
