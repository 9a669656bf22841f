"""Chips and slices by the names under which they are booked: published facts, and what libtpu calls them.

A name counts cores for v4 and v5p (two a chip: v5p-256 is 128 chips) and chips for v5e and v6e.
Sources: Google Cloud's pages of each generation (peak, memory, bandwidth, ports, shapes); Jouppi et al.
2023 for v4's links; `usable` is what libtpu 0.0.42's compiler lets a program have.
"""

import difflib
import itertools
import math
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from zhlm.errors import InputError

GIB = 2**30


class Chip(NamedTuple):
  """One chip, which is one device. Bandwidths in bytes/s; ICI is the network inside a slice, DCN that of
  the data centre between slices."""

  device_kind: str  # JAX's name: the key of metrics.PEAK_FLOPS
  library: str  # libtpu's name
  cores: int  # that the slice's name counts, a chip
  memory: float  # bytes of HBM
  usable: float  # bytes of it for a program: the rest is the system's
  bandwidth: float  # of the HBM
  link: float  # of one ICI link, one way; a chip has two a dimension
  dcn: float  # a chip's share of its host's network, one way


CHIPS = {
  # No page gives v4's data-centre bandwidth: v5p's is taken.
  'v4': Chip('TPU v4', 'v4', 2, 32 * GIB, 30.75 * GIB, 1.2e12, 50e9, 6.25e9),
  'v5e': Chip('TPU v5 lite', 'v5e', 1, 16 * GIB, 15.75 * GIB, 819e9, 50e9, 3.125e9),
  'v5p': Chip('TPU v5', 'v5', 2, 96 * GIB, 95.74 * GIB, 2_765e9, 100e9, 6.25e9),
  'v6e': Chip('TPU v6 lite', 'v6e', 1, 32 * GIB, 31.25 * GIB, 1_638e9, 100e9, 12.5e9),
}
_CUBES = {4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4), 64: (4, 4, 4), 128: (4, 4, 8)}
_CUBES |= {256: (4, 8, 8), 512: (8, 8, 8), 1024: (8, 8, 16), 2048: (8, 16, 16)}
_SQUARES = {1: (1, 1, 1), 4: (2, 2, 1), 8: (2, 4, 1), 16: (4, 4, 1), 32: (4, 8, 1), 64: (8, 8, 1)}
_SQUARES |= {128: (8, 16, 1), 256: (16, 16, 1)}
# Chips of a slice -> its grid.
GRIDS = {
  'v4': _CUBES,
  'v5p': _CUBES | {4096: (16, 16, 16), 6144: (16, 16, 24)},
  'v5e': _SQUARES,
  'v6e': _SQUARES,
}
NEEDS_LIBTPU = (
  "needs libtpu, though no TPU: pip install 'zhlm[tpu]', or make extras, which puts it into .venv"
)


class Topology(NamedTuple):
  """What is booked: `slices` slices of one shape, or simulated devices where chip is None."""

  name: str
  chip: Chip | None
  grid: tuple  # chips along x, y, z of a slice
  wrap: tuple  # whether a dimension closes to a ring
  slices: int

  @property
  def size(self):
    """Devices, all slices together."""
    return math.prod(self.grid) * self.slices


def wraps(family, grid):
  """Which dimensions are rings: all of a slice made of whole cubes 4x4x4; of v5e and v6e those of 16."""
  if family in ('v5e', 'v6e'):
    return tuple(n == 16 for n in grid)
  return (all(n % 4 == 0 for n in grid),) * 3


def names():
  """Every name, without cpu-N."""
  return [f'{family}-{n * CHIPS[family].cores}' for family, grids in GRIDS.items() for n in grids]


