"""RLOO (Kool et al. 2019; Ahmadian et al. 2024): REINFORCE whose baseline is the other answers' mean.

A whole answer is one action. Its reward is its score less β times its KL to the reference; the mean of the
other answers to the prompt is taken off. One epoch is REINFORCE itself; more are held by a clipped ratio of
whole answers.
"""

import jax
import jax.numpy as jnp

from zhlm import estimators, losses, model, online, rollout
from zhlm.errors import InputError
from zhlm.stages import Stage


def make(config) -> Stage:
  c, r = config.rloo, config.rollout
  lm = model.make(config)
  if r.samples < 2:
    raise InputError(f'rollout.samples={r.samples}: rloo compares answers to one prompt; choose 2 or more')

  def experience(x, params, own):
    nats_B = (estimators.kl('k1', x['logp'], x['logp_ref']) * x['mask']).sum(1)
    reward_BK = (x['score'] - c.kl_cost * nats_B).reshape(-1, r.samples)
    advantage_B = estimators.leave_one_out(reward_BK).reshape(-1)
    if c.whiten:
      advantage_B = losses.whiten(advantage_B, jnp.ones_like(advantage_B))
    batch = {k: x[k] for k in ('tokens', 'targets', 'mask')} | {
      'logp': (x['logp'] * x['mask']).sum(1),
      'advantage': advantage_B,
      'weights': jnp.ones_like(advantage_B),
    }
    return batch, {'reward': reward_BK.mean()}, own

  made = online.make(config, experience)

  def init(rng):
    return {'policy': lm.init(rng, jnp.zeros((1, config.batch.T), jnp.int32))['params']}

  def loss(params, batch, rng):
    where = batch['tokens'], batch['targets'], r.temperature, rollout.window(batch['mask'], r.prompt_tokens)
    logp_BT, _ = rollout.reads(lm, params['policy'], *where)
    logp_B = (logp_BT * batch['mask']).sum(1)
    policy_B, ratio_B = losses.clipped_policy(logp_B, batch['logp'], batch['advantage'], c.clip)
    return losses.total(policy_B, batch['weights']), {
      'ratio': losses.total(ratio_B, batch['weights']),
      'clipped': losses.total(jnp.abs(ratio_B - 1) > c.clip, batch['weights']),
    }

  def like():
    return jax.eval_shape(init, jax.random.key(0))

  start = {'policy': (config.init_from, 'policy')}
  shapes, carry_shapes = lambda: made.shapes(like()), lambda: made.carry_shapes(like())
  run = dict(programs=made.programs, observe=made.observe, narrow=made.narrow)
  return Stage(init, loss, made.batches, shapes, start, made.frozen, carry_shapes, **run)
