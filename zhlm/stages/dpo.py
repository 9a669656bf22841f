"""DPO (Rafailov et al. 2023) and IPO (Azar et al. 2024): a policy learns from rankings, no reward model.

The reward is implicit, β log π/π_ref of the whole row: what the answers to one prompt share, the prompt
itself, is not in the difference of two rows, so it needs no mask. As in the reward model, one prompt with
all its ranked answers is one batch element, and two answers make the published losses.
"""

import functools

import jax
import jax.numpy as jnp

from zhlm import checkpoint, losses, model, rollout
from zhlm.data import batches as data
from zhlm.devices import put_batch
from zhlm.errors import InputError
from zhlm.stages import Stage


def pairwise(name, gap_BCC):
  """The loss of each ordered pair, for its gap of implicit rewards β(x_i - x_j), x = log π/π_ref.

  dpo: -log σ(gap) (eq. 7);  ipo: (gap - ½)², eq. 17 times β²: the gap is drawn to ½, not to infinity.
  Raises InputError for another name.
  """
  if name not in ('dpo', 'ipo'):
    raise InputError(f'dpo.loss={name!r}; choose from dpo, ipo')
  return jax.nn.softplus(-gap_BCC) if name == 'dpo' else (gap_BCC - 0.5) ** 2


def make(config) -> Stage:
  c, net = config.dpo, model.make(config)
  plain = model.without_adapters(net)
  pairwise(c.loss, jnp.zeros(()))  # a wrong name is told now

  def logp(net, params, batch):
    """log π of each row, prompt and answer, [B, C]."""
    B, C, T = batch['tokens'].shape
    rows, lengths = batch['tokens'].reshape(-1, T), batch['lengths'].reshape(-1)
    logp_BT, _ = rollout.reads(net, params, rows[:, :-1], rows[:, 1:], 1.0)
    mask_BT = jnp.arange(T - 1) < lengths[:, None] - 1
    return (logp_BT * mask_BT).sum(1).reshape(B, C)

  reference = jax.jit(functools.partial(logp, plain))

  def init(rng):
    return {'policy': net.init(rng, jnp.zeros((1, config.batch.T), jnp.int32))['params']}

  def batches(networks, start, split, carry=None):
    mesh = jax.sharding.get_mesh()
    for batch, info, _ in data.stream(data.fitting(config, split, data.Ranked), config, start, split):
      batch, now = put_batch(mesh, batch), networks()
      ref = now.get('reference', now['policy'])  # with adapters: the policy without them
      yield {**batch, 'logp_ref': reference(ref, batch)}, info, {}

  def epoch():
    return data.updates(data.Ranked(config, 'train'), config)

  def loss(params, batch, rng):
    x_BC = c.beta * (logp(net, params['policy'], batch) - batch['logp_ref'])
    gap_BCC = x_BC[:, :, None] - x_BC[:, None, :]
    return losses.total(pairwise(c.loss, gap_BCC), batch['weights']), {
      'accuracy': losses.total(gap_BCC > 0, batch['weights']),
      'margin': losses.total(gap_BCC, batch['weights']),
      'better': losses.total(x_BC[:, :, None], batch['weights']),  # falls, too, where training goes on
    }

  def shapes():
    B, C, T = config.batch.B, config.reward.C, config.batch.T
    of = jax.ShapeDtypeStruct
    return {
      'tokens': of((B, C, T), 'int32'),
      'lengths': of((B, C), 'int32'),
      'weights': of((B, C, C), 'float32'),
      'logp_ref': of((B, C), 'float32'),
    }

  def programs():
    shape = {k: v for k, v in shapes().items() if k != 'logp_ref'}
    return {'reference': (reference, (checkpoint.transformer_shapes(config, 'lm'), shape))}

  start = {'policy': (config.init_from, 'policy')}
  frozen = {} if config.model.lora_rank else {'reference': start['policy']}
  return Stage(init, loss, batches, shapes, start, frozen, programs=programs, epoch=epoch)
