"""From `config.optimizer` to an optax transform: schedule, clipping, decay mask, AdamW or Muon."""

import jax
import optax

from zhlm.errors import InputError

# Which axes of a weight are summed over (in) and which are made (out); layers N are a batch of matrices.
# Muon (Jordan et al. 2024) makes the update of such a matrix orthogonal; other leaves go to Adam.
MATRICES = {
  'q': ((1,), (2, 3)),
  'k': ((1,), (2, 3)),
  'v': ((1,), (2, 3)),
  'o': ((1, 2), (3,)),
  'gate': ((1,), (2,)),
  'up': ((1,), (2,)),
  'down': ((1,), (2,)),
}


def _name(path):
  return [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]


def _is_matrix(name):
  return 'layers' in name and name[-2] in MATRICES


def schedule(c, steps):
  """Learning rate by update: linear warm-up, then `decay` to final_fraction of the peak at `steps`."""
  peak, end = c.learning_rate, c.learning_rate * c.final_fraction
  rest = max(1, steps - c.warmup_steps)
  decays = {
    'constant': lambda: optax.constant_schedule(peak),
    'linear': lambda: optax.linear_schedule(peak, end, rest),
    'cosine': lambda: optax.cosine_decay_schedule(peak, rest, c.final_fraction),
  }
  if c.decay not in decays:
    raise InputError(f'optimizer.decay={c.decay!r}; choose from {", ".join(decays)}')
  warmup = optax.linear_schedule(peak / (c.warmup_steps + 1), peak, c.warmup_steps)
  return optax.join_schedules([warmup, decays[c.decay]()], [c.warmup_steps])


def decayed(params):
  """True for the leaves that weight decay pulls to zero: matrices, not norms, biases or heads."""
  return jax.tree_util.tree_map_with_path(lambda path, _: _is_matrix(_name(path)), params)


def _matrix_axes(params):
  def axes(path, _):
    name = _name(path)
    if not _is_matrix(name):
      return None
    return optax.contrib.MuonDimensionNumbers(*MATRICES[name[-2]])

  return jax.tree_util.tree_map_with_path(axes, params)


def make(c, steps):
  """The optax transform for `config.optimizer`. Raises InputError for an unknown name."""
  rate = schedule(c, steps)
  adam = {'b1': c.b1, 'b2': c.b2, 'eps': c.eps}
  if c.name == 'adamw':
    update = optax.adamw(rate, **adam, weight_decay=c.weight_decay, mask=decayed)
  elif c.name == 'muon':
    update = optax.contrib.muon(
      rate,
      weight_decay=c.weight_decay,
      weight_decay_mask=decayed,
      adam_b1=c.b1,
      adam_b2=c.b2,
      eps=c.eps,
      adam_weight_decay=0.0,
      muon_weight_dimension_numbers=_matrix_axes,
    )
  else:
    raise InputError(f'optimizer.name={c.name!r}; choose from adamw, muon')
  return optax.chain(optax.clip_by_global_norm(c.clip), update) if c.clip else update
