"""Pretraining: -log π(next token), averaged over all tokens of packed documents (Radford et al. 2018)."""

import jax.numpy as jnp

from zhlm import losses, model
from zhlm.data import batches as data
from zhlm.stages import Stage


def make(config) -> Stage:
  net = model.make(config)

  def init(rng):
    return {'policy': net.init(rng, jnp.zeros((1, config.batch.T), jnp.int32))['params']}

  def loss(params, batch, rng):
    read = ('tokens', 'positions', 'segments')
    (logp_BT, _), _ = net.apply(
      {'params': params['policy']}, *(batch[k] for k in read), targets_BT=batch['targets']
    )
    return losses.total(-logp_BT, batch['weights']), {}

  def batches(get_params, start, split):
    rows = data.packed(config, 'pretrain', split, data.concat)
    return data.stream(rows, config, start, split)

  return Stage(init, loss, batches, start={'policy': (config.init_from, 'policy')})
