"""Experts in place of the feed-forward network: each token goes to the few that its router prefers.

Routing is Qwen3-MoE's (softmax over all experts, then the best `top`); each expert has a fixed number of
slots in each row of the batch, taken in the order of the tokens, so what is dropped never depends on the
future (GShard, Lepikhin et al. 2020, orders by choice instead). Slots are filled by index, not by a product
with one-hot matrices: no arithmetic is spent on it. Letters: E experts, J choices of a token, L slots.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from zhlm.layers import Config, Einsum
from zhlm.sharding import constrain


def route(logits_BTE, top, normalised):
  """(weights_BTJ, experts_BTJ, probabilities_BTE), in float32: the `top` likeliest experts of each token;
  their weights sum to one where `normalised`, else to their share of the softmax."""
  p_BTE = jax.nn.softmax(logits_BTE.astype(jnp.float32), -1)
  w_BTJ, e_BTJ = jax.lax.top_k(p_BTE, top)
  if normalised:
    w_BTJ /= w_BTJ.sum(-1, keepdims=True)
  return w_BTJ, e_BTJ, p_BTE


def balance(p_BTE, e_BTJ, mask_BT):
  """E · Σ_e f_e·P_e of each row over its real tokens, [B]: f the share of choices that fell on expert e, P
  its mean probability; 1 when all are used alike (Fedus et al. 2021, eq. 4, over a sequence as in
  DeepSeek-V3, eq. 17: so microbatches and hosts add up)."""
  mask_BT1 = mask_BT[..., None].astype(jnp.float32)
  n_B1 = jnp.maximum(mask_BT1.sum(1), 1.0)
  E = p_BTE.shape[-1]
  chosen_BTE = jax.nn.one_hot(e_BTJ, E).mean(2)
  f_BE, P_BE = ((x * mask_BT1).sum(1) / n_B1 for x in (chosen_BTE, p_BTE))
  return E * (f_BE * P_BE).sum(-1)


def slots(e_BTJ, E, L):
  """Where each choice goes: (its slot in its expert, [B, T, J], L or more where there is no room; the token
  in each slot, [B, E, L], T where none is)."""
  B, T, J = e_BTJ.shape
  e_BM = e_BTJ.reshape(B, T * J)
  before_BME = jnp.cumsum(jax.nn.one_hot(e_BM, E, dtype=jnp.int32), 1) - 1
  slot_BM = jnp.take_along_axis(before_BME, e_BM[..., None], -1)[..., 0]
  rows_B1, tokens_M = jnp.arange(B)[:, None], jnp.arange(T * J) // J
  token_BEL = jnp.full((B, E, L), T, jnp.int32).at[rows_B1, e_BM, slot_BM].set(tokens_M, mode='drop')
  return slot_BM.reshape(B, T, J), token_BEL


def mix(x_BTD, w_BTJ, e_BTJ, gate_EDF, up_EDF, down_EFD, capacity):
  """Σ_j w_j · expert_j(x), with SwiGLU experts. Returns (y_BTD, share of choices dropped, [B]).

  capacity: slots of an expert in even shares of the row's choices; 0 is a slot for every token. Between
  the mesh's axes this is two all-to-alls: rows are cut by `expert`, and then experts are.
  """
  B, T, D = x_BTD.shape
  E, J = gate_EDF.shape[0], e_BTJ.shape[-1]
  L = min(T, math.ceil(capacity * T * J / E)) if capacity else T
  slot_BTJ, token_BEL = slots(e_BTJ, E, L)
  padded_BTD = jnp.pad(x_BTD, ((0, 0), (0, 1), (0, 0)))  # token T, for slots that are free
  x_BELD = jnp.take_along_axis(padded_BTD, token_BEL.reshape(B, E * L, 1), 1).reshape(B, E, L, D)
  x_EBLD = constrain(constrain(x_BELD, 'B___').swapaxes(0, 1), 'EBLD')
  h_EBLF = jax.nn.silu(jnp.einsum('EBLD,EDF->EBLF', x_EBLD, gate_EDF))
  h_EBLF = constrain(h_EBLF * jnp.einsum('EBLD,EDF->EBLF', x_EBLD, up_EDF), 'EBLF')
  y_EBLD = constrain(jnp.einsum('EBLF,EFD->EBLD', h_EBLF, down_EFD), 'EBLD')
  y_BELD = constrain(y_EBLD.swapaxes(0, 1), 'B___')
  kept_BTJ = slot_BTJ < L
  places_BM = jnp.where(kept_BTJ, e_BTJ * L + slot_BTJ, 0).reshape(B, T * J)
  y_BTJD = jnp.take_along_axis(y_BELD.reshape(B, E * L, D), places_BM[..., None], 1).reshape(B, T, J, D)
  y_BTD = (y_BTJD * (w_BTJ * kept_BTJ)[..., None].astype(x_BTD.dtype)).sum(2)
  return y_BTD, 1 - kept_BTJ.mean((1, 2))


class Expert(nn.Module):
  """The weights of one projection of all experts; the last one begins with zeros."""

  letters: str
  config: Config

  @nn.compact
  def __call__(self):
    c, (_, fan_in, _) = self.config, self.letters
    normal = nn.initializers.normal(getattr(c, fan_in) ** -0.5)
    init = nn.initializers.zeros if fan_in == 'F' else normal
    shape = [getattr(c, letter) for letter in self.letters]
    w = self.param('w', nn.with_logical_partitioning(init, tuple(self.letters)), shape, jnp.float32)
    return w.astype(c.dtype)


class Experts(nn.Module):
  """The experts of one layer. Sows `balance` and `dropped`, of [B], for a caller with mutable='balance'."""

  config: Config

  @nn.compact
  def __call__(self, x_BTD, segments_BT):
    c = self.config
    gate, up, down = (
      Expert(letters, c, name=name)() for name, letters in (('gate', 'EDF'), ('up', 'EDF'), ('down', 'EFD'))
    )
    logits_BTE = Einsum('BTD,DE->BTE', c, name='router')(x_BTD.astype(jnp.float32))
    w_BTJ, e_BTJ, p_BTE = route(logits_BTE, c.top, c.top_normalised)
    y_BTD, dropped_B = mix(x_BTD, w_BTJ, e_BTJ, gate, up, down, c.capacity)
    mask_BT = jnp.ones(x_BTD.shape[:2]) if segments_BT is None else segments_BT > 0
    self.sow('balance', 'balance', balance(p_BTE, e_BTJ, mask_BT))
    self.sow('balance', 'dropped', dropped_B)
    return y_BTD


def balances(sown):
  """What `Experts` sowed in all layers -> {'balance', 'dropped'}, of [B]: means over the layers."""
  told = sown['balance']['layers']['experts']
  return {name: x[0].mean(0) for name, x in told.items()}
