"""GRPO (Shao et al. 2024): no value network; an answer is as good as it beats the others to its prompt.

`rollout.samples` answers to a prompt are one group, and every token of an answer gets the advantage of the
whole. KL is a term of the loss. With grpo.spread=False and grpo.mean=constant it is Dr. GRPO (Liu et al.
2025), which weighs neither prompts by their spread nor answers by their length.
"""

import jax
import jax.numpy as jnp

from zhlm import estimators, losses, model, online, rollout
from zhlm.errors import InputError
from zhlm.stages import Stage


def make(config) -> Stage:
  c, r = config.grpo, config.rollout
  lm = model.make(config)
  if r.samples < 2:
    raise InputError(f'rollout.samples={r.samples}: grpo compares answers to one prompt; choose 2 or more')

  def experience(x, params, own):
    mask_BT = x['mask']
    score_BK = x['score'].reshape(-1, r.samples)
    advantage_B = estimators.group_advantages(score_BK, c.spread).reshape(-1)
    batch = {k: x[k] for k in ('tokens', 'targets', 'mask', 'logp', 'logp_ref')} | {
      'weights': online.weights(c.mean, mask_BT, x['window']),
      'advantage': advantage_B[:, None] * mask_BT,
    }
    return batch, {'spread': score_BK.std(1).mean()}, own

  made = online.make(config, experience)

  def init(rng):
    return {'policy': lm.init(rng, jnp.zeros((1, config.batch.T), jnp.int32))['params']}

  def loss(params, batch, rng):
    where = batch['tokens'], batch['targets'], r.temperature, rollout.window(batch['mask'], r.prompt_tokens)
    logp_BT, _ = rollout.reads(lm, params['policy'], *where)
    policy_BT, ratio_BT = losses.clipped_policy(logp_BT, batch['logp'], batch['advantage'], c.clip)
    kl_BT = estimators.kl_cost(c.kl_estimate, logp_BT, batch['logp_ref'])
    w_BT, mask_BT = batch['weights'], batch['mask']
    return losses.total((policy_BT + c.kl_cost * kl_BT) * mask_BT, w_BT), {
      'policy_loss': losses.total(policy_BT * mask_BT, w_BT),
      'kl_loss': losses.total(kl_BT * mask_BT, w_BT),
      'clipped': losses.total((jnp.abs(ratio_BT - 1) > c.clip) * mask_BT, w_BT),
      'approximate_kl': losses.total(0.5 * (logp_BT - batch['logp']) ** 2 * mask_BT, w_BT),
    }

  def like():
    return jax.eval_shape(init, jax.random.key(0))

  start = {'policy': (config.init_from, 'policy')}
  shapes, carry_shapes = lambda: made.shapes(like()), lambda: made.carry_shapes(like())
  run = dict(programs=made.programs, observe=made.observe, narrow=made.narrow)
  return Stage(init, loss, made.batches, shapes, start, made.frozen, carry_shapes, **run)
