"""The tensors of a Hugging Face folder, read straight into the shards of our arrays.

A shard's numbers are read in pieces of at most `PIECE` bytes and its file is closed in between, so
the host holds one array of ours beside those that are placed already, and little more. Knows no model.
"""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from zhlm.errors import InputError

PIECE = 8 * 2**20  # bytes of a tensor, in its own type, that are in memory at once
_FLOATS = ('BF16', 'F16', 'F32', 'F64')
_UNUSED = re.compile(r'.*rotary_emb\.inv_freq')  # buffers that old versions of transformers saved


class Tensor(NamedTuple):
  """Where a tensor lies."""

  file: Path
  shape: tuple
  dtype: str


class Folder:
  """A Hugging Face folder: `config` (its config.json) and `tensors` {name: Tensor}.

  Raises InputError when it has no config.json, no safetensors, or lacks a file that its index names.
  """

  def __init__(self, path):
    self.path = Path(path)
    self.config = read_json(self.path / 'config.json')
    index = self.path / 'model.safetensors.index.json'
    if index.exists():
      files = sorted(set(read_json(index)['weight_map'].values()))
    else:
      files = ['model.safetensors']
    if lost := [name for name in files if not (self.path / name).is_file()]:
      others = sorted(p.name for p in self.path.glob('*.bin'))
      hint = f'; {others[0]} must be saved as safetensors first' if others else '; is the download whole?'
      raise InputError(f'{path}: no {", ".join(lost)}{hint}')
    self.tensors = {}
    for name in files:
      try:
        with safe_open(self.path / name, 'np') as file:
          for key in file.keys():  # noqa: SIM118
            tensor = file.get_slice(key)
            self.tensors[key] = Tensor(self.path / name, tuple(tensor.get_shape()), tensor.get_dtype())
      except SafetensorError as e:
        raise InputError(f'{self.path / name}: {e}; is the download whole?') from e

  def check(self, entries, sizes, tied):
    """Raises InputError, with names, unless the folder holds all tensors of `entries` ({path: names.Entry})
    in their shapes, of floats, and no other."""
    expected = {name: entry.axes(sizes) for entry in entries.values() for _, name in entry.tensors(sizes)}
    if missing := [name for name in expected if name not in self.tensors]:
      raise InputError(f'{self.path}: tensors are missing: {_some(missing)}')
    for name, shape in expected.items():
      found = self.tensors[name]
      if found.shape != shape:
        raise InputError(f'{self.path}: {name} has shape {list(found.shape)}, not {list(shape)}')
      if found.dtype not in _FLOATS:
        raise InputError(
          f'{self.path}: {name} is {found.dtype}; convert quantised weights to bfloat16 first'
        )
    rest = [name for name in self.tensors if name not in expected and not _UNUSED.fullmatch(name)]
    if tied and 'lm_head.weight' in rest and self._same('lm_head.weight', 'model.embed_tokens.weight'):
      rest.remove('lm_head.weight')
    if rest:
      hint = ' (tie_word_embeddings is true, but it differs from the embedding)' if tied else ''
      raise InputError(f'{self.path}: the decoder has no place for {_some(rest)}{hint}')

  def _same(self, a, b):
    if self.tensors[a].shape != self.tensors[b].shape:
      return False
    rows, length = _rows(self.tensors[a]), self.tensors[a].shape[0]
    spans = ((i, min(i + rows, length)) for i in range(0, length, rows))
    return all(np.array_equal(self._read(a, *span), self._read(b, *span)) for span in spans)

  def _read(self, name, start, stop, *rest):
    """Rows of a tensor; opened anew each time, so that no page of the file stays mapped."""
    with safe_open(self.tensors[name].file, 'np') as file:
      return file.get_slice(name)[(slice(start, stop), *rest)]

  def shard(self, entry, sizes, index):
    """The part of one of our arrays that `index` (a slice an axis) cuts out, float32."""
    cut = {letter: range(*s.indices(sizes[letter])) for letter, s in zip(entry.ours, index, strict=True)}
    out = np.empty([len(span) for span in cut.values()], np.float32)
    numbers = entry.numbers()
    for numbered, name in entry.tensors(sizes, cut):
      at = tuple(numbered[letter] - cut[letter].start for letter in numbers)
      self._fill(out[at], name, entry, sizes, cut)
    return out

  def _fill(self, out, name, entry, sizes, cut):
    """Writes one tensor's part into `out`, whose axes are ours without the numbers."""
    axes, cut = entry.theirs.split(), cut | {'1': range(1)}
    ours = [letter for letter in entry.ours if letter not in entry.numbers()]
    ours += ['1'] * ('1' in entry.theirs)
    view = out.reshape([len(cut[letter]) for letter in ours])
    view = view.transpose([ours.index(letter) for axis in axes for letter in axis])
    # In 'HK' a span of heads is a span of rows; if K is cut too, that is done after reading.
    inner = [[sizes[letter] for letter in axis[1:]] for axis in axes]
    rows, *columns = [math.prod(n) for n in inner]
    columns = [
      slice(cut[a[0]].start * n, cut[a[0]].stop * n) for a, n in zip(axes[1:], columns, strict=True)
    ]
    keep = tuple(
      slice(cut[letter].start, cut[letter].stop) if i else slice(None)
      for axis in axes
      for i, letter in enumerate(axis)
    )
    first, skip = cut[axes[0][0]], entry.part[0] * sizes[axes[0][0]]
    step = max(_rows(self.tensors[name]) // rows, 1)
    for start in range(first.start, first.stop, step):
      stop = min(start + step, first.stop)
      block = self._read(name, (skip + start) * rows, (skip + stop) * rows, *columns)
      lengths = [stop - start, *(len(cut[axis[0]]) for axis in axes[1:])]
      shape = [n for length, sizes_ in zip(lengths, inner, strict=True) for n in (length, *sizes_)]
      view[start - first.start : stop - first.start] = block.reshape(shape)[keep]


def _rows(tensor):
  """Rows of a tensor that fit into PIECE."""
  width = math.prod(tensor.shape[1:]) * {'BF16': 2, 'F16': 2, 'F32': 4, 'F64': 8}[tensor.dtype]
  return max(PIECE // max(width, 1), 1)


def _some(names):
  names = sorted(names)
  return ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '')


def read_json(path):
  """The object in a file. Raises InputError when there is no file, or no object in it."""
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise InputError(f'{path}: not found; name a folder as `save_pretrained` writes it') from None
  except ValueError as e:
    raise InputError(f'{path}: not JSON ({e})') from None
  if not isinstance(value, dict):
    raise InputError(f'{path}: must be a JSON object')
  return value


def place(folder, entry, sizes, sharding):
  """One of our arrays, global, float32: part by part, so that the host holds one of these beside those
  that are placed; each process reads only what its devices hold, and copies once."""
  shape, parts = tuple(sizes[letter] for letter in entry.ours), {}
  for device, index in sharding.addressable_devices_indices_map(shape).items():
    parts.setdefault(str(index), (index, []))[1].append(device)
  placed = []
  for index, devices in parts.values():
    part = folder.shard(entry, sizes, index)
    placed += jax.block_until_ready([jax.device_put(part, device) for device in devices])
  return jax.make_array_from_single_device_arrays(shape, sharding, placed)


def arrays(folder, entries, sizes, shardings):
  """{path: array} of `entries`, {path: names.Entry}. shardings: {path: NamedSharding}."""
  return {path: place(folder, entry, sizes, shardings[path]) for path, entry in entries.items()}
