"""The network: a decoder-only Transformer shaped as Qwen3, in Flax linen, with an `lm` or a `scalar` head.

Pre-norm RMSNorm (Zhang & Sennrich 2019), rotary positions (Su et al. 2021), grouped-query attention
(Ainslie et al. 2023) with normalised queries and keys, SwiGLU (Shazeer 2020). One equation a weight:
it gives the weight's shape, its fan-in and, by the letters, its place on the mesh. Caches are
arguments and results, never hidden state.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from zhlm import losses
from zhlm.sharding import constrain


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes by letter (`sharding.py` has the legend) and a few choices; see `configs/base.py`."""

  V: int
  D: int
  F: int
  N: int
  H: int
  G: int
  K: int
  rope_theta: float
  norm_eps: float
  tied: bool  # logits through the transposed embedding
  remat: bool  # recompute a block's activations in the backward pass
  dtype: str  # of the matrix products; weights, norms, softmax and losses are float32


class Einsum(nn.Module):
  """A projection by its equation, `BTD,DHK->BTHK`."""

  equation: str
  config: Config
  zero: bool = False  # begin with zeros

  @nn.compact
  def __call__(self, x):
    inputs, output = self.equation.split('->')
    left, letters = inputs.split(',')
    shape = [getattr(self.config, letter) for letter in letters]
    contracted = [n for letter, n in zip(letters, shape, strict=True) if letter in left]
    fan_in = math.prod(contracted)
    init = nn.initializers.zeros if self.zero else nn.initializers.normal(fan_in**-0.5)
    w = self.param('w', nn.with_logical_partitioning(init, tuple(letters)), shape, jnp.float32)
    # The same product as jnp.einsum, as one 2-D matmul: XLA's CPU backend runs it a quarter faster.
    rows = x.shape[: x.ndim - len(contracted)]
    y = x.reshape(-1, fan_in) @ w.astype(x.dtype).reshape(fan_in, -1)
    return y.reshape(*rows, *shape[len(contracted) :])


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


def rope(x_BTHK, positions_BT, theta):
  """Rotates the two halves of each head by position (Su et al. 2021, eq. 34; Llama's half layout)."""
  half = x_BTHK.shape[-1] // 2
  frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions_BT[:, :, None, None].astype(jnp.float32) * frequency
  a, b = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x_BTHK.dtype)


