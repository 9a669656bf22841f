"""What blocks are made of: the choices, a projection by its equation, and the norm."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from zhlm.errors import InputError
from zhlm.sharding import parts

REMAT = {  # what a block keeps for the backward pass, beside its input
  'none': jax.checkpoint_policies.everything_saveable,
  'full': jax.checkpoint_policies.nothing_saveable,
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
QK_NORM = ('before', 'after', '')


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes by letter (`sharding.py` has the legend) and choices; `configs/base.py` explains each."""

  V: int
  D: int
  F: int
  N: int
  H: int
  G: int
  K: int
  rope_theta: float
  rope_fraction: float
  rope_interleaved: bool
  rope_scaling: str
  rope_factor: float
  rope_T: int
  rope_low: float
  rope_high: float
  rope_slow: float
  rope_fast: float
  rope_attention: float
  norm_eps: float
  qk_norm: str
  qkv_bias: bool
  o_bias: bool
  sandwich: bool
  window: int
  tied: bool
  embed_scale: float
  residual_scale: float
  logit_scale: float
  attention_scale: float
  mup_D: int
  E: int
  top: int
  top_normalised: bool
  balance_cost: float
  capacity: float
  lora_rank: int
  lora_alpha: float
  lora_on: tuple
  attention: str
  remat: str
  unroll: int
  dtype: str

  def __post_init__(self):
    object.__setattr__(self, 'lora_on', tuple(self.lora_on))  # JSON has lists, which have no hash
    for field, choices in (('remat', tuple(REMAT)), ('qk_norm', QK_NORM)):
      if getattr(self, field) not in choices:
        raise InputError(
          f'model.{field}={getattr(self, field)!r}; choose from {", ".join(map(repr, choices))}'
        )
    if self.E and not 0 < self.top <= self.E:
      raise InputError(f'model.top={self.top} experts of model.E={self.E}; choose from 1 to {self.E}')


class Einsum(nn.Module):
  """A projection by its equation, `BTD,DHK->BTHK`, with a low-rank adapter where lora_on names it."""

  equation: str
  config: Config
  zero: bool = False  # begin with zeros
  bias: bool = False

  @nn.compact
  def __call__(self, x):
    c = self.config
    inputs, output = self.equation.split('->')
    left, letters = inputs.split(',')
    shape = [getattr(c, letter) for letter in letters]
    summed = sum(letter in left for letter in letters)
    fan_in, rows = math.prod(shape[:summed]), x.shape[: x.ndim - summed]
    normal, zeros = nn.initializers.normal(fan_in**-0.5), nn.initializers.zeros

    def weight(name, init, letters, shape):
      return self.param(name, nn.with_logical_partitioning(init, tuple(letters)), shape, jnp.float32)

    w = weight('w', zeros if self.zero else normal, letters, shape)
    # The same product as jnp.einsum, as one 2-D matmul: XLA's CPU backend runs it a quarter faster. Where
    # the mesh cuts T that would gather it: rows one after another are not cut into blocks.
    x = x.reshape(*(rows if parts('T') > 1 else (-1,)), fan_in)
    y = x @ w.astype(x.dtype).reshape(fan_in, -1)
    if c.lora_rank and self.name in c.lora_on:  # Hu et al. 2021, eq. 3
      a = weight('lora_a', normal, letters[:summed] + 'R', [*shape[:summed], c.lora_rank])
      b = weight('lora_b', zeros, 'R' + letters[summed:], [c.lora_rank, *shape[summed:]])
      low = x @ a.astype(x.dtype).reshape(fan_in, -1)
      y += low @ b.astype(x.dtype).reshape(c.lora_rank, -1) * (c.lora_alpha / c.lora_rank)
    y = y.reshape(*rows, *shape[summed:])
    return y + weight('b', zeros, letters[summed:], shape[summed:]).astype(y.dtype) if self.bias else y


class Norm(nn.Module):
  """RMSNorm over the last axis, in float32 whatever the compute type."""

  eps: float

  @nn.compact
  def __call__(self, x):
    init = nn.with_logical_partitioning(nn.initializers.ones, ('_',))
    w = self.param('w', init, (x.shape[-1],), jnp.float32)
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + self.eps)
    return (x32 * w).astype(x.dtype)
