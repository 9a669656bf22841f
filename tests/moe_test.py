"""Experts against a plain loop over tokens; what is dropped, and that it never depends on the future."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model_test import apply, small
from zhlm import model, moe

B, T, D, F, E, J = 2, 10, 8, 12, 6, 2


@pytest.fixture(scope='module')
def made():
  """(x, router logits, gate, up, down) at random."""
  shapes = (B, T, D), (B, T, E), (E, D, F), (E, D, F), (E, F, D)
  keys = jax.random.split(jax.random.key(0), len(shapes))
  return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def expert(x, gate, up, down):
  h = np.asarray(gate, np.float64).T @ x
  return (h / (1 + np.exp(-h)) * (np.asarray(up).T @ x)) @ np.asarray(down)


def by_hand(made, normalised, room):
  """Token by token, in order; an expert that has no room left takes nothing."""
  x, logits, gate, up, down = map(np.asarray, made)
  y, dropped = np.zeros((B, T, D)), np.zeros(B)
  for b in range(B):
    taken = [0] * E
    for t in range(T):
      p = np.exp(logits[b, t]) / np.exp(logits[b, t]).sum()
      best = np.argsort(-p)[:J]
      for e in best:
        if taken[e] < room:
          taken[e] += 1
          share = p[e] / p[best].sum() if normalised else p[e]
          y[b, t] += share * expert(x[b, t], gate[e], up[e], down[e])
        else:
          dropped[b] += 1 / (T * J)
  return y, dropped


@pytest.mark.parametrize('normalised', [True, False])
@pytest.mark.parametrize('capacity, room', [(0.0, T), (1.0, 4), (0.5, 2)])
def test_experts_are_what_a_loop_over_tokens_says(capacity, room, normalised, made):
  x, logits, *weights = made
  w, e, _ = moe.route(logits, J, normalised)
  y, dropped = jax.jit(moe.mix, static_argnums=6)(x, w, e, *weights, capacity)
  want, lost = by_hand(made, normalised, room)
  np.testing.assert_allclose(y, want, atol=1e-4)
  np.testing.assert_allclose(dropped, lost, atol=1e-6)
  assert (lost > 0).all() if capacity else not lost.any()


def test_balance_is_one_when_even_and_counts_real_tokens_alone():
  even = jnp.full((1, E, E), 1 / E), jnp.arange(E).reshape(1, E, 1)
  assert float(moe.balance(*even, jnp.ones((1, E)))[0]) == pytest.approx(1)
  one = jax.nn.one_hot(jnp.zeros((1, E), int), E), jnp.zeros((1, E, 1), int)
  assert float(moe.balance(*one, jnp.ones((1, E)))[0]) == pytest.approx(E)
  half = jnp.concatenate([even[0], one[0]], 1), jnp.concatenate([even[1], one[1]], 1)
  mask = jnp.array([[1] * E + [0] * E])
  assert float(moe.balance(*half, mask)[0]) == pytest.approx(1)


def network(**fields):
  return small(E=4, top=2, F=8, **fields)


def test_no_token_sees_the_future_even_where_experts_are_full():
  net, params = network(capacity=0.6)
  tokens = jax.random.randint(jax.random.key(2), (3, 12), 0, 23)
  before = apply(net, params, tokens)
  _, sown = net.apply({'params': params}, tokens, mutable='balance')
  assert float(moe.balances(sown)['dropped'].min()) > 0
  for t in (1, 6, 11):
    after = apply(net, params, tokens.at[:, t].set((tokens[:, t] + 1) % 23))
    np.testing.assert_array_equal(after[:, :t], before[:, :t])


def test_padding_takes_no_room():
  net, params = network(capacity=0.6)
  tokens = jax.random.randint(jax.random.key(2), (3, 12), 0, 23)
  segments = jnp.array([[1] * 8 + [0] * 4] * 3)
  a, b = (apply(net, params, x, None, segments)[:, :8] for x in (tokens, tokens.at[:, 8:].set(0)))
  np.testing.assert_array_equal(a, b)


def test_one_expert_is_a_feed_forward_network():
  net, params = small(E=1, top=1)
  experts = params['layers']['experts']
  dense = {k: {'w': experts[k]['w'][:, 0]} for k in ('gate', 'up', 'down')}
  layers = {k: x for k, x in params['layers'].items() if k != 'experts'} | dense
  tokens = jax.random.randint(jax.random.key(2), (3, 12), 0, 23)
  out = apply(model.Transformer(small()[0].config), {**params, 'layers': layers}, tokens)
  np.testing.assert_allclose(apply(net, params, tokens), out, atol=1e-5)
