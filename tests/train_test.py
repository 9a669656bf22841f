"""The one update and the one loop: what adds up, what is bit-exact, what a signal leaves."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from zhlm import checkpoint, devices, judging, losses, metrics, stages, train, validation


def leaves(tree):
  return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def same_bits(a, b):
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  for name in a:
    assert a[name].tobytes() == b[name].tobytes(), name


def linear(params, batch, rng):
  """Weighted least squares, of which all is known."""
  error = (batch['x'] @ params['w'] - batch['y']) ** 2
  return losses.total(error, batch['weights']), {'error': losses.total(jnp.abs(error), batch['weights'])}


@pytest.fixture
def problem():
  rng = np.random.default_rng(0)
  weights = np.array([0, 0, 5, 1, 0, 0, 1, 1], np.float32)  # so uneven that means of means are wrong
  batch = {'x': rng.normal(size=(8, 3)), 'y': rng.normal(size=8), 'weights': weights}
  return {'w': jnp.array([0.3, -0.2, 0.1])}, {k: jnp.array(v, jnp.float32) for k, v in batch.items()}


def test_weights_sum_to_one_each_leaf_on_its_own():
  batch = {'weights': jnp.array([1, 3]), 'more': {'weights': jnp.zeros(2)}, 'x': jnp.ones(2)}
  out = losses.weights_sum_to_one(batch)
  np.testing.assert_allclose(out['weights'], [0.25, 0.75])
  np.testing.assert_array_equal(out['more']['weights'], [0, 0])  # nothing weighs nothing
  np.testing.assert_array_equal(out['x'], [1, 1])


@pytest.mark.parametrize('microbatches', [1, 2, 4, 8])
def test_an_update_is_the_weighted_mean_however_it_is_split(microbatches, problem):
  params, batch = problem
  tx = optax.sgd(0.1)
  step = train.make_step(linear, tx, microbatches, jax.random.key(0))
  state, info = step(train.State(jnp.int32(0), params, tx.init(params)), batch)
  x, y, w = (np.asarray(batch[k], np.float64) for k in ('x', 'y', 'weights'))
  error, w = x @ np.asarray(params['w'], np.float64) - y, w / w.sum()
  slope = (2 * w * error) @ x
  assert float(info['loss']) == pytest.approx((w * error**2).sum(), rel=1e-5)
  assert float(info['error']) == pytest.approx((w * error**2).sum(), rel=1e-5)
  assert float(info['grad_norm']) == pytest.approx(np.linalg.norm(slope), rel=1e-5)
  np.testing.assert_allclose(state.params['w'], params['w'] - 0.1 * slope, atol=1e-6)
  assert int(state.step) == 1


def test_every_step_and_microbatch_has_its_own_key(problem):
  params, batch = problem

  def noise(params, batch, rng):
    return 0.0 * params['w'].sum(), {'noise': jax.random.normal(rng) / 2}

  def noises(microbatches):
    tx = optax.sgd(0.1)
    step = jax.jit(train.make_step(noise, tx, microbatches, jax.random.key(0)))
    state, out = train.State(jnp.int32(0), params, tx.init(params)), []
    for _ in range(3):
      state, info = step(state, batch)
      out.append(float(info['noise']))
    return out

  assert len(set(noises(1)) | set(noises(2))) == 6


@pytest.mark.parametrize('stage', ['sft', 'reward'])
def test_microbatches_add_up(stage, toy, runs, tmp_path):
  """1 and 4, after 4 updates of batches whose rows weigh differently. Adam divides rounding by itself
  where a gradient is nothing, so its eps is large here."""
  how = dict(steps=4, save_every=4, optimizer__eps=1e-3)
  a = tiny.train(stage, toy, tmp_path / '1', runs, **how)
  b = tiny.train(stage, toy, tmp_path / '4', runs, **how, batch__microbatches=4)
  for name, x in leaves(a.params).items():
    np.testing.assert_allclose(leaves(b.params)[name], x, atol=1e-6, err_msg=name)
  for x, y in zip(tiny.lines(tmp_path / '1'), tiny.lines(tmp_path / '4'), strict=True):
    assert x['loss'] == pytest.approx(y['loss'], rel=1e-6)


@pytest.mark.parametrize('microbatches', [1, 2, 4, 8])
def test_the_largest_and_the_least_are_no_sums(microbatches, problem):
  params, batch = problem

  def loss(params, batch, rng):
    return 0.0 * params['w'].sum(), {'max_y': batch['y'].max(), 'min_y': batch['y'].min()}

  tx = optax.sgd(0.1)
  step = train.make_step(loss, tx, microbatches, jax.random.key(0))
  _, info = step(train.State(jnp.int32(0), params, tx.init(params)), batch)
  assert float(info['max_y']) == float(batch['y'].max())
  assert float(info['min_y']) == float(batch['y'].min())


class Killed(BaseException):
  """What a test raises where a machine would die."""


def dies_at(step, monkeypatch):
  """Lets the run die as it logs a step: nothing is saved, nothing cleaned up."""
  real = metrics.Log.step

  def log(self, at, *args):
    if at == step:
      raise Killed
    return real(self, at, *args)

  monkeypatch.setattr(metrics.Log, 'step', log)


@pytest.mark.parametrize('stage', stages.names())
def test_resume_is_bitwise(stage, toy, runs, tmp_path, monkeypatch):
  """A run that died at step 7, after its checkpoint of step 5, ends as one that did not. For stages that
  sample, step 5 is amid a rollout; PPO's price of KL moves, and it reads text beside."""
  config = tiny.config(stage, toy, runs, steps=8, save_every=5)
  calm = train.train(config, tmp_path / 'calm')
  with monkeypatch.context() as patch:
    dies_at(7, patch)
    with pytest.raises(Killed):
      train.train(config, tmp_path / 'run')
  again = train.train(config, tmp_path / 'run')
  same_bits(again, calm)
  here, there = (tiny.lines(tmp_path / name) for name in ('run', 'calm'))
  assert [x['step'] for x in here] == list(range(1, 9))
  drop = {'time', 'tokens_per_second'}
  assert [{k: v for k, v in x.items() if k not in drop} for x in here] == [
    {k: v for k, v in x.items() if k not in drop} for x in there
  ]
  # Once more: there is nothing left to do, and nothing changes.
  same_bits(train.train(config, tmp_path / 'run'), calm)
  assert len(tiny.lines(tmp_path / 'run')) == 8


