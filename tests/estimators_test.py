"""Estimates on samples against exact sums over a policy small enough to write down."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zhlm import estimators
from zhlm.errors import InputError

THETA = jnp.array([0.3, -0.8, 1.1])  # logits of a policy of three tokens
REF = jnp.log(jnp.array([0.7, 0.25, 0.05]))


def exact(theta):
  """KL(π‖π_ref), summed over all three tokens."""
  logp = jax.nn.log_softmax(theta)
  return jnp.sum(jnp.exp(logp) * (logp - REF))


def expected(term):
  """The exact expectation over π of the gradient of term(log π(token), log π_ref(token))."""
  p = jax.nn.softmax(THETA)
  slopes = [jax.grad(lambda t, i=i: term(jax.nn.log_softmax(t)[i], REF[i]))(THETA) for i in range(3)]
  return sum(p[i] * slopes[i] for i in range(3))


def test_k1_and_k3_are_unbiased_and_k2_is_small():
  p, logp = jax.nn.softmax(THETA), jax.nn.log_softmax(THETA)
  for name in ('k1', 'k3'):
    assert float((p * estimators.kl(name, logp, REF)).sum()) == pytest.approx(float(exact(THETA)), rel=1e-5)
  assert (estimators.kl('k3', logp, REF) >= 0).all() and (estimators.kl('k1', logp, REF) < 0).any()
  np.testing.assert_allclose(estimators.kl('k2', logp, REF), 0.5 * (logp - REF) ** 2, rtol=1e-6)
  with pytest.raises(InputError, match="'k4'; choose from k1, k2, k3"):
    estimators.kl('k4', logp, REF)


@pytest.mark.parametrize('name', estimators.KL)
def test_each_costs_its_value_and_pulls_as_the_divergence_does(name):
  logp = jax.nn.log_softmax(THETA)
  np.testing.assert_allclose(
    estimators.kl_cost(name, logp, REF), estimators.kl(name, logp, REF), rtol=1e-6, atol=1e-7
  )
  pull = expected(lambda x, ref: estimators.kl_cost(name, x, ref))
  np.testing.assert_allclose(pull, jax.grad(exact)(THETA), atol=1e-6)


def test_the_plain_estimates_would_pull_elsewhere():
  """Why the cost lends them a gradient: k1's is none, k3's that of KL(π_ref‖π)."""
  np.testing.assert_allclose(expected(lambda x, ref: estimators.kl('k1', x, ref)), 0, atol=1e-6)
  other = jax.grad(lambda t: jnp.sum(jnp.exp(REF) * (REF - jax.nn.log_softmax(t))))(THETA)
  np.testing.assert_allclose(expected(lambda x, ref: estimators.kl('k3', x, ref)), other, atol=1e-6)
  assert np.abs(other - jax.grad(exact)(THETA)).max() > 0.05


def test_the_price_of_kl_follows_its_target():
  """OpenAI's numbers: β 0.15, twice the target of 6 nats, a batch of 512, horizon 10,000."""
  assert float(estimators.next_kl_cost(0.15, 12.0, 6.0, 10_000, 512)) == pytest.approx(0.151536, abs=1e-7)
  assert float(estimators.next_kl_cost(0.15, 6.0, 6.0, 10_000, 512)) == pytest.approx(0.15)
  assert float(estimators.next_kl_cost(0.15, 0.0, 6.0, 10_000, 512)) == pytest.approx(0.15 * (1 - 0.01024))


def test_rewards_keep_their_mean_and_lose_their_spread():
  rng = np.random.default_rng(0)
  x, mask = rng.normal(size=(4, 9)) * 3 + 5, rng.integers(2, size=(4, 9))
  out = np.asarray(estimators.whiten_spread(jnp.array(x), jnp.array(mask)))[mask == 1]
  assert out.mean() == pytest.approx(x[mask == 1].mean(), rel=1e-5)
  assert out.std() == pytest.approx(1, abs=1e-4)


def test_advantages_within_a_group():
  scores = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
  alone = np.stack([[r[i] - np.delete(r, i).mean() for i in range(4)] for r in scores])
  np.testing.assert_allclose(estimators.leave_one_out(jnp.array(scores)), alone, atol=1e-6)
  whole = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
  np.testing.assert_allclose(estimators.group_advantages(jnp.array(scores)), whole, atol=1e-4)
  np.testing.assert_allclose(
    estimators.group_advantages(jnp.array(scores), spread=False),
    scores - scores.mean(1, keepdims=True),
    atol=1e-6,
  )
  assert (estimators.group_advantages(jnp.ones((1, 4))) == 0).all()  # all alike: nothing is learnt


def test_explained_variance_of_a_right_a_constant_and_a_wrong_value():
  returns = jnp.array([[1.0, 2.0, 4.0, 99.0]])
  mask = jnp.array([[1, 1, 1, 0]])
  of = lambda v: float(estimators.explained_variance(jnp.array(v), returns, mask))  # noqa: E731
  assert of([[1.0, 2.0, 4.0, 0.0]]) == pytest.approx(1)
  assert of([[3.0, 3.0, 3.0, 0.0]]) == pytest.approx(0, abs=1e-6)
  assert of([[4.0, 2.0, 1.0, 0.0]]) < 0


def test_kl_of_the_best_of_n_is_that_of_a_simulation():
  """Of many answers with scores of their own, the best of n drawn: its distribution, and its KL."""
  count = 20_000  # answers, equally likely, in order of their score
  for n in (2, 5, 16):
    above = np.arange(count + 1) / count
    best = np.diff(above**n)  # the i-th is best when all n draws are at most it, and not all below
    simulated = float((best * np.log(np.maximum(best * count, 1e-300))).sum())
    assert float(estimators.best_of_n_kl(n)) == pytest.approx(simulated, abs=1e-3)


def test_best_of_n_is_the_mean_over_all_subsets():
  """Also where the best is chosen by another score than is told, and where some score alike."""
  rng = np.random.default_rng(2)
  proxy, gold = rng.integers(4, size=(3, 7)).astype(np.float32), rng.normal(size=(3, 7))
  for n in (1, 2, 3, 7):
    subsets = list(itertools.combinations(range(7), n))
    best = [np.mean([row[list(s)].max() for s in subsets]) for row in proxy]
    np.testing.assert_allclose(estimators.best_of_n(jnp.array(proxy), n), best, rtol=1e-5)
    chosen = [
      np.mean([g[[i for i in s if p[i] == p[list(s)].max()]].mean() for s in subsets])
      for p, g in zip(proxy, gold, strict=True)
    ]
    found = estimators.best_of_n(jnp.array(proxy), n, jnp.array(gold))
    np.testing.assert_allclose(found, chosen, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('instead, want', [(False, [1.5, -2.5, -1.0]), (True, [1.5, -2.0, -2.0])])
def test_an_answer_without_an_end_pays(instead, want):
  score, ended = jnp.array([1.5, -0.5, 1.0]), jnp.array([True, False, False])
  np.testing.assert_allclose(estimators.charged(score, ended, 2.0, instead), want)
