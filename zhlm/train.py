"""The only loop and the only update, for every stage: read a batch, take a gradient, write it down."""

import functools
import signal
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zhlm import checkpoint, metrics, optim, sharding, stages


class State(NamedTuple):
  """All that a run is: with the config, it determines every later step."""

  step: Any
  params: Any
  opt: Any


def weights_sum_to_one(batch):
  """Scales every leaf called `weights` to sum to one over the global batch, so that losses and gradients
  of microbatches, devices and hosts add up to the weighted mean."""

  def scale(path, x):
    if path[-1].key != 'weights':
      return x
    x = x.astype(jnp.float32)
    return x / jnp.maximum(x.sum(), 1e-9)

  return jax.tree_util.tree_map_with_path(scale, batch)


def make_step(loss, tx, microbatches, key):
  """The update (state, batch) -> (state, metrics), pure. Metrics are sums weighted as the loss is."""

  def split(x):  # by stride: a block would put each microbatch on few of the devices
    return x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)

  def step(state, batch):
    rng = jax.random.fold_in(key, state.step)

    def part(x):
      i, microbatch = x
      rng_i = jax.random.fold_in(rng, i)
      (value, info), grads = jax.value_and_grad(loss, has_aux=True)(state.params, microbatch, rng_i)
      return grads, {'loss': value, **info}

    parts = (jnp.arange(microbatches), jax.tree.map(split, weights_sum_to_one(batch)))
    shapes = jax.eval_shape(part, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (grads, info), _ = jax.lax.scan(
      lambda total, x: (jax.tree.map(jnp.add, total, part(x)), None), zeros, parts
    )
    updates, opt = tx.update(grads, state.opt, state.params)
    params = optax.apply_updates(state.params, updates)
    info |= {'grad_norm': optax.global_norm(grads), 'param_norm': optax.global_norm(params)}
    return State(state.step + 1, params, opt), info

  return step


def validate(stage, networks, count, split='validation'):
  """Means of the loss and of the stage's numbers over the first `count` batches of a split. networks: by
  name, those that train and those that are frozen."""
  total, weight = {}, 0.0
  for i, (batch, info, _) in enumerate(stage.batches(lambda: networks, 0, split)):
    if i >= count:
      break
    batch = sharding.put_batch(jax.sharding.get_mesh(), batch)
    value, numbers, w = jax.device_get(_weighed(stage.loss, networks, batch))
    for name, x in {'loss': value, **numbers, **info}.items():
      total[name] = total.get(name, 0.0) + float(w) * float(x)
    weight += float(w)
  return {f'{split}/{name}': x / weight for name, x in total.items()}


@functools.partial(jax.jit, static_argnums=0)
def _weighed(loss, params, batch):
  """(loss, metrics, the batch's weight before it is scaled to one)."""
  leaves = jax.tree_util.tree_leaves_with_path(batch)
  weight = sum(x.sum() for path, x in leaves if path[-1].key == 'weights')
  return *loss(params, weights_sum_to_one(batch), jax.random.key(0)), weight


def _signals(hit):
  """SIGTERM and Ctrl-C ask the loop to stop where it can resume; a second Ctrl-C ends at once."""

  def handle(number, _):
    if hit and number == signal.SIGINT:
      raise KeyboardInterrupt
    hit.append(number)

  return {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}


def train(config, workdir):
  """Trains `config` in `workdir`, going on from its newest checkpoint; returns the last State.

  Raises InputError for what a user can mend (also a loss that is not a number), and
  `metrics.Stopped` after a signal, with everything saved.
  """
  mesh = sharding.make_mesh(config.mesh)
  sharding.check_batch(mesh, **config.batch)
  hit = []
  with jax.set_mesh(mesh):
    stage = stages.make(config)
    frozen = checkpoint.open_frozen(stage, config)
    tx = optim.make(config.optimizer, config.steps)
    key = jax.random.key(config.seed)
  with jax.set_mesh(mesh), checkpoint.Run(workdir, config) as run:
    start, params, opt, carry = run.restore(lambda: stage.init(key), tx.init, stage)
    state = State(jnp.asarray(start, jnp.int32), params, opt)
    step_fn = jax.jit(make_step(stage.loss, tx, config.batch.microbatches, key), donate_argnums=0)
    log = metrics.Log(workdir, config, state.params, start, mesh)
    previous = _signals(hit)
    try:
      batches = stage.batches(lambda: {**frozen, **state.params}, start, 'train', carry)
      for step in range(start + 1, config.steps + 1):
        batch, info, carry = next(batches)
        batch = sharding.put_batch(mesh, batch)
        state, numbers = step_fn(state, batch)
        log.step(
          step, numbers, info, batch['tokens'].size
        )  # looks at the step before: this one is still running
        last, stop = step == config.steps, bool(hit)
        validates = config.eval_every and (step % config.eval_every == 0 or last)
        saves = step % config.save_every == 0 or last or stop
        if validates or saves:
          log.flush()  # raises when a loss was not a number: what is saved is sound
          since = time.time()
          if validates:
            log.write(step, validate(stage, {**frozen, **state.params}, config.eval_batches))
          if saves:
            run.save(step, state.params, state.opt, carry)
          log.pause(time.time() - since)
        if stop and not last:
          raise metrics.Stopped(hit[0], step, workdir)
    finally:
      for s, handler in previous.items():
        signal.signal(s, handler)
      log.close()
  return state
