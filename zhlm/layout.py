"""Layout of what an optimizer makes: its state lies as the weights do, and whole matrices are worked on by
layers. How arrays are cut says `sharding.py`."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from zhlm.sharding import divided


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


def by_layer(f, x, letters):
  """f(x), where f treats each layer (axis 0) on its own and needs its matrices whole: devices trade their
  pieces of all layers for some whole layers (all-to-all), apply f, and trade back. x stays cut by its
  letters, experts stay where they are, and what is copied along an axis of the mesh is worked on by all."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return f(x)
  cut = divided(mesh, letters, x.shape)
  trades = [  # pieces of pieces first
    (axis, i) for i, axes in enumerate(cut) for axis in reversed(axes) if letters[i] != 'E'
  ]
  spec = P(*(axes or None for axes in cut))
  parts = math.prod(mesh.shape[axis] for axis, _ in trades)

  def local(x):
    layers = len(x)
    x = jnp.pad(x, [(0, -layers % parts)] + [(0, 0)] * (x.ndim - 1))
    for axis, i in trades:
      x = jax.lax.all_to_all(x, axis, 0, i, tiled=True)
    x = f(x)
    for axis, i in reversed(trades):
      x = jax.lax.all_to_all(x, axis, i, 0, tiled=True)
    return x[:layers]

  return jax.shard_map(local, in_specs=spec, out_specs=spec)(x)
