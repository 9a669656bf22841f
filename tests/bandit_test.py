"""A bandit of one token, whose best policy is known in closed form: π ∝ π_ref·exp(r/β).

The best single test of PPO and its relatives: KL, temperature, where the score is placed and the sign of
everything must be right for it to hold. Prompts of one token are the contexts.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from zhlm import checkpoint, devices, judging, model, stages, train
from zhlm.data import batches as data

V, CONTEXTS, BETA = 8, 3, 1.0
REWARD = np.random.default_rng(3).normal(size=(CONTEXTS, V)).astype(np.float32)


class Contexts:
  """Prompts of one token, 1 … CONTEXTS."""

  fitting = source = None

  def __len__(self):
    return 3 * 4_096

  def __getitem__(self, i):
    row = np.int32(i % CONTEXTS)
    return {
      'tokens': np.array([row + 1], np.int32),
      'lengths': np.int32(1),
      'part': np.int32(0),
      'row': row,
    }


@pytest.fixture
def bandit(toy, runs, monkeypatch):
  """make(name, steps, **fields) -> (the policy's probabilities, the reference's), [CONTEXTS, V]."""

  def judged(rules, said, x, *_):
    return REWARD[np.asarray(x['tokens'][:, 0]) - 1, np.asarray(x['answers'][:, 0])]

  monkeypatch.setattr(judging, 'judged', judged)
  monkeypatch.setattr(data, 'Prompts', lambda config, split: Contexts())
  monkeypatch.setattr(data, 'said', lambda *_: '')
  monkeypatch.setattr(data, 'fitting', lambda *_: Contexts())
  monkeypatch.setattr(data, 'end_of_turn', lambda config: -1)  # every answer has its one token

  def make(name, steps, rate, **fields):
    how = dict(
      rollout__reward='text.length:1,2',
      rollout__prompt_tokens=1,
      rollout__new_tokens=1,
      rollout__samples=1,
      rollout__minibatches=1,
      rollout__epochs=1,
      rollout__no_end_penalty=0.0,
      batch__B=192,
      model__V=V,
      init_from='reference',
      optimizer__clip=0.0,
      ppo__kl_target=0.0,  # PPO as it stands, without what tests/tiny.py switches on
      ppo__kl_loss=0.0,
      ppo__pretrain_cost=0.0,
    )
    config = tiny.config(name, toy, **{**how, **fields})
    mesh = devices.make_mesh(config.mesh)
    with jax.set_mesh(mesh):
      stage = stages.make(config)
      params = checkpoint.unbox(stage.init(jax.random.key(7)))
      params['policy']['embed'] *= 8  # a reference of its own taste
      reference = jax.tree.map(jnp.copy, params['policy'])
      tx = optax.adam(optax.cosine_decay_schedule(rate, steps), b2=0.99)
      step = jax.jit(train.make_step(stage.loss, tx, 1, jax.random.key(0)))
      state = train.State(jnp.int32(0), params, tx.init(params))
      batches = stage.batches(lambda: {**state.params, 'reference': reference}, 0, 'train')
      for _ in range(steps):
        state, _ = step(state, next(batches)[0])
      read = jax.jit(
        lambda p: model.make(config).apply({'params': p}, jnp.arange(1, CONTEXTS + 1)[:, None])[0][:, 0]
      )
      t = config.rollout.temperature
      return [np.asarray(jax.nn.softmax(read(p) / t)) for p in (state.params['policy'], reference)]

  return make


def distance(p, q):
  """Total variation, the worst context's."""
  return float(0.5 * np.abs(p - q).sum(1).max())


def tilted(reference, beta=BETA):
  best = reference * np.exp(REWARD / beta)
  return best / best.sum(1, keepdims=True)


def test_ppo_finds_the_tilted_reference(bandit):
  """At a temperature below 1, which must stand in rollout, reference and update alike."""
  policy, reference = bandit(
    'ppo',
    200,
    1e-2,
    ppo__kl_cost=BETA,
    ppo__whiten_advantages=False,
    ppo__value_cost=1.0,
    ppo__value_clip=1e3,
    rollout__temperature=0.7,
  )
  assert distance(tilted(reference), reference) > 0.15  # it is a way to go
  assert distance(policy, tilted(reference)) < 0.02


def test_rloo_finds_the_tilted_reference(bandit):
  policy, reference = bandit('rloo', 150, 1e-2, rollout__samples=4, rloo__kl_cost=BETA)
  assert distance(policy, tilted(reference)) < 0.02


def test_grpo_finds_its_own_fixed_point(bandit):
  """With its KL as a loss of k2's gradient and no division by the spread: the same tilted reference."""
  how = dict(rollout__samples=4, grpo__kl_cost=BETA, grpo__spread=False)
  policy, reference = bandit('grpo', 200, 1e-2, batch__B=384, **how)
  # A group's own mean is the baseline: K answers pull (K - 1)/K as much as their rewards say.
  assert distance(policy, tilted(reference, BETA * 4 / 3)) < 0.02
