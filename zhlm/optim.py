"""From `config` to an optax transform: schedule, clipping, decay mask, the optimizer by name; what trains.

The optimizers by `optimizer.name`, with one schedule, clipping and decay (rate x weight_decay x w):
  adamw          Loshchilov & Hutter 2019
  adamw_tf       the same with eps where TensorFlow's Adam has it, as in OpenAI's code of 2019
  muon           Jordan et al. 2024: matrices of layers get an orthogonal update, other leaves Adam's
  adafactor      Shazeer & Stern 2018: second moments by row and column, no first: next to no state
  lion           Chen et al. 2023: the sign of a moment, one moment
  schedule_free  Defazio et al. 2024: AdamW whose average of the weights takes the place of a decaying rate
"""

import math

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from zhlm import layout, lora
from zhlm.errors import InputError

# The axes of a layer's matrix that are summed over (in) and that are made (out), by letter. Those before
# them, layers N and experts E, are a batch of matrices.
MATRICES = {
  'q': ('D', 'HK'),
  'k': ('D', 'GK'),
  'v': ('D', 'GK'),
  'o': ('HK', 'D'),
  'gate': ('D', 'F'),
  'up': ('D', 'F'),
  'down': ('F', 'D'),
  'router': ('D', 'E'),
}


def _name(path):
  return [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]


def _in_out(name):
  """(in, out), the letters of a layer's matrix; None of any other leaf."""
  if 'layers' not in name or name[-2] not in MATRICES:
    return None
  into, out = MATRICES[name[-2]]
  return {'w': (into, out), 'lora_a': (into, 'R'), 'lora_b': ('R', out)}.get(name[-1])


