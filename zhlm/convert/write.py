"""Our arrays as the tensors of a Hugging Face folder: whole files of safetensors and their index.

One array of ours is brought to the host at a time, and one file's tensors are there at once. Multipliers,
which the written architectures do not have, become part of the weights beside them. Knows no tokenizer.
"""

import math
from pathlib import Path

import jax
import numpy as np
from ml_dtypes import bfloat16
from safetensors.numpy import save_file

from zhlm import disk
from zhlm.convert import names
from zhlm.errors import InputError

DTYPES = {'bfloat16': np.dtype(bfloat16), 'float16': np.dtype(np.float16), 'float32': np.dtype(np.float32)}


def fold(model):
  """(the fields of the same function without multipliers, {path: its factor}, the path of the head's).

  A tied head that has a multiplier, or whose embedding has one, is no longer tied.
  """
  factors = dict.fromkeys((*names.DENSE, *names.EXPERTS), 1.0)
  for path in ('layers/o/w', 'layers/o/b', 'layers/down/w', 'layers/experts/down/w'):
    factors[path] = model['residual_scale']
  factors['embed'] = model['embed_scale']
  factors['head'] = model['logit_scale'] * (model['mup_D'] / model['D'] if model['mup_D'] else 1.0)
  scale = model['attention_scale'] or (8 / model['K'] if model['mup_D'] else model['K'] ** -0.5)
  sharper = scale * math.sqrt(model['K'])
  sharper = 1.0 if math.isclose(sharper, 1.0) else sharper  # weights that need no factor stay bit for bit
  for path in ('layers/norm_q/w',) if model['qk_norm'] else ('layers/q/w', 'layers/q/b'):
    factors[path] = sharper
  head = 'embed' if model['tied'] else 'head'
  tied = model['tied'] and factors['head'] == factors['embed'] == 1
  ones = {'embed_scale': 1.0, 'residual_scale': 1.0, 'logit_scale': 1.0, 'attention_scale': 0.0, 'mup_D': 0}
  return {**model, **ones, 'tied': tied}, factors, head


class Piece:
  """One tensor to write: its name, its shape, and which of our arrays it is a part of (`path`)."""

  def __init__(self, name, path, entry, numbered, factor, sizes):
    self.name, self.path, self.entry, self.numbered = name, path, entry, numbered
    self.factor, self.shape = factor, entry.axes(sizes)

  def of(self, array):
    """The tensor, float32, from the whole array on the host."""
    ours = [letter for letter in self.entry.ours if letter not in self.numbered]
    x = array[tuple(self.numbered.values())].astype(np.float32) * np.float32(self.factor)
    flat = [letter for axis in self.entry.theirs.split() for letter in axis if letter != '1']
    return x.transpose([ours.index(letter) for letter in flat]).reshape(self.shape)


def pieces(model, table, scalar, factors, head):
  """Every Piece of a folder, in order. model: without multipliers; the rest as `fold` gives it."""
  sizes, out = names.sizes(model), []
  for path, entry in names.present(model, table, scalar).items():
    source = head if path == 'head' else path
    ours = entry._replace(ours='VD') if source == 'embed' and path == 'head' else entry
    out += [Piece(name, source, ours, n, factors[path], sizes) for n, name in entry.tensors(sizes)]
  return out


def files(pieces, dtype, limit):
  """[[Piece, …], …]: the tensors of each file, none above `limit` bytes but for a single tensor."""
  groups, size = [[]], 0
  for piece in pieces:
    more = math.prod(piece.shape) * DTYPES[dtype].itemsize
    if groups[-1] and size + more > limit:
      groups.append([])
      size = 0
    groups[-1].append(piece)
    size += more
  return groups


def _on_host(x):
  """The whole of an array. A JAX array keeps what numpy once got of it: so this asks a copy, which goes."""
  return np.asarray(jax.device_put(x, x.sharding, may_alias=False)) if isinstance(x, jax.Array) else x


def tensors(folder, pieces, leaves, dtype, limit):
  """Writes `pieces` into `folder` as model.safetensors, or as several files and their index.

  Raises InputError where float16 cannot hold a weight.
  """
  groups, where, total, path, array = files(pieces, dtype, limit), {}, 0, None, None
  for i, group in enumerate(groups, 1):
    name = 'model.safetensors' if len(groups) == 1 else f'model-{i:05}-of-{len(groups):05}.safetensors'
    held = {}
    for piece in group:
      if piece.path != path:  # pieces of one array follow each other
        path, array = piece.path, _on_host(leaves[piece.path])
      with np.errstate(over='ignore'):  # told below
        held[piece.name] = np.ascontiguousarray(piece.of(array).astype(DTYPES[dtype]))
      if dtype == 'float16' and not np.isfinite(held[piece.name]).all():
        raise InputError(f'{piece.name} has weights that float16 cannot hold; choose --dtype=bfloat16')
      where[piece.name], total = name, total + held[piece.name].nbytes
    save_file(held, Path(folder) / name, metadata={'format': 'pt'})
  if len(groups) > 1:
    index = {'metadata': {'total_size': total}, 'weight_map': where}
    disk.write_json(Path(folder) / 'model.safetensors.index.json', index)


def leaves(params, prefix=''):
  """{'layers/q/w': array, …} of a tree."""
  out = {}
  for name, x in params.items():
    out |= leaves(x, f'{prefix}{name}/') if isinstance(x, dict) else {f'{prefix}{name}': x}
  return out
