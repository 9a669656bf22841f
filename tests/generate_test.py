"""Sampling against the plain loop that has no cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model_test import apply, small
from zhlm import generate

NEW, STOP = 6, 5
LENGTHS = jnp.array([2, 7, 4])


@pytest.fixture(scope='module')
def lm():
  return small()


@pytest.fixture(scope='module')
def prompts():
  return jax.random.randint(jax.random.key(5), (3, 7), 6, 23)


@functools.partial(jax.jit, static_argnames=('net', 'new', 'stop', 'temperature', 'top_k', 'top_p'))
def sample(net, params, prompts, lengths, keys, **how):
  return generate.sample(net, params, prompts, lengths, keys, **how)


def keys(B, seed=0):
  return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(B))


def test_greedy_is_the_argmax_of_the_full_forward(lm, prompts):
  net, params = lm
  answers, counts = sample(net, params, prompts, LENGTHS, keys(3), new=NEW, stop=-1, temperature=0)
  for row in range(3):
    n = int(LENGTHS[row])
    said = list(map(int, prompts[row, :n]))
    for _ in range(NEW):
      padded = jnp.array([said + [0] * (7 + NEW - len(said))])
      said.append(int(apply(net, params, padded)[0, len(said) - 1].argmax()))
    assert list(map(int, answers[row])) == said[n:] and int(counts[row]) == NEW


def test_a_sample_does_not_depend_on_its_batch(lm, prompts):
  net, params = lm
  how = dict(new=NEW, stop=STOP, temperature=1.0)
  answers, counts = sample(net, params, prompts, LENGTHS, keys(3), **how)
  order = jnp.array([2, 0, 1])
  again, _ = sample(net, params, prompts[order], LENGTHS[order], keys(3)[order], **how)
  np.testing.assert_array_equal(again, answers[order])
  alone, _ = sample(net, params, prompts[1:2], LENGTHS[1:2], keys(3)[1:2], **how)
  np.testing.assert_array_equal(alone[0], answers[1])
  # More padding changes nothing; another key does.
  wide = jnp.pad(prompts, ((0, 0), (0, 4)), constant_values=22)
  np.testing.assert_array_equal(sample(net, params, wide, LENGTHS, keys(3), **how)[0], answers)
  assert (sample(net, params, prompts, LENGTHS, keys(3, seed=1), **how)[0] != answers).any()


def test_an_answer_ends_with_the_first_stop(lm, prompts):
  """Whatever token is called stop, the answer is the one without a stop up to there."""
  net, params = lm
  free, _ = sample(net, params, prompts, LENGTHS, keys(3), new=NEW, stop=-1, temperature=1.0)
  stop = int(free[1, 2])  # row 1 says this third, or earlier
  answers, counts = jax.jit(
    lambda s: generate.sample(net, params, prompts, LENGTHS, keys(3), new=NEW, stop=s, temperature=1.0)
  )(stop)
  assert int(counts[1]) <= 3
  for row in range(3):
    said = list(map(int, free[row]))
    end = said.index(stop) + 1 if stop in said else NEW
    assert int(counts[row]) == end
    assert list(map(int, answers[row])) == said[:end] + [0] * (NEW - end)


def test_choices_have_the_probabilities_of_the_softmax():
  logits, B = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05])), 4000
  rows = jnp.broadcast_to(logits, (B, 4))

  def shares(**how):
    picked = generate.choose(rows, keys(B), **how)
    return np.bincount(np.asarray(picked), minlength=4) / B

  np.testing.assert_allclose(shares(), [0.5, 0.3, 0.15, 0.05], atol=0.03)
  hot = np.array([0.5, 0.3, 0.15, 0.05]) ** 0.5
  np.testing.assert_allclose(shares(temperature=2.0), hot / hot.sum(), atol=0.03)
  np.testing.assert_allclose(shares(top_k=2), [0.625, 0.375, 0, 0], atol=0.03)
  # The smallest set that holds 0.7 of the mass: two tokens; of 0.45: one.
  np.testing.assert_allclose(shares(top_k=4, top_p=0.7), [0.625, 0.375, 0, 0], atol=0.03)
  np.testing.assert_allclose(shares(top_k=4, top_p=0.45), [1, 0, 0, 0])
  np.testing.assert_allclose(shares(top_k=1), [1, 0, 0, 0])
  np.testing.assert_allclose(shares(temperature=0), [1, 0, 0, 0])


def test_a_stream_says_what_a_batch_would_greedily(lm, prompts):
  net, params = lm
  S = 7 + NEW
  answers, _ = sample(net, params, prompts, LENGTHS, keys(3), new=NEW, stop=-1, temperature=0)
  prompt = list(map(int, prompts[1]))
  said = list(generate.stream(net, params, prompt, jax.random.key(0), S=S, stop=-1, temperature=0))
  assert said == list(map(int, answers[1]))
  stop = said[2]
  until = list(generate.stream(net, params, prompt, jax.random.key(0), S=S, stop=stop, temperature=0))
  assert until == said[: said.index(stop)]
