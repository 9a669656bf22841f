"""One alphabet and one table: the letters that name axes in code also say how a pod is cut.

    B batch   T time   S key time   D model   F feed-forward   V vocabulary
    H heads   G key/value heads   K head size   N layers   C completions of one prompt
    W window of T that is read
    E experts   J choices of experts   L slots of an expert   R rank of an adapter

`jax.jit` with these shardings is what `pjit` has become: XLA's partitioner does the rest.
This file knows neither models nor stages.
"""

import math

import jax
from jax.sharding import NamedSharding
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


def divided(mesh, letters, shape):
  """As `mesh_axes`, of an array of this shape on a mesh. Raises InputError when it does not divide an axis;
  few key/value heads (G) are copied to every device instead, as is usual for grouped-query attention."""
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
  return cut


def sharding(mesh, letters, shape):
  """The NamedSharding of an array whose axes bear these letters. Raises InputError as `divided` does."""
  return NamedSharding(mesh, P(*(axes or None for axes in divided(mesh, letters, shape))))


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