def test_a_run_killed_while_it_samples_goes_on(toy, runs, tmp_path, monkeypatch):
  """Its fourth rollout is drawn, but not yet learnt from; the checkpoint is amid the third."""
  config, real, calls = tiny.config('ppo', toy, runs, steps=8, save_every=5), judging.judged, []

  def judged(*args):
    calls.append(args)
    if len(calls) == 4:
      raise Killed
    return real(*args)

  with monkeypatch.context() as patch:
    patch.setattr(judging, 'judged', judged)
    with pytest.raises(Killed):
      train.train(config, tmp_path / 'run')
  assert len(tiny.lines(tmp_path / 'run')) == 5 and calls
  same_bits(train.train(config, tmp_path / 'run'), train.train(config, runs('ppo')))


def test_a_signal_saves_where_it_can_go_on(toy, runs, tmp_path, monkeypatch):
  """PPO, both times in the middle of a rollout of two updates. The handlers of before are back."""
  config = tiny.config('ppo', toy, runs, steps=8)
  real = metrics.Log.step
  for number, at in ((signal.SIGTERM, 3), (signal.SIGINT, 5)):
    before = signal.getsignal(number)

    def log(self, step, *args, number=number, at=at):
      if step == at:
        os.kill(os.getpid(), number)
      return real(self, step, *args)

    with monkeypatch.context() as patch:
      patch.setattr(metrics.Log, 'step', log)
      with pytest.raises(metrics.Stopped, match=f'saved at step {at} .* the same command') as e:
        train.train(config, tmp_path / 'run')
    assert e.value.status == 128 + number and signal.getsignal(number) is before
  same_bits(train.train(config, tmp_path / 'run'), train.train(config, runs('ppo')))


def test_validation_is_the_mean_over_the_whole_split(toy, runs):
  """Over all rows in one batch, over many batches of 4, and by hand."""
  values = []
  for B in (4, 16):
    config = tiny.config('sft', toy, batch__B=B)
    with jax.set_mesh(devices.make_mesh(config.mesh)):
      stage = stages.make(config)
      params = {'policy': checkpoint.load(runs('sft'), 'policy')}
      values.append(validation.validate(stage, params, 1_000)['validation/loss'])
      if B == 4:
        parts = [batch for batch, _, _ in stage.batches(lambda: None, 0, 'validation')]
        assert len(parts) > 1 and len({float(p['weights'].sum()) for p in parts}) > 1
        total = weight = 0.0
        for batch in parts:
          total += float(jax.jit(stage.loss)(params, batch, None)[0])  # weights as they are: a sum
          weight += float(batch['weights'].sum())
        assert values[0] == pytest.approx(total / weight, rel=1e-5)
  assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_a_fresh_start_takes_the_weights_it_was_told(toy, runs, tmp_path):
  """A reward model: the trunk of SFT and a fresh head; a policy: all of it."""
  sft = leaves(checkpoint_of(runs('sft'), 'policy'))
  config = tiny.config('reward', toy, runs)
  mesh = devices.make_mesh(config.mesh)
  with jax.set_mesh(mesh), checkpoint.Run(tmp_path / 'r', config) as run:
    stage = stages.make(config)
    _, params, *_ = run.restore(lambda: stage.init(jax.random.key(0)), optax.sgd(0.1).init, stage)
  reward = leaves(params['reward'])
  assert set(reward) - set(sft) == {"['score']", "['score_bias']"} and set(sft) <= set(reward)
  for name, x in sft.items():
    np.testing.assert_array_equal(reward[name], x, err_msg=name)
  assert np.abs(reward["['score']"]).max() > 0.01


def checkpoint_of(folder, network):
  with jax.set_mesh(devices.make_mesh({})):
    return checkpoint.load(folder, network)
