"""One number an array: by the formula, on every mesh, and never the same after a bit has changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zhlm import devices, fingerprint, sharding
from zhlm.errors import InputError

RNG = np.random.default_rng(0)


def by_hand(x):
  """The formula as a plain loop over Python's integers."""
  x = np.asarray(x).reshape(-1)
  bits = x.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize]).tolist()
  return sum(b * (i * 2_654_435_761 % 2**32 | 1) for i, b in enumerate(bits)) % 2**32


@pytest.mark.parametrize(
  'x',
  [
    RNG.normal(size=(5, 4, 3)).astype(np.float32),
    RNG.integers(-9, 9, (7, 2), np.int32),
    RNG.normal(size=(6, 3)).astype(jnp.bfloat16),
    RNG.normal(size=(6, 3)).astype(np.float16),
    np.array([True, False, True]),
    np.arange(250, 256, dtype=np.uint8),
    np.float32(3.5),
    np.zeros((0, 3), np.float32),
  ],
  ids=lambda x: f'{x.dtype}{x.shape}',
)
def test_it_is_the_sum_of_bits_times_odd_numbers(x):
  x = np.asarray(x)
  kind = f'{x.dtype}{list(x.shape)}'.replace(' ', '')
  assert fingerprint.of({'a': {'b': jnp.asarray(x)}}) == {'a/b': [kind, by_hand(x)]}


@pytest.mark.parametrize('sizes', [dict(fsdp=8), dict(data=2, fsdp=2, tensor=2), dict(tensor=8)])
def test_every_mesh_finds_the_same(sizes):
  x = jnp.asarray(RNG.normal(size=(2, 16, 8)), jnp.float32)
  mesh = devices.make_mesh(dict.fromkeys(sharding.MESH_AXES, 1) | sizes)
  with jax.set_mesh(mesh):
    cut = jax.device_put(x, sharding.sharding(mesh, 'NDF', x.shape))
    assert len({str(s.index) for s in cut.addressable_shards}) > 1
    assert fingerprint.of([cut]) == fingerprint.of([x]) == {'0': ['float32[2,16,8]', by_hand(x)]}


def test_every_flipped_bit_and_every_exchange_shows():
  x = RNG.normal(size=(3, 4)).astype(np.float32)
  one = jax.jit(fingerprint._one)
  seen = int(one(x))
  for place in range(12):
    for bit in range(32):
      y = x.copy()
      y.view(np.uint32).reshape(-1)[place] ^= np.uint32(1 << bit)
      assert int(one(y)) != seen, (place, bit)
  assert int(one(x[::-1])) != seen and int(one(x[:, ::-1])) != seen


def test_what_does_not_fit_is_named():
  saved = fingerprint.of({'w': jnp.zeros((2, 3)), 'b': jnp.zeros(3)})
  fingerprint.fits({'w': jax.ShapeDtypeStruct((2, 3), jnp.float32)}, saved, 'x')  # one of two is enough
  for shape, dtype in (((3, 2), jnp.float32), ((2, 3), jnp.bfloat16)):
    with pytest.raises(InputError, match=r'^x: w is float32\[2,3\] there, and '):
      fingerprint.fits({'w': jax.ShapeDtypeStruct(shape, dtype)}, saved, 'x')
  with pytest.raises(InputError, match='v is nothing there'):
    fingerprint.fits({'v': jax.ShapeDtypeStruct((), jnp.float32)}, saved, 'x')