def schedule(c, steps):
  """Learning rate by update: linear warm-up, then `decay` to final_fraction of the peak at `steps`; each
  rate holds for `rate_every` updates."""
  if c.rate_every < 1:
    raise InputError(f'optimizer.rate_every={c.rate_every}; choose 1 or more')
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
  rate = optax.join_schedules([warmup, decays[c.decay]()], [c.warmup_steps])
  return lambda count: rate(count // c.rate_every * c.rate_every)


def decayed(params):
  """True for the leaves that weight decay pulls to zero: matrices, not norms, biases or heads."""
  return jax.tree_util.tree_map_with_path(lambda path, _: _in_out(_name(path)) is not None, params)


def scale_by_adam_tf(b1, b2, eps):
  """Adam as Kingma & Ba 2015 end their section 2, and TensorFlow has it: √(1-b2^t)/(1-b1^t) · m/(√v + eps).

  eps stands beside the root of a v that is not yet corrected: at first it counts 1/√(1-b2) as much (32
  times, where b2=0.999) as in `optax.scale_by_adam`, so the first steps are smaller.
  """
  moments = optax.scale_by_adam(b1, b2)

  def update(grads, state, params=None):
    _, state = moments.update(grads, state)
    t = state.count.astype(jnp.float32)
    factor = jnp.sqrt(1 - b2**t) / (1 - b1**t)
    return jax.tree.map(lambda m, v: factor * m / (jnp.sqrt(v) + eps), state.mu, state.nu), state

  return optax.GradientTransformation(moments.init, update)


# Muon --------------------------------------------------------------------------------------------------


def orthogonal(x, into, out, steps=5):
  """The nearest orthogonal matrices, about: a quintic Newton-Schulz iteration pulls all singular values to
  0.7 ... 1.2 (Jordan et al. 2024), times sqrt(max(1, out / in)). x: [N, in..., out...], or with E after N;
  `into` and `out` are the letters of the axes of one matrix.

  `optax.contrib.muon` does the same, but on a mesh it has every device gather all layers, several times
  over, and do all the work: here each device gets whole matrices of some layers instead.
  """
  batch = x.ndim - len(into + out)

  def rounds(x):
    shape = x.shape[batch:]
    y = x.reshape(*x.shape[:batch], math.prod(shape[: len(into)]), math.prod(shape[len(into) :]))
    rows, columns = y.shape[-2:]
    y /= jnp.linalg.norm(y, axis=(-2, -1), keepdims=True) + 1e-8
    y = y.mT if rows > columns else y
    for _ in range(steps):
      a = y @ y.mT
      y = 3.4445 * y + (-4.7750 * a + 2.0315 * a @ a) @ y
    y = y.mT if rows > columns else y
    return max(1, columns / rows) ** 0.5 * y.reshape(x.shape)

  return layout.by_layer(rounds, x, 'NE'[:batch] + into + out)


def _orthogonalise():
  def update(updates, state, params=None):
    def one(path, u):
      return orthogonal(u, *_in_out(_name(path)))

    return jax.tree_util.tree_map_with_path(one, updates), state

  return optax.GradientTransformation(optax.init_empty_state, update)


# What trains -------------------------------------------------------------------------------------------


def split(params, adapters):
  """(trained, frozen): two nested dicts that share no leaf; neither holds the other's. With `adapters` only
  those train, and a scalar head (`score`, `score_bias`), else everything does."""
  trained, frozen = {}, {}
  for path, x in jax.tree_util.tree_leaves_with_path(params):
    name = tuple(_name(path))
    trains = not adapters or lora.is_adapter(path) or name[-1].startswith('score')
    (trained if trains else frozen)[name] = x
  return traverse_util.unflatten_dict(trained), traverse_util.unflatten_dict(frozen)


# muP ---------------------------------------------------------------------------------------------------


def scale_by_width(factor):
  """Multiplies the update of what sums over the model's width by `factor` = mup_D / D.

  Yang et al. 2022 (Tensor Programs V), table 8 for Adam: an entry of such an update does not shrink with
  width, and D of them are summed, so the rate goes with 1 / fan-in. The widths F and H·K are taken to grow
  with D, so one ratio serves all matrices of a layer, the router and LoRA's first factor. `embed` (a row is
  picked, not summed), norms, biases and LoRA's second factor (it sums over R) keep their rate, and so does
  the language model's head, whose logits the model multiplies by the same factor; a scalar head has no
  such multiplier, so its rate takes the factor. Lion's signs are of the size of Adam's updates.
  """

  def sums_over_width(name):
    return name[-1] == 'score' or (name[-1] != 'lora_b' and _in_out(name) is not None)

  def update(updates, state, params=None):
    def one(path, u):
      return u * factor if sums_over_width(_name(path)) else u

    return jax.tree_util.tree_map_with_path(one, updates), state

  return optax.GradientTransformation(optax.init_empty_state, update)


# Schedule-free -----------------------------------------------------------------------------------------


def _keep_average(inner):
  """`optax.contrib.schedule_free` moves y, where the gradient is taken; this moves the average x, so that
  a run's weights are those to validate, save and open elsewhere. Its y is `gradient_at`."""

  def update(grads, state, params):
    y = gradient_at(state, params)
    updates, state = inner.update(grads, state, y)
    x = optax.contrib.schedule_free_eval_params(state, jax.tree.map(jnp.add, y, updates))
    return jax.tree.map(jnp.subtract, x, params), state

  return optax.GradientTransformation(inner.init, update)


def gradient_at(opt, params):
  """The weights to take the gradient at: `params` themselves, except under schedule_free, where they
  are y = (1 - b1) z + b1 x of the average x = params and the optimizer's own z (Defazio et al. 2024)."""

  def is_free(s):
    return isinstance(s, optax.contrib.ScheduleFreeState)

  found = [s for s in jax.tree.leaves(opt, is_leaf=is_free) if is_free(s)]
  if not found:
    return params
  (state,) = found
  return jax.tree.map(lambda z, x: (1 - state.b1) * z + state.b1 * x, state.z, params)


# All of it ---------------------------------------------------------------------------------------------


def make(config):
  """The optax transform for `config.optimizer`, over `config.steps` updates; `config.model.mup_D`, when
  not 0, is the width at which its rates were tuned. It is to be given the leaves that train (`split`).

  Raises InputError for an unknown name, and for muP with an optimizer that has no rule for it.
  """
  c, m = config.optimizer, config.model
  rate = schedule(c, config.steps)
  width = (scale_by_width(m.mup_D / m.D),) if m.mup_D else ()
  if m.mup_D and c.name in ('muon', 'adafactor'):
    raise InputError(
      f'model.mup_D={m.mup_D} with optimizer.name={c.name!r}: its rule is for updates made entry by entry, '
      f'and {c.name} scales rows, columns or matrices; choose adamw, adamw_tf, lion or schedule_free, '
      'or mup_D=0'
    )
  # After the width's factor: that is the rate's, and what decays is to decay at every width alike.
  decay_and_rate = (optax.add_decayed_weights(c.weight_decay, decayed), optax.scale_by_learning_rate(rate))

  def adamw():
    return optax.chain(optax.scale_by_adam(c.b1, c.b2, c.eps), *width, *decay_and_rate)

  def adamw_tf():
    return optax.chain(scale_by_adam_tf(c.b1, c.b2, c.eps), *width, *decay_and_rate)

  def muon():
    matrices = optax.chain(optax.trace(0.95, nesterov=True), _orthogonalise())

    def which(params):
      return jax.tree.map(lambda matrix: 'matrices' if matrix else 'others', decayed(params))

    both = {'matrices': matrices, 'others': optax.scale_by_adam(c.b1, c.b2, c.eps)}
    return optax.chain(optax.partition(both, which), *decay_and_rate)

  def adafactor():
    # Not `optax.adafactor`: its decay is not multiplied by the rate, and its rate is relative to the size
    # of a weight, which would hold matrices that begin at zero near it.
    return optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), *decay_and_rate)

  def lion():
    return optax.chain(optax.scale_by_lion(c.b1, c.b2), *width, *decay_and_rate)

  def schedule_free():
    # `optax.contrib.schedule_free_adamw` with a mask for decay. b1 is in the averaging, not in the moments.
    rms = optax.scale_by_rms(c.b2, c.eps, eps_in_sqrt=False, bias_correction=True)
    inner = optax.chain(rms, *width, *decay_and_rate)
    return _keep_average(optax.contrib.schedule_free(inner, rate, c.b1))

  names = {f.__name__: f for f in (adamw, adamw_tf, muon, adafactor, lion, schedule_free)}
  if c.name not in names:
    raise InputError(f'optimizer.name={c.name!r}; choose from {", ".join(names)}')
  update = names[c.name]()
  return optax.chain(optax.clip_by_global_norm(c.clip), update) if c.clip else update
