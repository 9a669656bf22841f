"""Learning from one's own answers: what PPO, GRPO and RLOO share. The policy makes the data.

For prompts, sample answers; score them by `config.rollout.reward`; let the stage's `experience` turn them
into supervised rows; then a few epochs of minibatches. The rollout in flight is the carry, so a run may
stop and go on between any two updates. Randomness is (seed, rollout, row): no mesh changes it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zhlm import checkpoint, losses, model, rewards, rollout
from zhlm.data import batches as data
from zhlm.data import chat, tokenizer
from zhlm.devices import local_rows, put_batch
from zhlm.errors import InputError
from zhlm.sharding import constrain


def parts(config):
  """({network: Part} of the reward's runs, [Part] of its rules). Raises InputError where there is none."""
  found = rewards.parse(config.rollout.reward)
  if not found:
    raise InputError(
      f'{config.stage} needs --config.rollout.reward=run:FOLDER of a reward model, rules, or a weighted '
      f'sum of both; the rules are {", ".join(rewards.names())}'
    )
  runs = [part for part in found if part.name == rewards.RUN]
  names = ['reward', *(f'reward_{i}' for i in range(2, len(runs) + 1))]
  return dict(zip(names, runs, strict=False)), [part for part in found if part.name != rewards.RUN]


def judged(rules, said, x, spm, stop, samples):
  """The weighted sum of the rules for each answer, [R]: every host reads the answers on its own devices.

  said: what the user says in this host's prompts, each answered `samples` times.
  """
  mesh, R = jax.sharding.get_mesh(), len(x['count'])
  if not rules:
    return np.zeros(R, np.float32)
  answers = [
    chat.decode(spm, [t for t in tokens[:count] if t != stop])
    for tokens, count in zip(local_rows(mesh, x['answers']), local_rows(mesh, x['count']), strict=True)
  ]
  prompts = [text for text in said for _ in range(samples)]
  return put_batch(mesh, {'score': rewards.scores(rules, prompts, answers)})['score']


class Online(NamedTuple):
  """What of a Stage is the same for all that learn online; shapes and carry_shapes take those of params."""

  batches: Callable
  shapes: Callable
  frozen: dict
  carry_shapes: Callable
  programs: Callable
  narrow: Callable


def fitting(config):
  """How `rollout.by_length` computes the rows of a rollout: in parts like those of an update."""
  return dict(widths=config.rollout.widths, parts=config.rollout.minibatches * config.batch.microbatches)


def weights(mean, mask_BT, window_BT):
  """What the tokens of a rollout weigh. 'token': the mean is over all tokens, long answers weigh more;
  'sequence': over answers, of the mean of each; 'constant': a sum divided by one number whatever the
  lengths (Dr. GRPO, Liu et al. 2025), if the loss is zero outside the mask. InputError for another name."""
  if mean not in ('token', 'sequence', 'constant'):
    raise InputError(f'mean={mean!r}; choose from token, sequence, constant')
  by = {'token': 1.0, 'sequence': jnp.maximum(mask_BT.sum(1, keepdims=True), 1.0)}
  return window_BT if mean == 'constant' else mask_BT / by[mean]


def make(config, experience, own=dict) -> Online:
  """For a stage that learns online.

  experience(x, params, own) -> (rows, info, own): pure. x holds arrays of R answers, those to one prompt
  together (`rollout.complete`; `score`: the whole reward, scaled; `scales`); rows are to hold `tokens` and
  `weights`; own() is what the stage itself carries from one rollout to the next.
  """
  r = config.rollout
  runs, rules = parts(config)
  lm, scalar = model.make(config), model.make(config, 'scalar')
  plain = model.without_adapters(scalar)
  nets = {'policy': lm, 'reference': model.without_adapters(lm), **dict.fromkeys(runs, plain)}
  rows, period = config.batch.B * r.minibatches, r.epochs * r.minibatches
  if rows % r.samples:
    raise InputError(f'rollout.samples={r.samples} must divide batch.B × rollout.minibatches = {rows}')
  key = jax.random.fold_in(jax.random.key(config.seed), 1)  # the train step uses the seed's own key

  @functools.partial(jax.jit, static_argnames='player')
  def sample(networks, prompts, key, stop, player='policy'):
    networks = {'reference': networks['policy'], **networks}  # where adapters train: it without them
    prompts = {k: jnp.repeat(x, r.samples, 0) for k, x in prompts.items()}
    how = dict(new=r.new_tokens, stop=stop, temperature=r.temperature, player=player, scorers=tuple(runs))
    return rollout.complete(
      nets, networks, prompts['tokens'], prompts['lengths'], key, **how, **fitting(config)
    )

  @jax.jit
  def scored(x, rules_B, scales):
    """x with `score`: the weighted sum of all parts, each run in deviations from the reference's mean."""
    total_B = rules_B
    for name, part in runs.items():
      total_B += part.weight * (x['scores'][name] - scales[name][0]) / scales[name][1]
    cut_B = jnp.where(r.no_end_instead, 0.0, total_B) - r.no_end_penalty
    total_B = jnp.where(x['ended'], total_B, cut_B)
    return {**x, 'score': total_B, 'scales': {k: jnp.broadcast_to(s, (rows, 2)) for k, s in scales.items()}}

  @jax.jit
  def told(x):
    """Numbers of a rollout for the log: KL in nats an answer, estimated on the samples (k1)."""
    kl_BT = (x['logp'] - x['logp_ref']) * x['mask']
    return {
      'score': x['score'].mean(),
      **{f'raw_{name}': score_B.mean() for name, score_B in x['scores'].items()},
      'kl': kl_BT.sum(1).mean(),
      'entropy': losses.mean(x['entropy'], x['mask']),
      'length': x['count'].mean(),
      'ended': x['ended'].mean(),
    }

  learn = jax.jit(experience)

  @jax.jit
  def take(batch, rows):
    rows = rows[rollout.order(batch['mask'][rows], config.batch.microbatches)]
    return jax.tree.map(lambda x: constrain(x[rows], 'B' + '_' * (x.ndim - 1)), batch)

  def prompts(start, split):
    """(prompts on the devices, what the user says in this host's part of them), a rollout after another."""
    mesh = jax.sharding.get_mesh()
    source = data.sources(config, split, lambda part: data.Prompts(part, split))
    for x, _, _ in data.stream(source, config, start, split, rows // r.samples, period):
      where = zip(x.pop('part'), x.pop('row'), strict=True)
      yield put_batch(mesh, x), [data.said(source, *at) for at in where] if rules else None

  def first(networks, stop):
    """What is carried into the first rollout. The price of KL means something only beside scores of a known
    scale: mean 0 and deviation 1 over the reference's own answers (Ziegler et al. 2019, section 2.1)."""
    scales = {}
    if runs:
      x = sample(networks, next(prompts(0, 'train'))[0], key, stop, player='reference')
      for name, score_B in x['scores'].items():
        scales[name] = jnp.stack([score_B.mean(), jnp.maximum(score_B.std(), 1e-6)])
    return {'scales': scales, 'own': own()}

  def batches(networks, start, split, carry=None):
    stop = data.end_of_turn(config)
    spm = tokenizer.load(data.tokenizer_folder(config))
    carry = carry or first(networks(), stop)
    begin, done = divmod(start, period)
    for i, (prompt, said) in enumerate(prompts(begin, split), begin):
      key_i = jax.random.fold_in(key, 1 + i)
      if not done:
        now = networks()
        x = sample(now, prompt, key_i, stop)
        x = scored(x, judged(rules, said, x, spm, stop, r.samples), carry['scales'])
        made, info, mine = learn(x, now, carry['own'])
        info = {**told(x), **info}
        carry = {**carry, 'own': mine, 'rollout': made, 'info': info}
      for n in range(done, period if split == 'train' else r.minibatches):
        order = jax.random.permutation(jax.random.fold_in(key_i, n // r.minibatches), rows)
        part = jnp.split(order, r.minibatches)[n % r.minibatches]
        yield take(carry['rollout'], part), carry['info'], carry
      done = 0

  def programs():
    of = jax.ShapeDtypeStruct
    heads = {'policy': 'lm', **{k: 'lm' if k == 'reference' else 'scalar' for k in frozen}}
    networks = {k: checkpoint.transformer_shapes(config, head) for k, head in heads.items()}
    P = rows // r.samples
    prompts = {'tokens': of((P, r.prompt_tokens), 'int32'), 'lengths': of((P,), 'int32')}
    return {'rollout': (sample, (networks, prompts, jax.eval_shape(lambda: key), of((), 'int32')))}

  def carry_shapes(params):
    of = jax.ShapeDtypeStruct
    x = jax.eval_shape(sample, *checkpoint.unbox(programs()['rollout'][1]))
    scales = {name: of((2,), 'float32') for name in runs}
    mine = jax.eval_shape(own)
    x = jax.eval_shape(scored, x, of((rows,), 'float32'), scales)
    made, info, mine = jax.eval_shape(experience, x, params, mine)
    info = {**jax.eval_shape(told, x), **info}
    return {'scales': scales, 'own': mine, 'rollout': made, 'info': info}

  def shapes(params):
    B = config.batch.B
    made = carry_shapes(params)['rollout']
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((B, *x.shape[1:]), x.dtype), made)

  frozen = {name: (part.options[0], 'reward') for name, part in runs.items()}
  if not config.model.lora_rank:
    frozen['reference'] = (config.init_from, 'policy')
  narrow = functools.partial(rollout.narrow, P=r.prompt_tokens, widths=r.widths)
  return Online(batches, shapes, frozen, carry_shapes, programs, narrow)
