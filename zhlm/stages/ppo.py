"""PPO from human feedback (Ziegler et al. 2019; Stiennon et al. 2020; Ouyang et al. 2022).

The policy makes the data: for prompts, sample answers; score them; charge the KL to the reference token by
token; estimate advantages; then a few epochs of minibatches, each a plain supervised batch. The reference
is opened from `init_from` and the reward model from `ppo.reward_from`; neither enters the loss. The rollout
in flight is the carry, so a run may stop and go on between any two updates.
"""

import functools

import jax
import jax.numpy as jnp

from zhlm import checkpoint, losses, model, rollout
from zhlm.data import batches as data
from zhlm.devices import put_batch
from zhlm.sharding import constrain
from zhlm.stages import Stage


def make(config) -> Stage:
  c = config.ppo
  lm, scalar = model.make(config), model.make(config, 'scalar')
  nets = {'policy': lm, 'reference': model.without_adapters(lm), 'reward': model.without_adapters(scalar)}
  rows, period = config.batch.B * c.minibatches, c.epochs * c.minibatches
  key = jax.random.fold_in(jax.random.key(config.seed), 1)  # the train step uses the seed's own key

  @functools.partial(jax.jit, static_argnames='player')
  def sample(networks, prompts, key, stop, player='policy'):
    networks = {'reference': networks['policy'], **networks}  # where adapters train: it without them
    how = dict(new=c.new_tokens, stop=stop, temperature=c.temperature, player=player)
    return rollout.complete(nets, networks, prompts['tokens'], prompts['lengths'], key, **how)

  def prompts(start, split):
    mesh = jax.sharding.get_mesh()
    source = data.sources(config, split, lambda part: data.Prompts(part, split))
    return (put_batch(mesh, x) for x, _, _ in data.stream(source, config, start, split, rows, period))

  def values(params, tokens_BT, scale_B2):
    """The value network begins as the reward model, so it is read in the same units."""
    raw_BT, _ = scalar.apply({'params': params['value']}, tokens_BT)
    return (raw_BT - scale_B2[:, :1]) / scale_B2[:, 1:]

  @jax.jit
  def experience(x, params, scale):
    scale_B2 = jnp.broadcast_to(scale, (rows, 2))
    score_B = (x['score'] - scale[0]) / scale[1] - c.no_end_penalty * ~x['ended']
    mask_BT = x['mask']
    kl_BT = (x['logp'] - x['logp_ref']) * mask_BT
    last_BT = mask_BT * (jnp.cumsum(mask_BT, 1) == mask_BT.sum(1, keepdims=True))
    value_BT = values(params, x['tokens'], scale_B2)
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
      'scale': scale_B2,
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
    return jax.tree.map(lambda x: constrain(x[rows], 'B_'), batch)

  def batches(networks, start, split, carry=None):
    stop = data.end_of_turn(config)
    if not carry:
      # The KL cost means something only beside scores of a known scale: mean 0 and deviation 1 over the
      # reference's own answers (Ziegler et al. 2019, section 2.1).
      first = sample(networks(), next(prompts(0, 'train')), key, stop, player='reference')
      scale = jnp.stack([first['score'].mean(), jnp.maximum(first['score'].std(), 1e-6)])
      carry = {'scale': scale}
    begin, done = divmod(start, period)
    for i, prompt in enumerate(prompts(begin, split), begin):
      key_i = jax.random.fold_in(key, 1 + i)
      if not done:
        now = networks()
        batch, info = experience(sample(now, prompt, key_i, stop), now, carry['scale'])
        carry = {'scale': carry['scale'], 'rollout': batch, 'info': info}
      for n in range(done, period if split == 'train' else c.minibatches):
        order = jax.random.permutation(jax.random.fold_in(key_i, n // c.minibatches), rows)
        part = jnp.split(order, c.minibatches)[n % c.minibatches]
        yield take(carry['rollout'], part), carry['info'], carry
      done = 0

  def init(rng):
    tokens_BT = jnp.zeros((1, config.batch.T), jnp.int32)
    policy, value = (net.init(rng, tokens_BT)['params'] for net in (lm, scalar))
    return {'policy': policy, 'value': value}

  def loss(params, batch, rng):
    logp_BT, _ = rollout.reads(lm, params['policy'], batch['tokens'], batch['targets'], c.temperature)
    policy_BT, ratio_BT = losses.clipped_policy(logp_BT, batch['logp'], batch['advantage'], c.clip)
    value_BT = values(params, batch['tokens'], batch['scale'])
    error_BT = losses.clipped_value(value_BT, batch['value'], batch['return'], c.value_clip)
    w_BT = batch['weights']
    return losses.total(policy_BT + c.value_cost * error_BT, w_BT), {
      'policy_loss': losses.total(policy_BT, w_BT),
      'value_loss': losses.total(error_BT, w_BT),
      'clipped': losses.total(jnp.abs(ratio_BT - 1) > c.clip, w_BT),
      'ratio': losses.total(ratio_BT, w_BT),
      'approximate_kl': losses.total(0.5 * (logp_BT - batch['logp']) ** 2, w_BT),
    }

  def programs():
    of = jax.ShapeDtypeStruct
    heads = {'policy': 'lm', **{k: 'lm' if k == 'reference' else 'scalar' for k in frozen}}
    networks = {k: checkpoint.transformer_shapes(config, head) for k, head in heads.items()}
    prompts = {'tokens': of((rows, c.prompt_tokens), 'int32'), 'lengths': of((rows,), 'int32')}
    return {'rollout': (sample, (networks, prompts, jax.eval_shape(lambda: key), of((), 'int32')))}

  def carry_shapes():
    sampled = jax.eval_shape(sample, *checkpoint.unbox(programs()['rollout'][1]))
    scale = jax.ShapeDtypeStruct((2,), 'float32')
    batch, info = jax.eval_shape(experience, sampled, checkpoint.unbox(jax.eval_shape(init, key)), scale)
    return {'scale': scale, 'rollout': batch, 'info': info}

  def shapes():
    B = config.batch.B
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((B, *x.shape[1:]), x.dtype), carry_shapes()['rollout']
    )

  start = {'policy': (config.init_from, 'policy'), 'value': (c.reward_from, 'reward')}
  frozen = {'reference': ('init_from', 'policy'), 'reward': ('ppo.reward_from', 'reward')}
  if config.model.lora_rank:
    del frozen['reference']
  return Stage(init, loss, batches, shapes, start, frozen, carry_shapes, programs)
