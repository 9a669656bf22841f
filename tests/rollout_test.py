"""Experience: which columns are the answer, where it is scored, and that one key makes one rollout."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.model_test import apply, small
from zhlm import checkpoint, devices, losses, rollout, stages
from zhlm.data import batches as data

STOP = 5


@pytest.fixture(scope='module')
def nets():
  return small(), small('scalar')


@pytest.fixture(scope='module')
def prompts():
  return jax.random.randint(jax.random.key(5), (4, 7), 6, 23), jnp.array([2, 7, 4, 5])


@pytest.fixture(scope='module')
def complete(nets, prompts):
  (lm, policy), (scalar, reward) = nets
  other = jax.tree.map(lambda x: x * 1.01, policy)
  networks = {'policy': policy, 'reference': other, 'reward': reward}
  how = dict(new=6, stop=STOP, temperature=0.9, scorers=('reward',))
  modules = {'policy': lm, 'reference': lm, 'reward': scalar}
  return jax.jit(lambda key: rollout.complete(modules, networks, *prompts, key, **how))


@pytest.fixture(scope='module')
def x(complete):
  return jax.tree.map(np.asarray, complete(jax.random.key(0)))


def rows(x, prompts):
  """(length of the prompt, all ids of prompt and answer) of each row, from tokens and targets alone."""
  for b, n in enumerate(map(int, prompts[1])):
    ids = [int(x['tokens'][b, 0]), *map(int, x['targets'][b])]
    yield b, n, ids[: n + int(x['count'][b])]


def test_prompt_and_answer_stand_without_a_gap():
  prompts = jnp.array([[1, 2, 9], [3, 9, 9]])  # 9 is padding here
  answers = jnp.array([[7, 8], [6, 0]])
  out = rollout.join(prompts, jnp.array([2, 1]), answers, jnp.array([2, 1]))
  np.testing.assert_array_equal(out, [[1, 2, 7, 8, 0], [3, 6, 0, 0, 0]])


def test_the_mask_marks_exactly_the_tokens_of_the_answer(x, prompts):
  assert set(x['count']) != {6}, 'no answer ended: choose another key'
  for b, n, ids in rows(x, prompts):
    assert ids[:n] == list(map(int, prompts[0][b, :n]))
    want = np.zeros(x['mask'].shape[1])
    want[n - 1 : len(ids) - 1] = 1
    np.testing.assert_array_equal(x['mask'][b], want)
    np.testing.assert_array_equal(x['tokens'][b, 1:], x['targets'][b, :-1])
    assert (x['targets'][b, len(ids) - 1 :] == 0).all()
    assert bool(x['ended'][b]) == (ids[-1] == STOP) and STOP not in ids[n:-1]


def test_every_row_is_read_and_scored_as_it_would_be_alone(x, prompts, nets):
  """Without padding: log-probabilities at the sampling temperature, the score at the last real token."""
  (lm, policy), (scalar, reward) = nets
  every = list(rows(x, prompts))
  for b, n, ids in (min(every, key=lambda r: len(r[2])), max(every, key=lambda r: len(r[2]))):
    logits = apply(lm, policy, jnp.array([ids]))[:, :-1]
    logp, entropy = losses.log_probs(logits / 0.9, jnp.array([ids[1:]]))
    mine = slice(n - 1, len(ids) - 1)
    np.testing.assert_allclose(x['logp'][b, mine], logp[0, mine], atol=2e-5)
    np.testing.assert_allclose(x['entropy'][b, mine], entropy[0, mine], atol=2e-5)
    alone = float(apply(scalar, reward, jnp.array([ids]))[0, -1])
    assert x['scores']['reward'][b] == pytest.approx(alone, abs=2e-5)
  assert (np.abs(x['logp_ref'] - x['logp']).max(1) > 1e-4).all()


def test_two_rollouts_differ_and_one_repeats(complete, x):
  again, other = complete(jax.random.key(0)), complete(jax.random.key(1))
  jax.tree.map(np.testing.assert_array_equal, again, x)
  assert (np.asarray(other['targets']) != x['targets']).any()


# -- The stage that uses it ------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def ppo(toy, runs):
  """(stage, its networks at the start, their mesh)."""
  config = tiny.config('ppo', toy, runs)
  mesh = devices.make_mesh(config.mesh)
  with jax.set_mesh(mesh):
    stage = stages.make(config)
    trained = {k: checkpoint.load(*start) for k, start in stage.start.items()}
    params = {**checkpoint.open_frozen(stage, config), **trained}
  return stage, params, mesh


def test_the_first_pass_over_a_rollout_is_on_policy(ppo):
  stage, params, mesh = ppo
  with jax.set_mesh(mesh):
    batches = stage.batches(lambda: params, 0, 'train')
    for _ in range(2):  # two minibatches of the first rollout, before any update
      batch, info, _ = next(batches)
      weights = batch['weights'] / batch['weights'].sum()
      _, numbers = jax.jit(stage.loss)(params, {**batch, 'weights': weights}, None)
      assert float(numbers['ratio']) == pytest.approx(1, abs=1e-5)
      assert float(numbers['approximate_kl']) <= 1e-6 and float(numbers['clipped']) == 0
      assert float(info['kl']) == pytest.approx(0, abs=1e-5)  # it is still the reference


def texts(*batches):
  return {tuple(map(int, row)) for b in batches for row in np.asarray(b['tokens'])}


def test_a_rollout_is_shared_by_its_minibatches_and_the_next_is_new(ppo):
  stage, params, mesh = ppo
  with jax.set_mesh(mesh):
    batches = stage.batches(lambda: params, 0, 'train')
    one, two, three, four = (next(batches)[0] for _ in range(4))
    later = stage.batches(lambda: params, 2, 'train')
    np.testing.assert_array_equal(next(later)[0]['tokens'], three['tokens'])  # start=2 is rollout 1
  assert len(texts(one, two)) == 16 or not texts(one) & texts(two)
  assert texts(one, two) != texts(three, four)


def test_a_rollout_in_flight_goes_on_where_it_stood(ppo):
  """Between its two minibatches, with other weights by now, and from there into the next rollout."""
  stage, params, mesh = ppo
  with jax.set_mesh(mesh):
    batches = stage.batches(lambda: params, 0, 'train')
    _, _, carry = next(batches)
    wanted = [next(batches)[:2] for _ in range(2)]
    moved = {**params, 'policy': jax.tree.map(lambda x: x * 1.1, params['policy'])}
    now = iter([params])  # asked once, for the second rollout
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (carry, stage.carry_shapes()))
    later = stage.batches(lambda: next(now), 1, 'train', carry)
    found = [next(later)[:2] for _ in range(2)]
    other = next(stage.batches(lambda: moved, 2, 'train', carry))[0]
  assert shapes[0] == shapes[1]
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  assert texts(other) != texts(wanted[1][0])  # the next rollout is the policy's of the moment


def test_the_same_prompts_are_answered_anew_each_time(ppo, toy, monkeypatch):
  stage, params, mesh = ppo
  config = tiny.config('ppo', toy)
  batch, info, carry = next(data.stream(data.Prompts(config, 'train'), config, 0, 'train', 16))
  monkeypatch.setattr(data, 'stream', lambda *_: ((dict(batch), info, carry) for _ in itertools.count()))
  with jax.set_mesh(mesh):
    batches = stage.batches(lambda: params, 0, 'train')
    one, two, three, four = (next(batches)[0] for _ in range(4))
  assert texts(one, two) != texts(three, four)


def test_whitened_advantages_and_frozen_numbers_are_in_the_batch(ppo, toy, runs):
  stage, params, mesh = ppo
  with jax.set_mesh(mesh):
    batches = stage.batches(lambda: params, 0, 'train')
    parts = [next(batches)[0] for _ in range(2)]
  mask = np.concatenate([b['weights'] for b in parts])
  advantage = np.concatenate([b['advantage'] for b in parts])[mask > 0]
  assert advantage.mean() == pytest.approx(0, abs=1e-4) and advantage.std() == pytest.approx(1, abs=1e-3)
  stop = data.end_of_turn(tiny.config('ppo', toy, runs))
  for batch in parts:  # returns and advantages are nothing outside the answer, which ends at the stop
    w = np.asarray(batch['weights'])
    for name in ('advantage', 'return'):
      assert (np.asarray(batch[name])[w == 0] == 0).all()
    for row, mask in zip(np.asarray(batch['targets']), w, strict=True):
      answer = row[mask > 0]
      assert len(answer) and stop not in answer[:-1]


def test_ppo_finds_what_the_reward_model_likes(toy, runs, tmp_path):
  # The score rises at every seed tried, by 0.2 to 2 of its deviations, for the toy's networks are tiny.
  how = dict(steps=80, save_every=80, ppo__kl_cost=0.0, rollout__epochs=2, optimizer__learning_rate=2e-3)
  tiny.train('ppo', toy, tmp_path / 'run', runs, seed=1, **how)
  score = [x['score'] for x in tiny.lines(tmp_path / 'run')]
  # In the reference's deviations, over the first rollout of four updates: the reference's own answers.
  assert np.mean(score[-16:]) > np.mean(score[:4]) + 1, score
