"""Each equation against a plain loop, a closed form, or a case worked by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zhlm import losses


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def test_total_is_a_weighted_sum_in_float32():
  x = jnp.array([1.0, 2.0, 1 / 256], jnp.bfloat16)
  out = losses.total(x, jnp.array([0.5, 0.25, 0.25]))
  assert out.dtype == jnp.float32 and float(out) == 1.0 + 0.25 / 256


def test_log_probs_and_entropy_are_those_of_a_plain_loop(rng):
  logits = rng.normal(size=(2, 3, 5)) * 4
  targets = rng.integers(5, size=(2, 3))
  logp, entropy = losses.log_probs(jnp.array(logits), jnp.array(targets))
  for b, t in itertools.product(range(2), range(3)):
    p = [math.exp(x) for x in logits[b, t]]
    p = [x / sum(p) for x in p]
    assert float(logp[b, t]) == pytest.approx(math.log(p[targets[b, t]]), abs=1e-5)
    assert float(entropy[b, t]) == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-5)


def test_log_probs_of_bfloat16_are_float32_and_of_huge_logits_finite():
  logits = jnp.array([[[3e4, -3e4]]], jnp.bfloat16)
  logp, entropy = losses.log_probs(logits, jnp.array([[0]]))
  assert logp.dtype == entropy.dtype == jnp.float32
  assert float(logp[0, 0]) == 0 and float(entropy[0, 0]) == 0


def test_pairs_of_a_prompt_weigh_one_together_and_ties_nothing():
  ranks, valid = np.array([2, 1, 2, 3]), np.array([True, True, True, False])
  better = {(1, 0), (1, 2)}  # 0 and 2 tie, 3 is padding
  weights = losses.pair_weights(ranks, valid)
  for i, j in itertools.product(range(4), range(4)):
    assert weights[i, j] == pytest.approx(0.5 if (i, j) in better else 0)
  assert losses.pair_weights(np.array([1, 1]), np.array([True, True])).sum() == 0


def test_preference_is_the_mean_of_log_sigmoid_over_all_pairs(rng):
  rewards, ranks = rng.normal(size=4) * 3, np.array([3, 1, 4, 2])
  pairs = [(i, j) for i, j in itertools.product(range(4), range(4)) if ranks[i] < ranks[j]]
  assert len(pairs) == math.comb(4, 2)  # InstructGPT's 1 / (K choose 2)
  mean = sum(math.log(1 + math.exp(rewards[j] - rewards[i])) for i, j in pairs) / len(pairs)
  weights = losses.pair_weights(ranks, np.ones(4, bool))
  loss = losses.total(losses.preference(jnp.array([rewards])), weights[None])
  assert float(loss) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize('K', range(2, 10))
def test_a_loss_of_k_answers_is_the_mean_of_those_of_its_pairs_without_ties(K, rng):
  """Of each pair read alone. A prompt of one pair beside it weighs as much; padding and ties nothing."""
  ranks = rng.permutation(np.arange(K) // 2 + 1) if K > 2 else np.array([2, 1])  # two of each rank
  scores = rng.normal(size=K) * 3
  alone = []
  for i, j in itertools.combinations(range(K), 2):
    if ranks[i] != ranks[j]:
      better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
      alone.append(-math.log(1 / (1 + math.exp(scores[worse] - scores[better]))))
  assert len(alone) == math.comb(K, 2) - K // 2 * (K > 2)
  padded, valid = np.zeros(9), np.arange(9) < K
  padded[:K] = scores
  weights = losses.pair_weights(np.pad(ranks, (0, 9 - K)), valid)
  pair, ties = (losses.pair_weights(r, np.arange(9) < 2) for r in (np.arange(9), np.ones(9)))
  batch = losses.weights_sum_to_one({'weights': jnp.array([weights, pair, ties])})
  loss = losses.total(losses.preference(jnp.array([padded] * 3)), batch['weights'])
  beside = math.log(1 + math.exp(scores[1] - scores[0]))
  assert float(loss) == pytest.approx((sum(alone) / len(alone) + beside) / 2, rel=1e-5)


def test_preference_moves_the_winner_up_and_the_loser_down():
  weights = losses.pair_weights(np.array([1, 2]), np.ones(2, bool))[None]
  slope = jax.grad(lambda r: losses.total(losses.preference(r), weights))(jnp.zeros((1, 2)))
  np.testing.assert_allclose(slope, [[-0.5, 0.5]])


def test_token_rewards_are_fractions_at_every_token_and_the_score_at_the_last():
  kl = jnp.array([[0.5, 0.25, 0.0]])
  last = jnp.array([[0, 1, 0]], jnp.int32)
  out = losses.token_rewards(jnp.array([0.7]), kl, last, 0.1)
  assert out.dtype == jnp.float32
  np.testing.assert_allclose(out, [[-0.05, -0.025 + 0.7, 0.0]], rtol=1e-6)
  integers = losses.token_rewards(jnp.array([0.7]), jnp.ones((1, 3), jnp.int32), last, 0.1)
  np.testing.assert_allclose(integers, [[-0.1, 0.6, -0.1]], rtol=1e-5)  # nothing is cut to an integer


@pytest.mark.parametrize('gamma, lam', [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_advantages_are_those_of_a_plain_loop(gamma, lam, rng):
  B, T = 3, 7
  spans = [(0, 7), (2, 5), (4, 4)]  # the answer's tokens: all, some, none
  mask = np.zeros((B, T))
  for b, (first, end) in enumerate(spans):
    mask[b, first:end] = 1
  rewards, values = rng.normal(size=(B, T)) * mask, rng.normal(size=(B, T))
  want_a, want_r = np.zeros((B, T)), np.zeros((B, T))
  for b, (first, end) in enumerate(spans):
    for t in range(first, end):
      for k in range(t, end):  # eq. 16: the sum over (γλ)^l δ_{t+l}
        after = values[b, k + 1] if k + 1 < end else 0.0
        delta = rewards[b, k] + gamma * after - values[b, k]
        want_a[b, t] += (gamma * lam) ** (k - t) * delta
      want_r[b, t] = want_a[b, t] + values[b, t]
  got_a, got_r = losses.advantages(jnp.array(rewards), jnp.array(values), jnp.array(mask), gamma, lam)
  np.testing.assert_allclose(got_a, want_a, atol=1e-5)
  np.testing.assert_allclose(got_r, want_r, atol=1e-5)


def test_what_is_outside_the_answer_changes_no_advantage(rng):
  mask = jnp.array([[0.0, 1.0, 1.0, 0.0]])
  rewards = jnp.array([[0.0, 0.3, 1.0, 0.0]])
  values = rng.normal(size=(1, 4))
  other = values.copy()
  other[0, [0, 3]] += 100
  first, second = (losses.advantages(rewards, jnp.array(v), mask, 1.0, 0.95)[0] for v in (values, other))
  np.testing.assert_array_equal(first, second)


def test_whitened_entries_have_mean_0_and_variance_1(rng):
  x, mask = rng.normal(size=(4, 9)) * 3 + 5, rng.integers(2, size=(4, 9))
  out = np.asarray(losses.whiten(jnp.array(x), jnp.array(mask)))
  inside = x[mask == 1]
  np.testing.assert_allclose(out[mask == 1], (inside - inside.mean()) / inside.std(), atol=1e-4)
  assert (out[mask == 0] == 0).all()


def test_clipped_policy_case_by_case():
  clip = 0.2
  cases = [  # ratio, advantage, loss, whether the ratio still has a gradient
    (1.0, 2.0, -2.0, True),
    (1.5, 2.0, -2.4, False),  # already better by more than is paid for
    (0.5, 2.0, -1.0, True),
    (1.5, -2.0, 3.0, True),
    (0.5, -2.0, 1.6, False),
  ]
  for ratio, advantage, want, moves in cases:
    args = (jnp.log(ratio), jnp.array(0.0), jnp.array(advantage), clip)
    loss, got = losses.clipped_policy(*args)
    assert float(loss) == pytest.approx(want, rel=1e-5) and float(got) == pytest.approx(ratio, rel=1e-5)
    slope = float(jax.grad(lambda x, a=args: losses.clipped_policy(x, *a[1:])[0])(args[0]))
    assert slope == pytest.approx(-advantage * ratio if moves else 0.0, rel=1e-5)


def test_clipped_value_case_by_case():
  cases = [  # value, value then, return, loss
    (1.1, 1.0, 2.0, 0.5 * 0.9**2),  # inside the clip: plain squares
    (2.0, 1.0, 2.0, 0.5 * 0.8**2),  # right, but further than it may go: as if it had stayed at 1.2
    (0.0, 1.0, 2.0, 0.5 * 2.0**2),  # the wrong way: the worse of both
  ]
  for value, then, target, want in cases:
    loss = losses.clipped_value(jnp.array(value), jnp.array(then), jnp.array(target), 0.2)
    assert float(loss) == pytest.approx(want, rel=1e-5)