def find(name, slices=1):
  """The Topology that `v5p-256`, `v5litepod-16` or `cpu-8` names. InputError lists the choices."""
  wanted = re.sub(r'^(tpu-?)?v5litepod-', 'v5e-', name.lower())
  if slices < 1:
    raise InputError(f'--slices={slices}: at least 1')
  if cpu := re.fullmatch(r'cpu-([1-9]\d{0,3})', wanted):
    return Topology(wanted, None, (int(cpu[1]), 1, 1), (False,) * 3, slices)
  if wanted not in names():
    near = difflib.get_close_matches(wanted, names(), 1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    raise InputError(f'unknown topology {name!r}.{hint} Choose from: {", ".join(names())}, cpu-N')
  family, _, count = wanted.partition('-')
  grid = GRIDS[family][int(count) // CHIPS[family].cores]
  return Topology(wanted, CHIPS[family], grid, wraps(family, grid), slices)


def prepare(topology):
  """Sets the environment in which JAX compiles for `topology`; call it before JAX is imported.

  libtpu is taken from the environment's packages, or from .venv/libtpu: as an ordinary package it makes
  every start of JAX slower. Raises InputError when it is in neither.
  """
  os.environ['JAX_PLATFORMS'] = 'cpu'
  if topology.chip is None:
    flags = os.environ.get('XLA_FLAGS', '')
    count = f'--xla_force_host_platform_device_count={topology.size}'
    os.environ['XLA_FLAGS'] = re.sub(r'--xla_force_host_platform_device_count=\d+', '', flags) + f' {count}'
    return
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'  # there is no metadata server to ask
  os.environ['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'  # nor a TPU that two processes could claim at once
  for name, value in (
    ('ACCELERATOR_TYPE', 'v5litepod-8'),
    ('WORKER_HOSTNAMES', 'localhost'),
    ('WORKER_ID', '0'),
  ):
    os.environ.setdefault(f'TPU_{name}', value)  # of no effect here, but libtpu complains without
  if libtpu() is None:
    raise InputError(f'--topology={topology.name} {NEEDS_LIBTPU}')
  folder = str(Path(libtpu()).parent)
  if folder not in sys.path:
    sys.path.append(folder)


def libtpu():
  """The folder of the package libtpu, or None."""
  import importlib.util

  if spec := importlib.util.find_spec('libtpu'):
    return str(Path(spec.origin).parent)
  folder = Path(sys.prefix) / 'libtpu' / 'libtpu'
  return str(folder) if (folder / 'libtpu.so').exists() else None


def devices(topology):
  """The devices to make a mesh of; those of a TPU can be compiled for, not run on."""
  import jax
  from jax.experimental.topologies import get_topology_desc

  if topology.chip is None:
    return jax.devices()[: topology.size]
  grid = topology.grid if topology.grid[2] > 1 or topology.chip.cores == 2 else topology.grid[:2]
  return get_topology_desc(
    platform='tpu',
    topology_name=f'{topology.chip.library}:{"x".join(map(str, grid))}',
    chip_config_name='megacore' if topology.chip.cores == 2 else 'default',  # both cores are one device
    chips_per_host_bounds=(1, 1, 1) if math.prod(topology.grid) == 1 else (2, 2, 1),
    num_slices=topology.slices,
    wrap=topology.wrap,
  ).devices


def bandwidth(where, topology):
  """Bytes/s that a chip can send at once to its group, whose chips stand at `where`: [members, 3], x y z.

  Two links a dimension that the group spans as a whole ring, one along an open line, whose end bounds the
  rest; links that pass chips of other groups are shared with those groups.
  """
  total = 0
  for column, extent, ring in zip(zip(*where, strict=True), topology.grid, topology.wrap, strict=True):
    at = sorted(set(column))
    if len(at) == 1:
      continue
    steps = {b - a for a, b in itertools.pairwise([*at, at[0] + extent])}
    whole = ring and extent > 2 and len(steps) == 1
    passed = extent if whole else at[-1] - at[0] + 1
    total += topology.chip.link * (2 if whole else 1) * len(at) / passed
  return total
