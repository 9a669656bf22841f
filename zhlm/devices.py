"""Devices: the mesh that they form, and a batch put onto it. How arrays are cut says `sharding.py`."""

import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding

from zhlm.errors import InputError
from zhlm.sharding import MESH_AXES, RULES, spec


def make_mesh(sizes, devices=None):
  """The mesh of MESH_AXES; axes that `sizes` does not name are 1, and one may be -1 (all the devices that
  are left). `slices`: parts of a pod joined by a slow network, over which `data` is cut.

  Raises InputError when the sizes do not divide the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = {**dict.fromkeys((*MESH_AXES, 'slices'), 1), **sizes}
  slices, sizes = sizes['slices'], [sizes[axis] for axis in MESH_AXES]
  text = ' x '.join(f'{a}={s}' for a, s in zip(MESH_AXES, sizes, strict=True) if s != 1) or 'of one'
  if any(s == 0 or s < -1 for s in sizes) or sizes.count(-1) > 1:
    raise InputError(f'mesh {text}: sizes are positive; one of them may be -1 (all that is left)')
  known = math.prod(s for s in sizes if s != -1)
  if len(devices) % known:
    raise InputError(
      f'mesh {text} needs a multiple of {known} devices, but there are {len(devices)} '
      f'({devices[0].platform}); choose sizes whose product divides {len(devices)}'
    )
  sizes = [len(devices) // known if s == -1 else s for s in sizes]
  if jax.process_count() > 1 and math.prod(sizes) != len(devices):
    raise InputError(
      f'mesh {text} takes {math.prod(sizes)} of {len(devices)} devices; over {jax.process_count()} '
      f'hosts it must take all: let one size be -1'
    )
  devices = devices[: math.prod(sizes)]
  if sizes[0] % slices:
    raise InputError(
      f'mesh data={sizes[0]} is not a multiple of mesh.slices={slices}, over which it is cut'
    )
  if slices > 1:
    if len({getattr(d, 'slice_index', 0) for d in devices}) != slices:
      raise InputError(f'mesh.slices={slices}, but these {len(devices)} devices are not of so many slices')
    inside, between = [sizes[0] // slices, *sizes[1:]], [slices, 1, 1, 1, 1]
    grid = mesh_utils.create_hybrid_device_mesh(inside, between, devices, allow_split_physical_axes=True)
  elif devices[0].platform == 'tpu':  # neighbours on the torus
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
  else:
    grid = np.array(devices).reshape(sizes)
  # `jax.make_mesh` would give Explicit axes, on which a constraint is an assertion and fails.
  return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def check_batch(mesh, B, T, microbatches):
  """Raises InputError when a batch of B rows of T tokens cannot be split evenly over microbatches and
  devices."""
  rows, columns = (math.prod(mesh.shape[a] for a in RULES[letter]) for letter in 'BT')
  if B % (microbatches * rows):
    raise InputError(
      f'batch.B={B} does not divide over {" x ".join(RULES["B"])} = {rows} devices and batch.microbatches='
      f'{microbatches}; choose a multiple of {microbatches * rows}, or another mesh'
    )
  if T % columns:
    raise InputError(f'batch.T={T} does not divide over mesh.sequence={columns}; choose a multiple')


def host_rows(mesh, B):
  """The numbers, in order, of the rows of a global batch of B that this process's devices hold: all of
  them in one process, or where the mesh cuts the batch within a host only."""
  if jax.process_count() == 1:
    return range(B)
  cut = NamedSharding(mesh, spec('B')).addressable_devices_indices_map((B,))
  return sorted({row for (rows,) in cut.values() for row in range(*rows.indices(B))})


def put_batch(mesh, batch):
  """Host arrays (this process's rows) -> global arrays cut along B, their first axis. Arrays that are
  on the devices already stay as they are."""
  rows = NamedSharding(mesh, spec('B'))

  def put(x):
    return x if isinstance(x, jax.Array) else jax.make_array_from_process_local_data(rows, x)

  return jax.tree.map(put, batch)


def local_rows(mesh, x):
  """The rows of a global array, cut along B alone, that this process's devices hold, as numpy, in the order
  of `host_rows`."""
  found = {}
  for shard in x.addressable_shards:
    first = shard.index[0].start or 0
    found.update(enumerate(np.asarray(shard.data), first))
  return np.stack([found[row] for row in host_rows(mesh, len(x))])
