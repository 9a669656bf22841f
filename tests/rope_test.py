"""Rotary positions by their definition, and each scaling by what its paper promises of a wave."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model_test import small
from zhlm import rope
from zhlm.errors import InputError


def config(**fields):
  return dataclasses.replace(small()[0].config, **{'K': 16, 'rope_theta': 10_000.0, **fields})


def turned(x_K, position, c):
  """Complex multiplication, pair by pair."""
  radians, factor = rope.frequencies(c)
  out, n = np.array(x_K, np.float64), len(radians)
  for i, r in enumerate(radians):
    p, q = (2 * i, 2 * i + 1) if c.rope_interleaved else (i, i + n)
    z = complex(x_K[p], x_K[q]) * complex(math.cos(r * position), math.sin(r * position)) * factor
    out[p], out[q] = z.real, z.imag
  return out


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'rope_interleaved': True},
    {'rope_fraction': 0.5},
    {'rope_fraction': 0.5, 'rope_interleaved': True},
    {'rope_scaling': 'yarn', 'rope_factor': 4.0, 'rope_T': 64},
  ],
)
def test_a_rotation_is_a_complex_product_of_each_pair(fields):
  c = config(**fields)
  x_BTHK = jax.random.normal(jax.random.key(0), (2, 3, 2, 16))
  positions_BT = jnp.array([[0, 1, 2], [7, 50, 3]])
  out = rope.rotate(x_BTHK, positions_BT, c)
  for b, t, h in np.ndindex(2, 3, 2):
    want = turned(np.asarray(x_BTHK[b, t, h]), int(positions_BT[b, t]), c)
    np.testing.assert_allclose(out[b, t, h], want, atol=1e-5)


def plain(**fields):
  return rope.frequencies(config(**fields))[0]


def test_linear_divides_every_frequency():
  np.testing.assert_allclose(plain(rope_scaling='linear', rope_factor=4.0), plain() / 4)


def test_ntk_keeps_the_shortest_wave_and_divides_the_longest_by_the_factor():
  scaled = plain(rope_scaling='ntk', rope_factor=8.0) / plain()
  assert scaled[0] == 1 and scaled[-1] == pytest.approx(1 / 8)
  assert (np.diff(scaled) < 0).all()


@pytest.mark.parametrize('kind', ['llama3', 'yarn'])
def test_short_waves_stay_long_ones_are_divided_and_those_between_blend(kind):
  how = dict(K=64, rope_scaling=kind, rope_factor=8.0, rope_T=2_048)
  low, high = (1.0, 4.0) if kind == 'llama3' else (1.0, 32.0)
  before, after = plain(K=64), plain(**how)
  turns, share = 2_048 * before / (2 * math.pi), after / before
  assert (share[turns > high * 1.4] == 1).all() and (turns > high * 1.4).any()
  np.testing.assert_allclose(share[turns < low / 1.4], 1 / 8)
  assert (turns < low / 1.4).any() and (np.diff(share) <= 0).all() and len(set(share)) > 3


def test_yarn_sharpens_attention():
  how = dict(rope_scaling='yarn', rope_factor=math.e, rope_T=64)
  assert rope.frequencies(config(**how))[1] == pytest.approx(1.1)
  assert rope.frequencies(config(**how, rope_attention=1.5))[1] == 1.5


def test_what_is_no_scaling_is_refused():
  with pytest.raises(InputError, match="'what'; choose from '', 'linear', 'ntk', 'llama3', 'yarn'"):
    plain(rope_scaling='what')
  with pytest.raises(InputError, match="'yarn' needs model.rope_T"):
    plain(rope_scaling='yarn')
