"""Rotary positions (Su et al. 2021), and their scalings to contexts longer than those of training.

Knows only wavelengths and angles; `config` has the fields `rope_…` of `zhlm.model.Config`.
"""

import math

import jax.numpy as jnp
import numpy as np

from zhlm.errors import InputError

SCALINGS = ('', 'linear', 'ntk', 'llama3', 'yarn')


def frequencies(c):
  """(radians a position of each rotated pair, numpy [K·rope_fraction/2]; factor on queries and keys).

  linear: positions are divided (Chen et al. 2023). ntk: the base grows, so that short waves stay (bloc97
  2023). llama3: waves longer than rope_T/rope_low are divided, shorter than rope_T/rope_high stay, those
  between blend (Llama 3.1's). yarn: the same by turns within rope_T, with a ramp over the pairs' numbers,
  and sharper attention (Peng et al. 2023, eq. 17 to 23). Raises InputError for an unknown scaling.
  """
  size = int(c.K * c.rope_fraction)
  kind, factor = c.rope_scaling, c.rope_factor
  if kind not in SCALINGS:
    raise InputError(f'model.rope_scaling={kind!r}; choose from {", ".join(map(repr, SCALINGS))}')
  if kind in ('llama3', 'yarn') and c.rope_T <= 0:
    raise InputError(f'model.rope_scaling={kind!r} needs model.rope_T, the context that it was trained on')
  theta = c.rope_theta * factor ** (size / (size - 2)) if kind == 'ntk' else c.rope_theta
  plain = theta ** (-np.arange(0, size, 2) / size)
  if kind == 'linear':
    return plain / factor, 1.0
  if kind == 'llama3':
    turns = c.rope_T * plain / (2 * math.pi)
    kept = np.clip((turns - c.rope_low) / (c.rope_high - c.rope_low), 0, 1)
    return (1 - kept) * plain / factor + kept * plain, 1.0
  if kind == 'yarn':

    def pair(turns):  # whose wave makes so many turns within rope_T
      return size * math.log(c.rope_T / (turns * 2 * math.pi)) / (2 * math.log(c.rope_theta))

    low, high = max(math.floor(pair(c.rope_fast)), 0), min(math.ceil(pair(c.rope_slow)), size - 1)
    divided = np.clip((np.arange(size // 2) - low) / max(high - low, 1e-3), 0, 1)
    sharper = c.rope_attention or 0.1 * math.log(factor) + 1.0
    return divided * plain / factor + (1 - divided) * plain, sharper
  return plain, 1.0


def rotate(x_BTHK, positions_BT, c):
  """Turns pairs of each head by position (Su et al. 2021, eq. 34), in float32: pairs are the two halves of
  what is rotated (Llama's layout), or neighbours where rope_interleaved; the rest of a head stays."""
  radians, factor = frequencies(c)
  angle = positions_BT[:, :, None, None].astype(jnp.float32) * jnp.asarray(radians, jnp.float32)
  cos, sin = jnp.cos(angle) * factor, jnp.sin(angle) * factor
  x = x_BTHK[..., : 2 * len(radians)].astype(jnp.float32)
  if c.rope_interleaved:
    a, b = x[..., 0::2], x[..., 1::2]
    turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)
  else:
    a, b = jnp.split(x, 2, -1)
    turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
  return jnp.concatenate([turned.astype(x_BTHK.dtype), x_BTHK[..., 2 * len(radians) :]], -1)
