"""Learning from one's own answers: what PPO, GRPO and RLOO share. The policy makes the data.

For prompts, sample answers; score them by `config.rollout.reward`; let the stage's `experience` turn them
into supervised rows; then a few epochs of minibatches. The rollout in flight is the carry, so a run may
stop and go on between any two updates. Randomness is (seed, rollout, row): no mesh changes it. A validation
answers the same held-out prompts with the same keys each time, and looks at what has become of the answers.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from zhlm import (
  checkpoint,
  devices,
  estimators,
  hosts,
  judging,
  losses,
  model,
  monitor,
  rewards,
  rollout,
  scale,
)
from zhlm.data import batches as data
from zhlm.data import tokenizer
from zhlm.devices import put_batch
from zhlm.errors import InputError
from zhlm.sharding import constrain


class Online(NamedTuple):
  """What of a Stage is the same for all that learn online; shapes and carry_shapes take those of params."""

  batches: Callable
  shapes: Callable
  frozen: dict
  carry_shapes: Callable
  programs: Callable
  observe: Callable
  narrow: Callable


def parting(config):
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
  runs, rules = judging.parts(config)
  golds, gold_rules = judging.networks('gold', rewards.parse(r.gold))
  lm, scalar = model.make(config), model.make(config, 'scalar')
  plain = model.without_adapters(scalar)
  nets = {'policy': lm, 'reference': model.without_adapters(lm), **dict.fromkeys(runs, plain)}
  gold_nets = {name: judging.scorer(part) for name, part in golds.items()}
  rows, period = config.batch.B * r.minibatches, r.epochs * r.minibatches
  if rows % r.samples:
    raise InputError(f'rollout.samples={r.samples} must divide batch.B × rollout.minibatches = {rows}')
  if r.prompt_tokens + r.new_tokens > config.batch.T:
    raise InputError(
      f'rollout.prompt_tokens={r.prompt_tokens} and rollout.new_tokens={r.new_tokens} are more than the '
      f'context, batch.T={config.batch.T}; lower one of them, or raise batch.T'
    )
  key = jax.random.fold_in(jax.random.key(config.seed), 1)  # the train step uses the seed's own key
  held = jax.random.fold_in(key, 0)  # of validations; rollout i has 1 + i

  @functools.partial(jax.jit, static_argnames='player')
  def sample(networks, prompts, key, stop, player='policy'):
    networks = {'reference': networks['policy'], **networks}  # where adapters train: it without them
    how = dict(new=r.new_tokens, stop=stop, temperature=r.temperature, player=player, scorers=tuple(runs))
    return rollout.complete(
      nets, networks, prompts['tokens'], prompts['lengths'], key, **how, **parting(config)
    )

  @jax.jit
  def scored(x, rules_B, scales):
    """x with `score`: the weighted sum of all parts, each run in deviations from the reference's mean."""
    total_B = rules_B
    for name, part in runs.items():
      total_B += part.weight * (x['scores'][name] - scales[name][0]) / scales[name][1]
    total_B = estimators.charged(total_B, x['ended'], r.no_end_penalty, r.no_end_instead)
    return {**x, 'score': total_B, 'scales': {k: jnp.broadcast_to(scales[k], (rows, 2)) for k in runs}}

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

  @jax.jit
  def looked(networks, x):
    """Of each answer: its nats of KL (k1) and of entropy, and what the gold runs say of it, raw."""
    total_B = jnp.argmax(x['window'], 1) + 1 + x['count']
    scores = {k: rollout.score(net, networks[k], x['tokens'], total_B) for k, net in gold_nets.items()}
    kl_BT = (x['logp'] - x['logp_ref']) * x['mask']
    return {'kl': kl_BT.sum(1), 'entropy': (x['entropy'] * x['mask']).sum(1), 'golds': scores}

  learn = jax.jit(experience)

  @jax.jit
  def take(batch, rows):
    rows = rows[rollout.order(batch['mask'][rows], config.batch.microbatches)]
    return jax.tree.map(lambda x: constrain(x[rows], 'B' + '_' * (x.ndim - 1)), batch)

  def prompts(source, start, split):
    """(prompts on the devices, what the user says in this host's part of them), a rollout after another."""
    mesh = jax.sharding.get_mesh()
    for x, _, _ in data.stream(source, config, start, split, rows, period, r.samples):
      where = zip(x.pop('part'), x.pop('row'), strict=True)
      yield put_batch(mesh, x), [data.said(source, *at) for at in where] if rules else None

  def held_out():
    """(prompts on the devices, what the user says in all of them), the same each time, round and round."""
    mesh = jax.sharding.get_mesh()
    source, here = data.Prompts(config, 'validation'), devices.host_rows(mesh, rows)
    for start in range(0, r.eval_samples, rows):
      found = [source[i // r.samples % len(source)] for i in range(start, start + rows)]
      prompt = {k: np.stack([found[i][k] for i in here]) for k in ('tokens', 'lengths')}
      yield put_batch(mesh, prompt), [data.said(source, x['part'], x['row']) for x in found]

  def observe(networks, carry):
    """What has become of the answers to held-out prompts: see `Stage.observe`. Each host has them all."""
    stop, spm = data.end_of_turn(config), tokenizer.load(data.tokenizer_folder(config))
    mesh, seen, infos, asked = jax.sharding.get_mesh(), [], [], []
    for i, (prompt, said) in enumerate(held_out()):
      x = sample(networks, prompt, jax.random.fold_in(held, i), stop)
      each = looked(networks, x)
      mine = [said[j] for j in devices.host_rows(mesh, len(said))]
      x = scored(x, judging.judged(rules, mine, x, spm, stop), carry['scales'])
      _, info, _ = learn(x, networks, carry['own'])
      each |= {k: x[k] for k in ('score', 'scores', 'count', 'ended', 'answers')}
      seen.append(multihost_utils.process_allgather(each, tiled=True))
      infos.append(jax.device_get(info))
      asked += said
    x = jax.tree.map(lambda *parts: np.concatenate(parts), *seen)
    x['texts'] = judging.texts(spm, x['answers'], x['count'], stop)
    if golds or gold_rules:
      x['gold'] = rewards.scores(gold_rules, asked, x['texts'])
      for name, part in golds.items():
        mean, deviation = np.asarray(carry['scales'][name])
        x['gold'] = x['gold'] + part.weight * (x['golds'][name] - mean) / deviation
    numbers = {k: float(np.mean([info[k] for info in infos])) for k in infos[0]} | monitor.numbers(x)
    return numbers, monitor.samples(x, asked), -numbers['gold' if 'gold' in x else 'score']

  def first(networks, stop):
    """What is carried into the first rollout: the scale of each run, as stored beside its weights, or else
    as measured on the reference's answers to the first prompts."""
    source = data.sources(config, 'train', lambda part: data.Prompts(part, 'train'))
    policy, scales, x = networks.get('reference', networks['policy']), {}, {}
    for name, part in {**runs, **golds}.items():
      scales[name], told = scale.read(part.options[0], config, networks[name], policy)
      if scales[name] is None:
        x = x or sample(networks, next(prompts(source, 0, 'train'))[0], key, stop, player='reference')
        found = x['scores'][name] if name in runs else looked(networks, x)['golds'][name]
        scales[name] = scale.of(found)
        told += f'; measured on {rows} answers: {scales[name][0]:.4g} ± {scales[name][1]:.4g}'
      if hosts.first():
        print(f'{config.stage}: scale of {name}: {told}')
    return {'scales': scales, 'own': own()}

  def batches(networks, start, split, carry=None):
    stop = data.end_of_turn(config)
    spm = tokenizer.load(data.tokenizer_folder(config))
    source = data.fitting(config, split, data.Prompts)
    carry = carry or first(networks(), stop)
    begin, done = divmod(start, period)
    for i, (prompt, said) in enumerate(prompts(source, begin, split), begin):
      key_i = jax.random.fold_in(key, 1 + i)
      if not done:
        now = networks()
        x = sample(now, prompt, key_i, stop)
        x = scored(x, judging.judged(rules, said, x, spm, stop), carry['scales'])
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
    of_run = {k: checkpoint.read_config(part.options[0]) for k, part in golds.items()}
    networks = {k: checkpoint.transformer_shapes(of_run.get(k, config), x) for k, x in heads.items()}
    prompts = {'tokens': of((rows, r.prompt_tokens), 'int32'), 'lengths': of((rows,), 'int32')}
    return {'rollout': (sample, (networks, prompts, jax.eval_shape(lambda: key), of((), 'int32')))}

  def carry_shapes(params):
    of = jax.ShapeDtypeStruct
    x = jax.eval_shape(sample, *checkpoint.unbox(programs()['rollout'][1]))
    scales = {name: of((2,), 'float32') for name in (*runs, *golds)}
    mine = jax.eval_shape(own)
    x = jax.eval_shape(scored, x, of((rows,), 'float32'), scales)
    made, info, mine = jax.eval_shape(experience, x, params, mine)
    info = {**jax.eval_shape(told, x), **info}
    return {'scales': scales, 'own': mine, 'rollout': made, 'info': info}

  def shapes(params):
    B = config.batch.B
    made = carry_shapes(params)['rollout']
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((B, *x.shape[1:]), x.dtype), made)

  frozen = {name: (part.options[0], 'reward') for name, part in {**runs, **golds}.items()}
  if not config.model.lora_rank:
    frozen['reference'] = (config.init_from, 'policy')
  narrow = functools.partial(rollout.narrow, P=r.prompt_tokens, widths=r.widths)
  return Online(batches, shapes, frozen, carry_shapes, programs, observe, narrow)