def read_targets(x_BTD, head_DV, targets_BT, temperature, chunk=8_192):
  """(log π of the targets, entropy), [B, T] float32. Above `chunk` tokens the logits are never held
  whole: they are made part by part, and again in the backward pass."""
  B, T, D = x_BTD.shape
  n = next(n for n in range(1, T + 1) if T % n == 0 and (B * T // n <= chunk or n == T))

  def read(x_BTD, targets_BT):
    logits = (x_BTD.reshape(-1, D) @ head_DV).reshape(*targets_BT.shape, -1)
    logits_BTV = constrain(logits, 'BTV').astype(jnp.float32)
    return losses.log_probs(logits_BTV / temperature, targets_BT)

  if n == 1:
    return read(x_BTD, targets_BT)
  again = jax.checkpoint(read, prevent_cse=False)
  parts = jax.tree.map(lambda y: y.reshape(B, n, T // n, *y.shape[2:]).swapaxes(0, 1), (x_BTD, targets_BT))
  _, out = jax.lax.scan(lambda _, part: (None, again(*part)), None, parts)
  return jax.tree.map(lambda y: y.swapaxes(0, 1).reshape(B, T), out)


class Block(nn.Module):
  """One layer, at first the identity. The carry is (x, cache); scanned over the layer's number n."""

  config: Config

  @nn.compact
  def __call__(self, carry, positions_BT, mask_BTS, n):
    c = self.config
    x_BTD, cache = carry
    y_BTD = Norm(c.norm_eps, name='norm_attention')(x_BTD)
    q_BTHK = Einsum('BTD,DHK->BTHK', c, name='q')(y_BTD)
    k_BTGK = Einsum('BTD,DGK->BTGK', c, name='k')(y_BTD)
    v_BTGK = Einsum('BTD,DGK->BTGK', c, name='v')(y_BTD)
    q_BTHK = rope(Norm(c.norm_eps, name='norm_q')(q_BTHK), positions_BT, c.rope_theta)
    k_BTGK = rope(Norm(c.norm_eps, name='norm_k')(k_BTGK), positions_BT, c.rope_theta)
    k_BSGK, v_BSGK = k_BTGK, v_BTGK
    if cache is not None:
      # Rows stand at different lengths, so each writes at its own positions.
      rows = jnp.arange(x_BTD.shape[0])[:, None]
      cache = {
        'k': cache['k'].at[n, rows, positions_BT].set(k_BTGK),
        'v': cache['v'].at[n, rows, positions_BT].set(v_BTGK),
      }
      k_BSGK, v_BSGK = cache['k'][n], cache['v'][n]
    a_BTHK = jax.nn.dot_product_attention(q_BTHK, k_BSGK, v_BSGK, mask=mask_BTS[:, None])
    x_BTD += Einsum('BTHK,HKD->BTD', c, zero=True, name='o')(a_BTHK)
    x_BTD = constrain(x_BTD, 'BTD')
    y_BTD = Norm(c.norm_eps, name='norm_mlp')(x_BTD)
    gate_BTF = Einsum('BTD,DF->BTF', c, name='gate')(y_BTD)
    up_BTF = Einsum('BTD,DF->BTF', c, name='up')(y_BTD)
    h_BTF = constrain(jax.nn.silu(gate_BTF) * up_BTF, 'BTF')
    x_BTD += Einsum('BTF,FD->BTD', c, zero=True, name='down')(h_BTF)
    return (constrain(x_BTD, 'BTD'), cache), None


class Transformer(nn.Module):
  """Tokens to logits (`head='lm'`) or to one number a position (`head='scalar'`)."""

  config: Config
  head: str = 'lm'

  @nn.compact
  def __call__(
    self,
    tokens_BT,
    positions_BT=None,
    segments_BT=None,
    cache=None,
    targets_BT=None,
    temperature=1.0,
  ):
    """Returns (out, cache); out, in float32, is values_BT of a scalar head, else logits_BTV, or, given
    targets_BT, the pair (log π(target), entropy) of [B, T].

    segments_BT: tokens see only their own segment's past. cache: see `init_cache`; with it the keys are
    all that the cache holds up to each position.
    """
    c = self.config
    T = tokens_BT.shape[1]
    if positions_BT is None:
      positions_BT = jnp.broadcast_to(jnp.arange(T), tokens_BT.shape)
    if cache is None:
      mask_BTS = jnp.tril(jnp.ones((T, T), bool))[None]
      if segments_BT is not None:
        mask_BTS &= segments_BT[:, :, None] == segments_BT[:, None, :]
    else:
      mask_BTS = jnp.arange(cache['k'].shape[2]) <= positions_BT[:, :, None]

    init = nn.initializers.normal(0.02)  # small, or a tied head begins by repeating the last token
    embed_VD = self.param('embed', nn.with_logical_partitioning(init, ('V', 'D')), (c.V, c.D))
    # Gather D first: a lookup in a table cut along both axes makes XLA copy all of it.
    x_BTD = constrain(embed_VD, 'V_').astype(c.dtype)[tokens_BT]
    x_BTD = constrain(x_BTD, 'BTD')
    block = nn.remat(Block, prevent_cse=False) if c.remat else Block
    layers = nn.scan(
      block,
      variable_axes={'params': 0},
      split_rngs={'params': True},
      in_axes=(nn.broadcast, nn.broadcast, 0),
      length=c.N,
      metadata_params={nn.PARTITION_NAME: 'N'},
    )(c, name='layers')
    (x_BTD, cache), _ = layers((x_BTD, cache), positions_BT, mask_BTS, jnp.arange(c.N))
    x_BTD = Norm(c.norm_eps, name='norm')(x_BTD)

    if self.head == 'scalar':
      # N(0, 1/sqrt(D+1)): Stiennon et al. 2020, without the misprint that drops the root.
      init = nn.with_logical_partitioning(nn.initializers.normal((c.D + 1) ** -0.5), ('D',))
      bias = nn.with_logical_partitioning(nn.initializers.zeros, ('_',))
      w_D = self.param('score', init, (c.D,), jnp.float32)
      b = self.param('score_bias', bias, (1,), jnp.float32)
      return x_BTD.astype(jnp.float32) @ w_D + b, cache
    if c.tied:
      head_DV = embed_VD.T
    else:
      init = nn.with_logical_partitioning(nn.initializers.normal(c.D**-0.5), ('D', 'V'))
      head_DV = self.param('head', init, (c.D, c.V), jnp.float32)
    head_DV = head_DV.astype(c.dtype)
    if targets_BT is not None:
      return read_targets(x_BTD, head_DV, targets_BT, temperature), cache
    logits = x_BTD.reshape(-1, c.D) @ head_DV
    return constrain(logits.reshape(*tokens_BT.shape, c.V), 'BTV').astype(jnp.float32), cache


def make(config, head='lm'):
  """The module for `config.model` (a ConfigDict)."""
  return Transformer(Config(**config.model), head)
