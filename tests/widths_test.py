"""Rows of like length together, at a narrow width: less work, and nothing else that can be told."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from tests.model_test import apply, small
from zhlm import checkpoint, devices, rollout, stages, train

P, NEW, STOP = 7, 32, 5
COUNTS = jnp.array([3, 32, 8, 9, 1, 16, 17, 2])


@pytest.fixture(scope='module')
def x():
  """Eight rows; prompts of 2 to 7 tokens, answers as long as COUNTS says."""
  B, T = len(COUNTS), P + NEW
  lengths = jnp.array([7, 7, 2, 7, 5, 7, 7, 3])
  tokens = jax.random.randint(jax.random.key(0), (B, T), 6, 23)
  tokens = jnp.where(jnp.arange(T) < (lengths + COUNTS)[:, None], tokens, 0)
  targets = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
  mask = rollout.answer_mask(T, lengths, COUNTS)
  return {'tokens': tokens, 'targets': targets, 'mask': mask, 'lengths': lengths + COUNTS}


def test_rows_are_cut_to_the_least_width_that_holds_their_answers(x):
  for longest, which, size in ((1, 0, 8), (8, 0, 8), (9, 1, 16), (16, 1, 16), (17, 2, 32), (32, 2, 32)):
    rows = jax.tree.map(lambda y, most=longest: y[most >= COUNTS], x)
    rows['mask'] = rows['mask'] * (jnp.arange(P + NEW) < P + size)
    found, versions = rollout.narrow(rows, P, 3)
    assert int(found) == which and [v['tokens'].shape[1] for v in versions] == [P + 8, P + 16, P + 32]
    kept = versions[which]
    assert kept['mask'].sum() == rows['mask'].sum() and (kept['mask'][:, -1] == 0).all()
    assert kept['lengths'].max() <= kept['tokens'].shape[1]  # the score is read at the last token


def test_few_tokens_or_one_width_are_never_cut(x):
  assert [v['tokens'].shape[1] for v in rollout.narrow(x, P, 1)[1]] == [P + NEW]
  short = {k: y[:, : P + 8] if y.ndim == 2 else y for k, y in x.items()}
  assert [v['tokens'].shape[1] for v in rollout.narrow(short, P, 3)[1]] == [P + 8]


def test_weights_that_are_cut_off_are_counted_still(x):
  weights = jax.random.uniform(jax.random.key(1), x['tokens'].shape)
  _, versions = rollout.narrow({**x, 'weights': weights}, P, 3)
  for version in versions:
    np.testing.assert_allclose(version['weights'].sum(1), weights.sum(1), rtol=1e-6)
    end = version['tokens'].shape[1] - 1  # the last column predicts nothing
    np.testing.assert_array_equal(version['weights'][:, :end], weights[:, :end])


@pytest.mark.parametrize('parts', [1, 2, 4])
def test_parts_are_rows_of_like_length(x, parts):
  rows = rollout.order(x['mask'], parts)
  assert sorted(map(int, rows)) == list(range(8))
  counts = np.asarray(COUNTS[rows]).reshape(-1, parts).T  # as a train step takes its microbatches
  assert all(max(a) <= min(b) for a, b in zip(counts, counts[1:], strict=False))


@pytest.mark.parametrize('parts, widths', [(1, 3), (2, 3), (4, 3), (4, 2)])
def test_what_is_read_part_by_part_is_what_is_read_at_once(x, parts, widths):
  (lm, policy), (scalar, reward) = small(), small('scalar')

  def read(x):
    logp, _ = rollout.reads(lm, policy, x['tokens'], x['targets'], 0.9, rollout.window(x['mask'], P))
    score = rollout.score(scalar, reward, x['tokens'], x['lengths'])
    return {'logp': logp, 'score': score, 'width': jnp.full(len(logp), x['tokens'].shape[1])}

  found = jax.jit(lambda x: rollout.by_length(read, x, P=P, widths=widths, parts=parts))(x)
  logp, _ = apply(lm, policy, x['tokens'], targets_BT=x['targets'], temperature=0.9)
  np.testing.assert_allclose(found['logp'] * x['mask'], logp * x['mask'], atol=2e-6)
  alone = rollout.score(scalar, reward, x['tokens'], x['lengths'])
  np.testing.assert_allclose(found['score'], alone, atol=2e-6)
  used = {(1, 3): {39}, (2, 3): {15, 39}, (4, 3): {15, 23, 39}, (4, 2): {23, 39}}[parts, widths]
  assert set(map(int, found['width'])) == used


# -- The update ------------------------------------------------------------------------------------------


def opened(config):
  """(stage, what trains, all networks at the start)."""
  stage = stages.make(config)
  params = {k: checkpoint.load(*start) for k, start in stage.start.items()}
  return stage, params, {**checkpoint.open_frozen(stage, config), **params}


@pytest.fixture(scope='module')
def updated(toy, runs):
  """update(stage, microbatches, narrowed) -> (parameters after one step of a rollout, numbers, rows)."""

  def update(name, microbatches, narrowed, **fields):
    how = dict(
      rollout__new_tokens=32, rollout__minibatches=1, batch__B=16, batch__microbatches=microbatches
    )
    config = tiny.config(name, toy, runs, **how, **fields)
    with jax.set_mesh(devices.make_mesh(config.mesh)):
      stage, params, networks = opened(config)
      batch = next(stage.batches(lambda: networks, 0, 'train'))[0]
      more = {'narrow': stage.narrow} if narrowed else {}
      tx = optax.sgd(0.1)  # unlike Adam's, in proportion to the gradient
      step = jax.jit(train.make_step(stage.loss, tx, microbatches, jax.random.key(0), **more))
      state, numbers = step(train.State(jnp.int32(0), params, tx.init(params)), batch)
    return state.params, jax.device_get(numbers), batch

  return update


@pytest.mark.parametrize('name, fields', [('ppo', {'ppo__mean': 'constant'}), ('rloo', {})])
def test_a_narrow_update_is_the_whole_one(updated, name, fields):
  params, numbers, batch = updated(name, 4, narrowed=True, **fields)
  longest = np.asarray(batch['mask'].sum(1)).reshape(-1, 4).max(0)
  assert longest.min() <= 16 < longest.max(), 'no microbatch is short: choose another seed'
  whole, wanted, again = updated(name, 1, narrowed=False, **fields)
  texts = lambda batch: sorted(tuple(map(int, row)) for row in np.asarray(batch['tokens']))  # noqa: E731
  assert texts(batch) == texts(again)  # completions do not depend on the microbatches
  for k in wanted:
    assert float(numbers[k]) == pytest.approx(float(wanted[k]), abs=2e-5, rel=2e-4), k
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, whole)
  if name == 'ppo':  # by other widths and other rows beside it, and on policy still
    assert float(numbers['ratio']) == pytest.approx(1, abs=1e-5) and numbers['approximate_kl'] <= 1e-6
    assert max(numbers['max_ratio'] - 1, 1 - numbers['min_ratio']) < 1e-4


# -- Which devices, which microbatches ---------------------------------------------------------------------


@pytest.fixture(scope='module')
def played(toy, runs):
  """played(**fields) -> (tokens, log π) of the first rollout on that mesh, rows as they were asked."""

  def play(**fields):
    how = dict(rollout__new_tokens=32, rollout__minibatches=1, batch__B=16, rollout__temperature=0.7)
    config = tiny.config('ppo', toy, runs, **{**how, **fields})
    with jax.set_mesh(devices.make_mesh(config.mesh)):
      stage, _, networks = opened(config)
      carry = next(stage.batches(lambda: networks, 0, 'train'))[2]
    return [np.asarray(carry['rollout'][k]) for k in ('tokens', 'logp')]

  return play


def test_completions_are_the_same_on_any_mesh_and_in_any_microbatches(played):
  tokens, logp = played()
  assert len({row.tobytes() for row in tokens}) == 16  # two devices never say the same, either
  for sizes in (dict(data=2), dict(data=2, fsdp=2, tensor=2)):
    mesh = {f'mesh__{axis}': n for axis, n in sizes.items()}
    again, mine = played(batch__microbatches=2, **mesh)
    np.testing.assert_array_equal(again, tokens)
    np.testing.assert_allclose(mine, logp, atol=5e-5)
