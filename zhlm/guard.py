"""What keeps a run sound: an update that is no number, or far from the usual, is not made but counted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zhlm.errors import InputError

MEMORY = 0.98  # of the running norm: about fifty updates
KNOWN = 20  # updates before a norm counts as usual; warm-up begins with large ones


class State(NamedTuple):
  """Saved with the run, so that one that goes on skips what it would have. Begins with nothing seen."""

  norm: Any = np.float32(0)  # decayed sum of the gradients' norms; over 1 - MEMORY**made it is their mean
  made: Any = np.int32(0)  # updates
  skipped: Any = np.int32(0)  # updates, all together
  row: Any = np.int32(0)  # skipped since the last one that was made


def judge(state, norm, finite, spike):
  """(whether the update is made, next State). The gradient's norm must be finite and, where `spike` is not
  0, at most that multiple of the running norm; so must all of `finite` be."""
  ok = jnp.isfinite(norm)
  for x in finite:
    ok &= jnp.isfinite(x)
  if spike:
    usual = state.norm / (1 - MEMORY ** jnp.maximum(state.made, 1))
    ok &= (state.made < KNOWN) | (norm <= spike * usual)
  seen = MEMORY * state.norm + (1 - MEMORY) * norm
  made = State(seen, state.made + 1, state.skipped, 0)
  return ok, choose(ok, made, state._replace(skipped=state.skipped + 1, row=state.row + 1))


def choose(ok, new, old):
  """`new` where ok, else `old`: a tree of arrays, never mixed."""
  return jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, old)


def first_bad(*trees):
  """Of an update's batch, weights, gradient and new weights, the first array that is not all finite, as
  its number among them; -1 when all are."""
  flags = jnp.stack([~jnp.isfinite(x).all() for _, x in _floats(trees)])
  return jnp.where(flags.any(), jnp.argmax(flags), -1)


def watched(step_fn):
  """The jitted update, for debugging: what it needs must be on the devices, and an array that is not finite
  ends the run with an InputError that names the first one."""

  def step(state, batch):
    with jax.transfer_guard('disallow'):
      state, info = step_fn(state, batch)
    number = int(info.pop('first_bad'))
    if number >= 0:
      names = [name for name, _ in _floats((batch, state.params, state.params, state.params))]
      raise InputError(f'at step {int(state.step)}, the first array that is not finite: {names[number]}')
    return state, info

  return step


def _floats(trees):
  for part, tree in zip(('batch', 'weights', 'gradient', 'new weights'), trees, strict=True):
    for path, x in jax.tree.leaves_with_path(tree):
      if jnp.issubdtype(x.dtype, jnp.floating):
        yield f'{part} {jax.tree_util.keystr(path, simple=True, separator="/")}', x
