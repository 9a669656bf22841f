"""Low-rank adapters (Hu et al. 2021) as trees of weights: which leaves they are, and folding them in."""

import jax
from flax import traverse_util


def is_adapter(path):
  """Whether a leaf's path, as `jax.tree_util` gives it, is that of an adapter."""
  return str(getattr(path[-1], 'key', '')).startswith('lora_')


def merge(params, config):
  """W + α/r · A·B in place of each W that has an adapter, and no adapters (eq. 3): the same function, for a
  network whose `lora_rank` is 0. config: the `model` part of that with which the adapters were trained.
  """
  if not isinstance(params, dict):
    return params
  merged = {k: merge(x, config) for k, x in params.items() if not k.startswith('lora_')}
  if 'lora_a' in params:
    a, b, w = params['lora_a'], params['lora_b'], params['w']  # [N, in…, R], [N, R, out…], [N, in…, out…]
    low = jax.numpy.einsum('nir,nro->nio', a.reshape(len(a), -1, a.shape[-1]), b.reshape(*b.shape[:2], -1))
    merged['w'] = w + low.reshape(w.shape) * (config.lora_alpha / config.lora_rank)
  return merged


def without(params):
  """The same tree without adapters' leaves."""
  if not isinstance(params, dict):
    return params
  return {k: without(x) for k, x in params.items() if not k.startswith('lora_')}


def join(params, others):
  """`params` with every leaf of `others` in its place; what these lack (adapters, a new head) stays."""
  flat = traverse_util.flatten_dict(params) | traverse_util.flatten_dict(others)
  return traverse_util.unflatten_dict(flat)
