"""Pretraining: -log π(next token), averaged over all tokens of packed documents (Radford et al. 2018)."""

import jax
import jax.numpy as jnp

from zhlm import losses, model, moe
from zhlm.data import batches as data
from zhlm.stages import Stage


def make(config) -> Stage:
  net = model.make(config)

  def init(rng):
    return {'policy': net.init(rng, jnp.zeros((1, config.batch.T), jnp.int32))['params']}

  def loss(params, batch, rng):
    read = [batch[k] for k in ('tokens', 'positions', 'segments')]
    ((logp_BT, _), _), sown = net.apply(
      {'params': params['policy']}, *read, targets_BT=batch['targets'], mutable='balance'
    )
    value, info = losses.total(-logp_BT, batch['weights']), {}
    if sown:  # the load balance of experts, rows weighing what their tokens do
      info = {k: losses.total(x, batch['weights'].sum(1)) for k, x in moe.balances(sown).items()}
      value += config.model.balance_cost * info['balance']
    return value, info

  def rows(split):
    return data.packed(config, 'pretrain', split, data.concat)

  def batches(networks, start, split, carry=None):
    return data.stream(rows(split), config, start, split)

  def epoch():
    return data.updates(rows('train'), config)

  def shapes():
    integer, real = (
      jax.ShapeDtypeStruct((config.batch.B, config.batch.T), t) for t in ('int32', 'float32')
    )
    return {k: integer for k in ('tokens', 'targets', 'positions', 'segments')} | {'weights': real}

  return Stage(init, loss, batches, shapes, start={'policy': (config.init_from, 'policy')}, epoch=epoch)
