"""Attention: which keys a query sees, and the weighted mean of their values."""

import jax
import jax.numpy as jnp


def attend(
  q_BTHK, k_BSGK, v_BSGK, *, positions_BT=None, segments_BT=None, scale, window=0, implementation='auto'
):
  """a_BTHK. positions_BT: of the queries in the cache whose slots the keys are; None: keys and queries are
  the same tokens, which see those before them, of their own segment where segments_BT is given."""
  T, S = q_BTHK.shape[1], k_BSGK.shape[1]
  at_BT1 = jnp.arange(T)[None, :, None] if positions_BT is None else positions_BT[..., None]
  mask_BTS = jnp.arange(S) <= at_BT1
  if window:
    mask_BTS &= jnp.arange(S) > at_BT1 - window
  if segments_BT is not None:
    mask_BTS &= segments_BT[:, :, None] == segments_BT[:, None, :]
  return jax.nn.dot_product_attention(q_BTHK, k_BSGK, v_BSGK, mask=mask_BTS[:, None], scale=scale)
