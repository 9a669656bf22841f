"""PPO from human feedback (Ziegler et al. 2019; Stiennon et al. 2020; Ouyang et al. 2022).

The policy makes the data: for prompts, sample answers; score them; charge the KL to the reference token by
token; estimate advantages; then a few epochs of minibatches, each a plain supervised batch. The reference
is opened from `init_from` and the reward model from `ppo.reward_from`; neither enters the loss.
"""

import jax
import jax.numpy as jnp

from zhlm import checkpoint, losses, model, rollout
from zhlm.data import batches as data
from zhlm.errors import InputError
from zhlm.sharding import constrain, put_batch
from zhlm.stages import Stage


def make(config) -> Stage:
  c = config.ppo
  if not config.init_from or not c.reward_from:
    raise InputError('ppo needs --config.init_from=SFT_RUN and --config.ppo.reward_from=REWARD_RUN')
  lm, scalar = model.make(config), model.make(config, 'scalar')
  frozen = {
    'reference': checkpoint.load(config.init_from, 'policy'),
    'reward': checkpoint.load(c.reward_from, 'reward'),
  }
  rows = config.batch.B * c.minibatches
  period = c.epochs * c.minibatches
  key = jax.random.fold_in(jax.random.key(config.seed), 1)  # the train step uses the seed's own key
  how = dict(new=c.new_tokens, stop=data.end_of_turn(config), temperature=c.temperature)

  @jax.jit
  def sample(networks, prompts, key):
    return rollout.complete(lm, scalar, networks, prompts['tokens'], prompts['lengths'], key, **how)

  def prompts(start, split):
    mesh = jax.sharding.get_mesh()
    source = data.sources(config, split, lambda part: data.Prompts(part, split))
    return (put_batch(mesh, x) for x, _ in data.stream(source, config, start, split, rows, period))

  # The KL cost means something only beside scores of a known scale: mean 0 and deviation 1 over the
  # reference's own answers (Ziegler et al. 2019, section 2.1).
  first = sample({'policy': frozen['reference'], **frozen}, next(prompts(0, 'train')), key)
  mean, deviation = float(first['score'].mean()), max(float(first['score'].std()), 1e-6)

  def values(params, tokens_BT):
    """The value network begins as the reward model, so it is read in the same units."""
    raw_BT, _ = scalar.apply({'params': params['value']}, tokens_BT)
    return (raw_BT - mean) / deviation

  @jax.jit
  def experience(x, params):
    score_B = (x['score'] - mean) / deviation - c.no_end_penalty * ~x['ended']
    mask_BT = x['mask']
    kl_BT = (x['logp'] - x['logp_ref']) * mask_BT
    last_BT = mask_BT * (jnp.cumsum(mask_BT, 1) == mask_BT.sum(1, keepdims=True))
    value_BT = values(params, x['tokens'])
    rewards_BT = losses.token_rewards(score_B, kl_BT, last_BT, c.kl_cost)
    advantages_BT, returns_BT = losses.advantages(rewards_BT, value_BT, mask_BT, c.gamma, c.lam)
    batch = {
      'tokens': x['tokens'],
      'targets': x['targets'],
      'weights': mask_BT,
      'logp': x['logp'],
      'advantage': losses.whiten(advantages_BT, mask_BT),
      'value': value_BT,
      'return': returns_BT,
    }
    return batch, {
      'score': score_B.mean(),
      'kl': kl_BT.sum(1).mean(),  # nats an answer, estimated on the samples (k1)
      'entropy': losses.mean(x['entropy'], mask_BT),
      'length': x['count'].mean(),
      'ended': x['ended'].mean(),
    }

  @jax.jit
  def take(batch, rows):
    return jax.tree.map(lambda x: constrain(x[rows], 'BT'), batch)

  def batches(get_params, start, split):
    begin = start // period
    for i, prompt in enumerate(prompts(begin, split), begin):
      key_i = jax.random.fold_in(key, 1 + i)
      networks = {'policy': get_params()['policy'], **frozen}
      batch, info = experience(sample(networks, prompt, key_i), get_params())
      info = jax.device_get(info)
      for epoch in range(c.epochs if split == 'train' else 1):
        order = jax.random.permutation(jax.random.fold_in(key_i, epoch), rows)
        for part in jnp.split(order, c.minibatches):
          yield take(batch, part), info

  def init(rng):
    tokens_BT = jnp.zeros((1, config.batch.T), jnp.int32)
    policy, value = (net.init(rng, tokens_BT)['params'] for net in (lm, scalar))
    return {'policy': policy, 'value': value}

  def loss(params, batch, rng):
    logp_BT, _ = rollout.reads(lm, params['policy'], batch['tokens'], batch['targets'], c.temperature)
    policy_BT, ratio_BT = losses.clipped_policy(logp_BT, batch['logp'], batch['advantage'], c.clip)
    value_BT = values(params, batch['tokens'])
    error_BT = losses.clipped_value(value_BT, batch['value'], batch['return'], c.value_clip)
    w_BT = batch['weights']
    return losses.total(policy_BT + c.value_cost * error_BT, w_BT), {
      'policy_loss': losses.total(policy_BT, w_BT),
      'value_loss': losses.total(error_BT, w_BT),
      'clipped': losses.total(jnp.abs(ratio_BT - 1) > c.clip, w_BT),
      'ratio': losses.total(ratio_BT, w_BT),
      'approximate_kl': losses.total(0.5 * (logp_BT - batch['logp']) ** 2, w_BT),
    }

  start = {'policy': (config.init_from, 'policy'), 'value': (c.reward_from, 'reward')}
  return Stage(init, loss, batches, start, period)
