"""The network: a decoder-only Transformer, Qwen3's unless its config says otherwise, in Flax linen.

Pre-norm RMSNorm (Zhang & Sennrich 2019), rotary positions (`rope.py`), grouped-query attention (Ainslie et
al. 2023; `attention.py`), SwiGLU (Shazeer 2020) or experts (`moe.py`). One equation a weight: it gives the
weight's shape, its fan-in and, by the letters, its place on the mesh. Caches are arguments and results,
never hidden state. The options are what the open Chinese models differ in; `convert/` opens those.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from zhlm import losses, moe, rope, sharding
from zhlm.attention import attend
from zhlm.layers import REMAT, Config, Einsum, Norm
from zhlm.sharding import constrain


def read_logits(x_BTD, head_DV, scale=1.0):
  """Logits_BTV in float32. D of the head is gathered first: else it would be for each part of a row."""
  head_DV = constrain(head_DV.astype(x_BTD.dtype), '_V')
  whole = sharding.parts('T') == 1  # then as one 2-D matmul; see layers.Einsum
  logits = (x_BTD.reshape(-1, x_BTD.shape[2]) if whole else x_BTD) @ head_DV
  return constrain(logits.reshape(*x_BTD.shape[:2], -1), 'BTV').astype(jnp.float32) * scale


def read_targets(x_BTD, head_DV, targets_BT, temperature, scale=1.0, chunk=2_048):
  """(log π of the targets, entropy), [B, T] float32. Above `chunk` tokens on a device the logits are never
  held whole: they are made part by part, and again in the backward pass. A part is every n-th token, so
  that each has tokens of all devices where T is cut. head_DV is float32: so its gradients add up."""
  B, T, _ = x_BTD.shape
  most, sequence = chunk * sharding.parts('BT'), sharding.parts('T')
  fits = (n for n in range(1, T) if most * n >= B * T and T % n == 0 and (n == 1 or T // n % sequence == 0))
  n = next(fits, T)

  def read(x_BTD, targets_BT):
    return losses.log_probs(read_logits(x_BTD, head_DV, scale) / temperature, targets_BT)

  if n == 1:
    return read(x_BTD, targets_BT)
  again = jax.checkpoint(read, prevent_cse=False)
  parts = jax.tree.map(
    lambda y: jnp.moveaxis(y.reshape(B, T // n, n, *y.shape[2:]), 2, 0), (x_BTD, targets_BT)
  )
  _, out = jax.lax.scan(lambda _, part: (None, again(*part)), None, parts)
  return jax.tree.map(lambda y: jnp.moveaxis(y, 0, 2).reshape(B, T), out)


class Block(nn.Module):
  """One layer, at first the identity. The carry is (x, cache); scanned over the layer's number n."""

  config: Config

  @nn.compact
  def __call__(self, carry, positions_BT, segments_BT, n):
    c = self.config
    x_BTD, cache = carry

    def norm(name, x):
      return Norm(c.norm_eps, name=name)(x)

    def placed(name, x_BTHK):
      if c.qk_norm == 'after':
        return norm(name, rope.rotate(x_BTHK, positions_BT, c))
      return rope.rotate(norm(name, x_BTHK) if c.qk_norm else x_BTHK, positions_BT, c)

    def add(name, x_BTD, y_BTD):
      y_BTD = norm(name, y_BTD) if c.sandwich else y_BTD
      return constrain(x_BTD + y_BTD * c.residual_scale, 'BTD')

    y_BTD = norm('norm_attention', x_BTD)
    q_BTHK = placed('norm_q', Einsum('BTD,DHK->BTHK', c, bias=c.qkv_bias, name='q')(y_BTD))
    k_BTGK = placed('norm_k', Einsum('BTD,DGK->BTGK', c, bias=c.qkv_bias, name='k')(y_BTD))
    v_BTGK = Einsum('BTD,DGK->BTGK', c, bias=c.qkv_bias, name='v')(y_BTD)
    if cache is None:  # where the mesh cuts T, every device gathers all keys: S is not cut
      k_BSGK, v_BSGK, at = constrain(k_BTGK, 'BSGK'), constrain(v_BTGK, 'BSGK'), None
    else:  # rows stand at different lengths, so each writes at its own positions
      rows, at = jnp.arange(x_BTD.shape[0])[:, None], positions_BT
      cache = {
        'k': cache['k'].at[n, rows, :, positions_BT].set(k_BTGK),
        'v': cache['v'].at[n, rows, :, positions_BT].set(v_BTGK),
      }
      k_BSGK, v_BSGK = (cache[name][n].swapaxes(1, 2) for name in 'kv')
    # muP (Yang et al. 2022, definition 4.1): 1/K, once queries and keys agree; at K=64 as without it.
    scale = c.attention_scale or (8 / c.K if c.mup_D else c.K**-0.5)
    how = dict(scale=scale, window=c.window, implementation=c.attention)
    a_BTHK = attend(q_BTHK, k_BSGK, v_BSGK, positions_BT=at, segments_BT=segments_BT, **how)
    a_BTD = Einsum('BTHK,HKD->BTD', c, zero=True, bias=c.o_bias, name='o')(a_BTHK)
    x_BTD = add('norm_attention_after', x_BTD, a_BTD)
    y_BTD = norm('norm_mlp', x_BTD)
    y_BTD = moe.Experts(c, name='experts')(y_BTD, segments_BT) if c.E else self.mlp(y_BTD)
    return (add('norm_mlp_after', x_BTD, y_BTD), cache), None

  def mlp(self, y_BTD):
    """SwiGLU: down(silu(gate(x)) · up(x))."""
    c = self.config
    gate_BTF = Einsum('BTD,DF->BTF', c, name='gate')(y_BTD)
    up_BTF = Einsum('BTD,DF->BTF', c, name='up')(y_BTD)
    h_BTF = constrain(jax.nn.silu(gate_BTF) * up_BTF, 'BTF')
    return Einsum('BTF,FD->BTD', c, zero=True, name='down')(h_BTF)


