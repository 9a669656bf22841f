"""Validation: what a stage says of data that it does not train on, by its loss or in its own way."""

import functools

import jax

from zhlm import devices, losses


def look(stage, networks, carry, count):
  """(numbers, samples, loss) of a validation: what `stage.observe` finds, or what `validate` does."""
  if not stage.observe:
    numbers = validate(stage, networks, count)
    return numbers, [], numbers['validation/loss']
  numbers, samples, loss = stage.observe(networks, carry)
  return {f'validation/{name}': x for name, x in numbers.items()}, samples, loss


def validate(stage, networks, count, split='validation'):
  """Means of the loss and of the stage's numbers over the first `count` batches of a split. networks: by
  name, those that train and those that are frozen."""
  total, weight = {}, 0.0
  for i, (batch, info, _) in enumerate(stage.batches(lambda: networks, 0, split)):
    if i >= count:
      break
    batch = devices.put_batch(jax.sharding.get_mesh(), batch)
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
  value, numbers = loss(params, losses.weights_sum_to_one(batch), jax.random.key(0))
  return sum(jax.tree.leaves(value)), numbers, weight
