"""The only loop and the only update, for every stage: read a batch, take a gradient, write it down."""

import contextlib
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zhlm import checkpoint, devices, guard, hosts, lora, losses, metrics, optim, stages, validation


def combined(total, part):
  """Numbers of another microbatch beside those before: sums, but of names in max_ and min_."""
  how = {'max_': jnp.maximum, 'min_': jnp.minimum}
  return {k: how.get(k[:4], jnp.add)(total[k], part[k]) for k in total}


class State(NamedTuple):
  """All that a run is: with the config, it determines every later step."""

  step: Any
  params: Any
  opt: Any
  guard: Any = guard.State()
  ema: Any = {}  # a slow average of params, where the config asks for one


def make_step(
  loss, tx, microbatches, key, adapters=False, spike=0.0, ema=0.0, debug=False, narrow=lambda x: (0, [x])
):
  """The update (state, batch) -> (state, metrics), pure. Metrics are sums weighted as the loss is;
  names that begin with max_ or min_ are the largest and the least.

  Gradients, updates and `state.opt` are of what trains: with `adapters`, of those only (`optim.split`).
  An update that `guard.judge` refuses leaves the state as it is, and is counted. ema: decay of the average
  of the weights. A loss of several terms, {name: loss}, is their sum, and the norms of their gradients are
  told apart. debug: tells the first array that is not finite, as `first_bad`. narrow: a Stage's.
  """

  def split(x):  # by stride: a block would put each microbatch on few of the devices
    return x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)

  def step(state, batch):
    rng = jax.random.fold_in(key, state.step)
    trained, frozen = optim.split(state.params, adapters)
    at = optim.gradient_at(state.opt, trained)

    def part(x):
      i, microbatch = x
      which, versions = narrow(microbatch)
      return jax.lax.switch(which, [functools.partial(gradient, i, version) for version in versions])

    def gradient(i, microbatch):
      rng_i = jax.random.fold_in(rng, i)

      def of(trained):
        value, info = loss(lora.join(trained, frozen), microbatch, rng_i)
        return value if isinstance(value, dict) else {'loss': value}, info

      terms, pull, info = jax.vjp(of, at, has_aux=True)
      grads = {name: pull({k: jnp.float32(k == name) for k in terms})[0] for name in terms}
      return grads, {'loss': sum(terms.values()), **info}

    parts = (jnp.arange(microbatches), jax.tree.map(split, losses.weights_sum_to_one(batch)))

    def more(total, x):
      grads, info = part(x)
      return (jax.tree.map(jnp.add, total[0], grads), combined(total[1], info)), None

    grads, info = jax.eval_shape(part, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), grads)
    least = {'max_': -jnp.inf, 'min_': jnp.inf}
    none = {k: jnp.full(x.shape, least.get(k[:4], 0), x.dtype) for k, x in info.items()}
    (grads, info), _ = jax.lax.scan(more, (zeros, none), parts)
    if len(grads) > 1:
      info |= {f'grad_norm_{name}': optax.global_norm(x) for name, x in grads.items()}
    grads = jax.tree.map(lambda *x: sum(x), *grads.values())
    updates, opt = tx.update(grads, state.opt, trained)
    params = lora.join(optax.apply_updates(trained, updates), frozen)
    info |= {'grad_norm': optax.global_norm(grads), 'param_norm': optax.global_norm(params)}
    finite = (info['loss'], info['param_norm'])
    ok, judged = guard.judge(state.guard, info['grad_norm'], finite, spike)
    slow = optax.incremental_update(params, state.ema, 1 - ema) if ema else {}
    made = guard.choose(ok, (params, opt, slow), (state.params, state.opt, state.ema))
    info |= {'skipped': judged.skipped, 'skipped_in_a_row': judged.row}
    if debug:
      info['first_bad'] = guard.first_bad(batch, state.params, lora.join(grads, frozen), params)
    params, opt, slow = made
    return State(state.step + 1, params, opt, judged, slow), info

  return step


def update(config, stage):
  """(the jitted update of a config, which donates the state; fresh(params) -> the rest of a first State).
  What trains here is what `launch.compile` compiles for a pod."""
  tx, adapters, ema = optim.make(config), config.model.lora_rank > 0, config.optimizer.ema

  def fresh(params):
    average = jax.tree.map(jnp.copy, params) if ema else {}
    return {'opt': tx.init(optim.split(params, adapters)[0]), 'guard': guard.State(), 'ema': average}

  how = dict(adapters=adapters, spike=config.guard.spike, ema=ema, debug=config.debug, narrow=stage.narrow)
  step = make_step(stage.loss, tx, config.batch.microbatches, jax.random.key(config.seed), **how)
  return jax.jit(step, donate_argnums=0), fresh


def train(config, workdir, profile=(0, 0)):
  """Trains `config` in `workdir`, going on from its newest checkpoint; returns the last State.

  profile: the first and last step of which to write a trace. Raises InputError for what a user can mend
  (also a loss that is not a number), and `metrics.Stopped` after a signal, with everything saved.
  """
  mesh = devices.make_mesh(config.mesh)
  devices.check_batch(mesh, **config.batch)
  with jax.set_mesh(mesh):
    config = stages.resolved(config)
    stage = stages.make(config)
    frozen = checkpoint.open_frozen(stage, config)
    step_fn, fresh = update(config, stage)
    key = jax.random.key(config.seed)
  with contextlib.ExitStack() as stack:
    enter = stack.enter_context
    enter(jax.set_mesh(mesh))
    run = enter(checkpoint.Run(workdir, config, frozen))
    start, params, rest, carry = run.restore(lambda: stage.init(key), fresh, stage)
    state = State(jnp.asarray(start, jnp.int32), params, **rest)
    step_fn = guard.watched(step_fn) if config.debug else step_fn
    log = enter(contextlib.closing(metrics.Log(workdir, config, state.params, start, mesh)))
    stopped, profiled = enter(hosts.signals()), enter(metrics.profiler(workdir, *profile))
    batches = stage.batches(lambda: {**frozen, **state.params}, start, 'train', carry)

    def validated(step):
      networks = {**frozen, **(state.ema or state.params)}
      numbers, samples, loss = validation.look(stage, networks, carry, config.eval_batches)
      log.validation(step, numbers, samples)
      return loss

    for step in range(start + 1, config.steps + 1):
      batch, info, carry = next(batches)
      if step == 1 and stage.observe and config.eval_every:
        validated(0)  # what the later ones are held against
      batch = devices.put_batch(mesh, batch)
      with profiled(step):
        state, numbers = step_fn(state, batch)
      # Looks at the step before: this one is still running.
      log.step(step, numbers, info, batch['tokens'].size)
      last, stop = step == config.steps, stopped()
      validates = config.eval_every and (step % config.eval_every == 0 or last)
      saves = step % config.save_every == 0 or last or stop
      if validates or saves:
        log.flush()
        since = time.time()
        loss = validated(step) if validates else None
        # Where updates are being skipped, the weights may be at fault: the older ones are kept.
        if saves and (last or not log.skipping):
          rest = {k: getattr(state, k) for k in rest}
          run.save(step, state.params, rest, carry, loss)
        log.pause(time.time() - since)
      if stop and not last:
        run.wait()
        raise metrics.Stopped(stop, run.saved, workdir)
  return state
