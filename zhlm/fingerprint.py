"""A number for what an array holds, the same however it is cut over devices: saved and restored must agree.

Sums of unsigned integers modulo 2**32 may be taken in any order, so every mesh finds the same one. Each
element's bits are multiplied by an odd number of its own place: a flipped bit always changes the sum, and
what was exchanged or damaged otherwise goes unseen once in four thousand million times.
"""

import functools
import hashlib
import json
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from zhlm.errors import InputError

_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}  # eight bytes are two of four


def _one(x):
  """An array of any shape -> uint32."""
  if x.dtype == jnp.bool_:
    x = x.astype(jnp.uint8)
  bits = jax.lax.bitcast_convert_type(x, _UNSIGNED[x.dtype.itemsize]).astype(jnp.uint32)
  # The place in the flattened array, without flattening it: a reshape would gather what is cut.
  place = jnp.uint32(0)
  for axis in range(bits.ndim):
    stride = jnp.uint32(math.prod(bits.shape[axis + 1 :]) % 2**32)
    place += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * stride
  return jnp.sum(bits * (place * jnp.uint32(2_654_435_761) | 1), dtype=jnp.uint32)


@jax.jit
def _all(leaves):
  numbers = jnp.stack([_one(x) for x in leaves])
  if jax.sharding.get_abstract_mesh().empty:
    return numbers
  return jax.lax.with_sharding_constraint(numbers, P())  # every process reads all of them


def _named(tree):
  name = functools.partial(jax.tree_util.keystr, simple=True, separator='/')
  return {name(path): x for path, x in jax.tree.leaves_with_path(tree)}


def _kind(x):
  return f'{x.dtype}{list(x.shape)}'.replace(' ', '')


def of(tree):
  """{path: ['float32[2,3]', number]} of a tree of arrays. Computed where they are; waits for them."""
  named = _named(tree)
  numbers = jax.device_get(_all(list(named.values()))).tolist() if named else []
  return {path: [_kind(x), n] for (path, x), n in zip(named.items(), numbers, strict=True)}


def digest(tree):
  """All of `of` in sixteen letters."""
  return hashlib.sha256(json.dumps(of(tree), sort_keys=True).encode()).hexdigest()[:16]


def fits(wanted, saved, what):
  """Raises InputError when a tree of shapes asks for a leaf that `saved`, what `of` said, does not have."""
  for path, x in _named(wanted).items():
    there = saved.get(path, ['nothing'])[0]
    if there != _kind(x):
      raise InputError(f'{what}: {path} is {there} there, and {_kind(x)} here')
