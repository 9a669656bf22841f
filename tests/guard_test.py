"""An update that is no number, or far from the usual, is not made but counted; a sound one is made."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from zhlm import guard, losses, store, train
from zhlm.errors import InputError
from zhlm.stages import pretrain

NAN = float('nan')


def linear(params, batch, rng):
  """Its gradient is (scale, 2·scale)."""
  value = batch['scale'] @ (params['a']['w'] * jnp.array([1.0, 2.0])).sum(keepdims=True)
  return losses.total(value[None], batch['weights']), {}


def steps(scales, **how):
  """[(state, metrics)] after each update, of batches with gradients of these sizes."""
  tx = optax.adam(optax.linear_schedule(0.1, 0.2, 10))
  step = jax.jit(train.make_step(linear, tx, 1, jax.random.key(0), **how))
  params = {'a': {'w': jnp.array([3.0, -1.0])}}
  state = train.State(jnp.int32(0), params, tx.init(params), ema=params if how.get('ema') else {})
  out = []
  for scale in scales:
    batch = {'scale': jnp.full(1, scale / 5**0.5), 'weights': jnp.ones(1)}
    out.append((state, *step(state, batch)))
    state = out[-1][1]
  return out


def same(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize('bad', [NAN, float('inf'), -float('inf'), 1e30])
def test_what_is_not_finite_leaves_the_state_as_it_was(bad):
  """1e30: the gradient is finite, its norm is not. Adam's moments and schedule stand still, too."""
  (_, first, _), (_, after, info), (_, last, info3) = steps([1.0, bad, 1.0], ema=0.9)
  same(
    (after.params, after.opt, after.ema, after.guard.norm),
    (first.params, first.opt, first.ema, first.guard.norm),
  )
  assert (int(after.step), int(after.guard.made)) == (2, 1)
  assert (int(info['skipped']), int(info['skipped_in_a_row'])) == (1, 1)
  assert (int(info3['skipped']), int(info3['skipped_in_a_row'])) == (1, 0)
  calm = steps([1.0, 1.0], ema=0.9)[-1][1]
  same((last.params, last.opt, last.ema), (calm.params, calm.opt, calm.ema))  # as if it had not been


def test_weights_that_would_overflow_are_not_taken():
  state = train.State(jnp.int32(0), {'a': {'w': jnp.array([3e38, 0.0])}}, optax.EmptyState())
  step = train.make_step(linear, optax.scale(-3e38), 1, jax.random.key(0))
  after, info = step(state, {'scale': jnp.array([-1.0]), 'weights': jnp.ones(1)})
  assert np.isinf(info['param_norm']) and int(info['skipped']) == 1
  same(after.params, state.params)


def test_the_usual_norm_is_the_mean_of_those_before_decayed():
  norms = np.random.default_rng(0).uniform(0.5, 2.0, 30)
  state = steps(norms)[-1][1].guard
  weights = guard.MEMORY ** np.arange(30)[::-1]
  usual = float(state.norm) / (1 - guard.MEMORY ** int(state.made))
  assert usual == pytest.approx((weights * norms).sum() / weights.sum(), rel=1e-4)


@pytest.mark.parametrize('size, skipped', [(4.9, 0), (5.2, 1)])
def test_a_spike_is_skipped_once_norms_are_known(size, skipped):
  early = steps([1.0, size], spike=5.0)[-1][2]
  assert int(early['skipped']) == 0  # two updates are no habit
  late = steps([1.0] * guard.KNOWN + [size, 1.0], spike=5.0)
  assert int(late[-2][2]['skipped_in_a_row']) == skipped and int(late[-1][2]['skipped']) == skipped
  assert int(steps([1.0] * guard.KNOWN + [size])[-1][2]['skipped']) == 0  # unless nobody asked


def test_the_average_of_weights_is_the_decayed_one():
  out = steps([1.0, -2.0, 0.5], ema=0.75)
  slow = np.array([3.0, -1.0])
  for _, state, _ in out:
    slow = 0.75 * slow + 0.25 * np.asarray(state.params['a']['w'])
    np.testing.assert_allclose(state.ema['a']['w'], slow, rtol=1e-6)


def test_debugging_names_the_first_array_that_is_not_finite():
  tx = optax.sgd(0.1)
  step = train.make_step(linear, tx, 1, jax.random.key(0), debug=True)
  step = guard.watched(jax.jit(step, donate_argnums=0))

  def run(scale, w, array=jnp.array):
    params = {'a': {'w': jnp.array(w)}}
    state = train.State(6, params, tx.init(params))
    batch = {'scale': array([scale]), 'weights': jnp.ones(1)}
    return step(jax.tree.map(jnp.asarray, state), batch)

  assert 'first_bad' not in run(1.0, [0.0, 1.0])[1]
  with pytest.raises(InputError, match='at step 7, the first array that is not finite: batch scale'):
    run(NAN, [0.0, 1.0])
  with pytest.raises(InputError, match='weights a/w'):
    run(1.0, [0.0, NAN])
  with pytest.raises(InputError, match='gradient a/w'):
    run(3e38, [0.0, 1.0])
  with pytest.raises(Exception, match='Disallowed host-to-device transfer'):
    run(1.0, [0.0, 1.0], array=np.float32)


@pytest.fixture
def nan_at(monkeypatch):
  """`nan_at(batches)`: the loss of pretraining is NaN on those, by number from 1."""
  real = pretrain.make

  def make(bad):
    def made(config):
      stage = real(config)

      def batches(networks, start, split, carry=None):
        for i, (batch, info, carry) in enumerate(stage.batches(networks, start, split), start + 1):
          weights = batch['weights'] * (NAN if split == 'train' and i in bad else 1.0)
          yield {**batch, 'weights': weights.astype('float32')}, info, carry

      return stage._replace(batches=batches)

    monkeypatch.setattr(pretrain, 'make', made)

  return make


def test_a_bad_batch_is_passed_over_and_the_run_goes_on_bit_for_bit(nan_at, toy, tmp_path):
  """Stopped and started between the skipped updates, it counts on."""
  nan_at({3, 4, 6})
  config = tiny.config('pretrain', toy, steps=8, save_every=5)
  calm = train.train(config, tmp_path / 'calm')
  assert [int(x) for x in (calm.guard.made, calm.guard.skipped, calm.guard.row)] == [5, 3, 0]
  assert [x['skipped'] for x in tiny.lines(tmp_path / 'calm')] == [0, 0, 1, 2, 2, 3, 3, 3]
  with config.unlocked():
    config.steps = 5
  train.train(config, tmp_path / 'run')
  with config.unlocked():
    config.steps = 8
  (tmp_path / 'run' / 'config.json').write_text((tmp_path / 'calm' / 'config.json').read_text())
  same(train.train(config, tmp_path / 'run'), calm)


def test_nothing_is_saved_while_updates_are_skipped(nan_at, toy, tmp_path):
  nan_at(range(4, 99))
  config = tiny.config('pretrain', toy, steps=20, save_every=1, keep=2, guard__patience=4)
  with pytest.raises(InputError, match='loss is nan at step 7 .*4 updates in a row'):
    train.train(config, tmp_path / 'run')
  assert store.steps(tmp_path / 'run' / 'checkpoints') == [2, 3]


def test_a_run_that_is_debugged_stops_at_once_and_says_where(nan_at, toy, tmp_path):
  nan_at({3})
  with pytest.raises(InputError, match='at step 3, the first array that is not finite: batch weights'):
    tiny.train('pretrain', toy, tmp_path / 'run', debug=True)
