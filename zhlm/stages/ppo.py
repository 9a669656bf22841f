"""PPO from human feedback (Ziegler et al. 2019; Stiennon et al. 2020; Ouyang et al. 2022).

The policy makes the data (`zhlm/online.py`): answers are scored, the KL to the reference is charged token
by token, advantages are estimated, and a few epochs of minibatches follow, each a plain supervised batch.
With `ppo.pretrain_cost` text of pretraining stands in every batch, too (PPO-ptx).
"""

import jax
import jax.numpy as jnp

from zhlm import estimators, judging, losses, model, online, rollout
from zhlm.devices import put_batch
from zhlm.errors import InputError
from zhlm.stages import Stage, pretrain

VALUES = ('reward', 'policy', 'zero', 'shared')


def beside(config):
  """The stage whose loss PPO-ptx adds: pretraining, `pretrain_rows` rows of it for each of the batch."""
  more = config.copy_and_resolve_references()
  with more.unlocked():
    more.batch.B *= config.ppo.pretrain_rows
  return pretrain.make(more)


def make(config) -> Stage:
  c, t, P = config.ppo, config.rollout.temperature, config.rollout.prompt_tokens
  lm, scalar, both = (model.make(config, head) for head in ('lm', 'scalar', 'both'))
  if c.value_from not in VALUES:
    raise InputError(f'ppo.value_from={c.value_from!r}; choose from {", ".join(VALUES)}')
  runs, _ = judging.parts(config)
  value_from = c.value_from if runs or c.value_from != 'reward' else 'zero'  # rules alone: there is none
  text = beside(config) if c.pretrain_cost else None

  def read(params, x):
    """(log π of the targets, values), [B, T]. A value network that begins as the reward model is read in
    the same units."""
    columns_BW = rollout.window(x['mask'], P)
    if value_from == 'shared':
      whole = {**params['policy'], **params['value']}
      (logp_BT, _), raw_BT = rollout.reads(both, whole, x['tokens'], x['targets'], t, columns_BW)
    else:
      logp_BT, _ = rollout.reads(lm, params['policy'], x['tokens'], x['targets'], t, columns_BW)
      raw_BT, _ = scalar.apply({'params': params['value']}, x['tokens'])
    return logp_BT, (raw_BT - x['scale'][:, :1]) / x['scale'][:, 1:]

  def experience(x, params, own):
    mask_BT = x['mask']
    kl_BT = estimators.kl('k1', x['logp'], x['logp_ref']) * mask_BT
    last_BT = mask_BT * (jnp.cumsum(mask_BT, 1) == mask_BT.sum(1, keepdims=True))
    plain_B2 = jnp.broadcast_to(jnp.array([0.0, 1.0]), (len(mask_BT), 2))
    scale_B2 = x['scales']['reward'] if value_from == 'reward' else plain_B2
    seen = {**{k: x[k] for k in ('tokens', 'targets', 'mask')}, 'scale': scale_B2}
    value_BT = rollout.by_length(lambda seen: read(params, seen)[1], seen, P=P, **online.parting(config))
    rewards_BT = losses.token_rewards(x['score'], kl_BT, last_BT, own['kl_cost'])
    if c.whiten_rewards:
      rewards_BT = estimators.whiten_spread(rewards_BT, mask_BT)
    advantages_BT, returns_BT = losses.advantages(rewards_BT, value_BT, mask_BT, c.gamma, c.lam)
    batch = {
      'tokens': x['tokens'],
      'targets': x['targets'],
      'weights': online.weights(c.mean, mask_BT, x['window']),
      'mask': mask_BT,
      'logp': x['logp'],
      'logp_ref': x['logp_ref'],
      'advantage': losses.whiten(advantages_BT, mask_BT) if c.whiten_advantages else advantages_BT,
      'value': value_BT,
      'return': returns_BT,
      'scale': scale_B2,
    }
    nats = kl_BT.sum(1).mean()
    explained = estimators.explained_variance(value_BT, returns_BT, mask_BT)
    info = {'kl_cost': own['kl_cost'], 'value_explained': explained}
    if c.kl_target:
      cost = estimators.next_kl_cost(own['kl_cost'], nats, c.kl_target, c.kl_horizon, len(mask_BT))
      own = {'kl_cost': cost}
    return batch, info, own

  made = online.make(config, experience, own=lambda: {'kl_cost': jnp.float32(c.kl_cost)})

  def batches(networks, start, split, carry=None):
    played = made.batches(networks, start, split, carry)
    if not text:
      yield from played
      return
    mesh = jax.sharding.get_mesh()
    for (batch, info, carry), (rows, _, _) in zip(
      played, text.batches(networks, start, split), strict=False
    ):
      yield {**batch, 'pretrain': put_batch(mesh, rows)}, info, carry

  def init(rng):
    tokens_BT = jnp.zeros((1, config.batch.T), jnp.int32)
    policy, value = (net.init(rng, tokens_BT)['params'] for net in (lm, scalar))
    if value_from in ('zero', 'shared'):
      value['score'] = jax.tree.map(jnp.zeros_like, value['score'])
    if value_from == 'shared':
      value = {k: value[k] for k in ('score', 'score_bias')}
    return {'policy': policy, 'value': value}

  def loss(params, batch, rng):
    logp_BT, value_BT = read(params, batch)
    policy_BT, ratio_BT = losses.clipped_policy(logp_BT, batch['logp'], batch['advantage'], c.clip)
    error_BT = losses.clipped_value(value_BT, batch['value'], batch['return'], c.value_clip)
    w_BT, mask_BT = batch['weights'], batch['mask']
    each_BT = policy_BT + c.value_cost * error_BT
    if c.kl_loss:
      each_BT += c.kl_loss * estimators.kl_cost(c.kl_estimate, logp_BT, batch['logp_ref'])
    numbers = {
      'policy_loss': losses.total(policy_BT * mask_BT, w_BT),
      'value_loss': losses.total(error_BT * mask_BT, w_BT),
      'clipped': losses.total((jnp.abs(ratio_BT - 1) > c.clip) * mask_BT, w_BT),
      'approximate_kl': losses.total(0.5 * (logp_BT - batch['logp']) ** 2 * mask_BT, w_BT),
      'ratio': losses.total(jnp.where(mask_BT > 0, ratio_BT, 1), w_BT),
      'min_ratio': jnp.where(mask_BT > 0, ratio_BT, jnp.inf).min(),
      'max_ratio': jnp.where(mask_BT > 0, ratio_BT, -jnp.inf).max(),
    }
    value = losses.total(each_BT * mask_BT, w_BT)
    if not text:
      return value, numbers
    nats, _ = text.loss(params, batch['pretrain'], rng)
    return {'ppo': value, 'pretrain': c.pretrain_cost * nats}, {**numbers, 'pretrain_loss': nats}

  def shapes():
    rows = made.shapes(jax.eval_shape(init, jax.random.key(0)))
    return {**rows, 'pretrain': text.shapes()} if text else rows

  def carry_shapes():
    return made.carry_shapes(jax.eval_shape(init, jax.random.key(0)))

  start = {'policy': (config.init_from, 'policy'), 'value': (config.init_from, 'policy')}
  if value_from == 'reward':
    start['value'] = made.frozen['reward']
  elif value_from == 'shared':
    del start['value']
  run = dict(programs=made.programs, observe=made.observe, narrow=made.narrow)
  return Stage(init, loss, batches, shapes, start, made.frozen, carry_shapes, **run)