class Transformer(nn.Module):
  """Tokens to logits (`head='lm'`), to one number a position (`head='scalar'`), or to `both`."""

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
    columns_BW=None,
  ):
    """Returns (out, cache); out, in float32, is values_BT of a scalar head, else logits_BTV, or, given
    targets_BT, the pair (log π(target), entropy) of [B, T]; of both heads, (the latter, values_BT).

    segments_BT: tokens see only their own segment's past. cache: see `init_cache`; with it the keys are
    all that the cache holds up to each position. columns_BW: those of each row at which logits are wanted,
    for they are most of a small model's work: logits_BWV; given targets_BT, the pair is 0 elsewhere.
    """
    c = self.config
    if positions_BT is None:
      positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    init = nn.initializers.normal(0.02)  # small, or a tied head begins by repeating the last token
    embed_VD = self.param('embed', nn.with_logical_partitioning(init, ('V', 'D')), (c.V, c.D))
    # Gather D first: a lookup in a table cut along both axes makes XLA copy all of it.
    x_BTD = constrain(embed_VD, 'V_').astype(c.dtype)[tokens_BT] * c.embed_scale
    x_BTD = constrain(x_BTD, 'BTD')
    layers = nn.scan(
      nn.remat(Block, prevent_cse=False, policy=REMAT[c.remat]) if c.remat != 'none' else Block,
      variable_axes={'params': 0, 'balance': 0},
      split_rngs={'params': True},
      in_axes=(nn.broadcast, nn.broadcast, 0),
      length=c.N,
      unroll=c.unroll,
      metadata_params={nn.PARTITION_NAME: 'N'},
    )(c, name='layers')
    (x_BTD, cache), _ = layers((x_BTD, cache), positions_BT, segments_BT, jnp.arange(c.N))
    x_BTD = Norm(c.norm_eps, name='norm')(x_BTD)

    if self.head != 'lm':
      # N(0, 1/sqrt(D+1)): Stiennon et al. 2020, without the misprint that drops the root.
      init = nn.with_logical_partitioning(nn.initializers.normal((c.D + 1) ** -0.5), ('D',))
      bias = nn.with_logical_partitioning(nn.initializers.zeros, ('_',))
      w_D = self.param('score', init, (c.D,), jnp.float32)
      b = self.param('score_bias', bias, (1,), jnp.float32)
      values_BT = x_BTD.astype(jnp.float32) @ w_D + b
      if self.head == 'scalar':
        return values_BT, cache
    if c.tied:
      head_DV = embed_VD.T
    else:
      # With muP the factor on the logits makes them small, and these weights are alike at every width.
      deviation = (c.mup_D or c.D) ** -0.5
      init = nn.with_logical_partitioning(nn.initializers.normal(deviation), ('D', 'V'))
      head_DV = self.param('head', init, (c.D, c.V), jnp.float32)
    # muP (Yang et al. 2022, table 8): what the head adds up grows with the width.
    scale = c.logit_scale * (c.mup_D / c.D if c.mup_D else 1.0)
    if columns_BW is not None:
      x_BTD = jnp.take_along_axis(x_BTD, columns_BW[:, :, None], 1)
    if targets_BT is None:
      out = read_logits(x_BTD, head_DV, scale)
    elif columns_BW is None:
      out = read_targets(x_BTD, head_DV, targets_BT, temperature, scale)
    else:
      targets_BW = jnp.take_along_axis(targets_BT, columns_BW, 1)
      pair_BW = read_targets(x_BTD, head_DV, targets_BW, temperature, scale)
      at = jnp.arange(len(columns_BW))[:, None], columns_BW
      out = jax.tree.map(lambda x_BW: jnp.zeros(targets_BT.shape).at[at].set(x_BW), pair_BW)
    return (out, values_BT) if self.head == 'both' else out, cache


def make(config, head='lm'):
  """The module for `config.model` (a ConfigDict)."""
  return Transformer(Config(**config.model), head)


def without_adapters(net):
  """The same module, which reads the same weights and passes over their adapters."""
  return net.clone(config=dataclasses.replace(net.config, lora_rank=0))
