"""One alphabet and one table: the letters that name axes in code also say how a pod is cut.

    B batch   T time   S key time   D model   F feed-forward   V vocabulary
    H heads   G key/value heads   K head size   N layers   C completions of one prompt
    E experts   J choices of experts   L slots of an expert   R rank of an adapter

`jax.jit` with these shardings is what `pjit` has become: XLA's partitioner does the rest.
This file knows neither models nor stages.
"""

import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from zhlm.errors import InputError

# From the slowest network to the fastest: `tensor` talks most, so its devices are neighbours.
MESH_AXES = ('data', 'fsdp', 'sequence', 'expert', 'tensor')

# Letter -> mesh axes. An axis is used once a spec, the leftmost letter first: in `BTD` the batch has
# already taken fsdp, so activations keep D whole; in the weight `DF`, D is cut by fsdp (and by expert,
# unless E has taken that), F by tensor. Keys' time S stays whole: where T is cut, keys are gathered.
RULES = {
  'B': ('data', 'fsdp', 'expert'),
  'T': ('sequence',),
  'D': ('fsdp', 'expert'),
  'E': ('expert',),
  'F': ('tensor',),
  'V': ('tensor',),
  'H': ('tensor',),
  'G': ('tensor',),
}


def mesh_axes(letters):
  """'DF' -> [('fsdp',), ('tensor',)]. Letters without a rule (and `_`) stay whole: ()."""
  used, cut = set(), []
  for letter in letters:
    cut.append(tuple(a for a in RULES.get(letter, ()) if a not in used))
    used.update(cut[-1])
  return cut


def spec(letters):
  """'DF' -> P('fsdp', 'tensor')."""
  return P(*(axes or None for axes in mesh_axes(letters)))


def parts(letters):
  """Into how many parts the mesh that is set cuts an array whose axes bear these letters; 1 without one."""
  mesh = jax.sharding.get_abstract_mesh()
  return 1 if mesh.empty else math.prod(mesh.shape[a] for axes in mesh_axes(letters) for a in axes)


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


def sharding(mesh, letters, shape):
  """The NamedSharding of an array whose axes bear these letters.

  Raises InputError when the mesh does not divide an axis; few key/value heads (G) are copied to every
  device instead, as is usual for grouped-query attention.
  """
  cut = mesh_axes(letters)
  for i, axes in enumerate(cut):
    parts = math.prod(mesh.shape[a] for a in axes)
    if shape[i] % parts:
      if letters[i] != 'G':
        raise InputError(
          f'model.{letters[i]}={shape[i]} does not divide over {" x ".join(axes)} = {parts} devices; '
          f'choose another size, or a smaller mesh.{axes[0]}'
        )
      cut[i] = ()
  return NamedSharding(mesh, P(*(axes or None for axes in cut)))


def constrain(x, letters):
  """Tells the partitioner how the activation `x` is cut, where the mesh divides it (the one token of a
  decoding step is not cut by `sequence`); does nothing where there is no mesh."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  cut = mesh_axes(letters)
  fits = [n % math.prod(mesh.shape[a] for a in axes) == 0 for n, axes in zip(x.shape, cut, strict=True)]
  axes = [axes if fit else () for axes, fit in zip(cut, fits, strict=True)]
  return jax.lax.with_sharding_constraint(x, P(*(a or None for a in axes)))


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


def made_from(init, shapes):
  """The ShapeDtypeStructs of `init(shapes)`, each leaf cut over the current mesh as what it was made from.

  shapes: ShapeDtypeStructs with NamedShardings. An optimizer's moments are cut as their weights; a moment
  that has lost an axis, as Adafactor's rows and columns have, loses that axis' cut; a new scalar is whole.
  No optimizer needs a rule: on a mesh of Explicit axes an array's sharding is part of its type, so that
  tracing `init` there says how all it makes is cut.
  """
  mesh = jax.sharding.get_mesh()
  typed = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Explicit,) * len(mesh.axis_names))

  def on(mesh, x):
    cut = P() if x.sharding is None else x.sharding.spec
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, cut))

  with jax.set_mesh(typed):
    made = jax.eval_shape(init, jax.tree.map(lambda x: on(typed, x), shapes))
  return jax.tree.map(lambda x: on(mesh, x), made)
