"""The reward model: one number an answer, learnt from people's rankings of K answers to one prompt
(Stiennon et al. 2020; Ouyang et al. 2022, eq. 1). One prompt with all its answers is one batch element."""

import jax
import jax.numpy as jnp

from zhlm import losses, model, rollout
from zhlm.data import batches as data
from zhlm.stages import Stage


def make(config) -> Stage:
  net = model.make(config, 'scalar')

  def init(rng):
    return {'reward': net.init(rng, jnp.zeros((1, config.batch.T), jnp.int32))['params']}

  def loss(params, batch, rng):
    B, C, T = batch['tokens'].shape
    rows, lengths = batch['tokens'].reshape(-1, T), batch['lengths'].reshape(-1)
    rewards_BC = rollout.score(net, params['reward'], rows, lengths).reshape(B, C)
    gap_BCC = rewards_BC[:, :, None] - rewards_BC[:, None, :]
    return losses.total(losses.preference(rewards_BC), batch['weights']), {
      'accuracy': losses.total(gap_BCC > 0, batch['weights']),
      'margin': losses.total(gap_BCC, batch['weights']),
    }

  def batches(networks, start, split, carry=None):
    return data.stream(data.fitting(config, split, data.Ranked), config, start, split)

  def shapes():
    B, C, T = config.batch.B, config.reward.C, config.batch.T
    of = jax.ShapeDtypeStruct
    return {
      'tokens': of((B, C, T), 'int32'),
      'lengths': of((B, C), 'int32'),
      'weights': of((B, C, C), 'float32'),
    }

  def epoch():
    return data.updates(data.Ranked(config, 'train'), config)

  start = {'reward': (config.init_from, 'policy')}
  return Stage(init, loss, batches, shapes, start, epoch=epoch)
