"""DPO and IPO: the published losses, that only answers count, and where they draw a policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, devices, losses, stages
from zhlm.errors import InputError
from zhlm.stages import dpo


@pytest.fixture(scope='module')
def stage(toy, runs):
  """(stage, its first batch and networks, their mesh)."""
  config = tiny.config('dpo', toy, runs)
  mesh = devices.make_mesh(config.mesh)
  with jax.set_mesh(mesh):
    stage = stages.make(config)
    networks = {**checkpoint.open_frozen(stage, config), 'policy': checkpoint.load(runs('sft'), 'policy')}
    batch, _, _ = next(stage.batches(lambda: networks, 0, 'train'))
  return stage, batch, networks, mesh


def test_the_losses_are_the_published_ones():
  """Of two answers, from their log-probabilities by hand: β = 0.3, h = (x_w - r_w) - (x_l - r_l)."""
  h, beta = 0.7 + 0.2, 0.3
  gap = jnp.array(beta * h)
  assert float(dpo.pairwise('dpo', gap)) == pytest.approx(-np.log(1 / (1 + np.exp(-beta * h))), rel=1e-5)
  assert float(dpo.pairwise('ipo', gap)) == pytest.approx(beta**2 * (h - 1 / (2 * beta)) ** 2, rel=1e-5)
  with pytest.raises(InputError, match="'kto'; choose from dpo, ipo"):
    dpo.pairwise('kto', gap)


def test_the_reference_itself_prefers_nothing(stage):
  stage, batch, networks, mesh = stage
  with jax.set_mesh(mesh):
    value, numbers = jax.jit(stage.loss)(networks, losses.weights_sum_to_one(batch), None)
  assert float(value) == pytest.approx(np.log(2), abs=1e-5)
  assert float(numbers['margin']) == pytest.approx(0, abs=1e-5)


def test_padding_and_the_prompt_count_for_nothing(stage):
  stage, batch, networks, mesh = stage
  moved = {**networks, 'policy': jax.tree.map(lambda x: x * 1.02, networks['policy'])}
  tokens = np.asarray(batch['tokens']).copy()
  for row, length in zip(
    tokens.reshape(-1, tokens.shape[-1]), np.asarray(batch['lengths']).ravel(), strict=True
  ):
    row[length:] = 7
  same = {
    **batch,
    'logp_ref': batch['logp_ref'] + jnp.arange(len(tokens))[:, None],
  }  # as of its prompt alone
  with jax.set_mesh(mesh):
    loss = jax.jit(stage.loss)
    want = loss(moved, losses.weights_sum_to_one(batch), None)[0]
    assert float(want) != pytest.approx(np.log(2), abs=1e-4)
    for other in (same, {**batch, 'tokens': tokens}):
      got = loss(moved, losses.weights_sum_to_one(other), None)[0]
      assert float(got) == pytest.approx(float(want), abs=1e-5)


def test_a_policy_of_two_answers_goes_where_the_equations_say():
  """Preferences p = 0.8 of a over b, π_ref even. DPO: log π(a)/π(b) = log(p/(1-p))/β (the optimum of the
  cross-entropy); IPO: (2p - 1)/(2β) (the mean of ±1/(2β) under p)."""
  p, beta = 0.8, 0.5
  for name, want in (('dpo', np.log(p / (1 - p)) / beta), ('ipo', (2 * p - 1) / (2 * beta))):

    def loss(h, name=name):
      return p * dpo.pairwise(name, beta * h) + (1 - p) * dpo.pairwise(name, -beta * h)

    h = jnp.float32(0)
    for _ in range(400):
      h -= 2.0 * jax.grad(loss)(h)
    assert float(h) == pytest.approx(want, abs=1e-3)


def test_training_makes_the_better_answer_more_probable(toy, runs, tmp_path):
  tiny.train('dpo', toy, tmp_path / 'run', runs, steps=20)
  lines = tiny.lines(tmp_path / 'run')
  assert lines[0]['loss'] == pytest.approx(np.log(2), abs=1e-5) and lines[-1]['loss'] < 0.5
  assert lines[-1]['accuracy'] > 0.8
