"""What a validation says of a policy that learns from its own answers, and warnings in words.

Warnings are a pure function of the validations so far, as metrics.jsonl keeps them: a run that goes on
warns as one that was never stopped, and the report says what the run said. It knows no model, no files.
"""

import math
from typing import NamedTuple

from zhlm import variety

SHOWN = 8  # held-out prompts whose answers samples.jsonl keeps

# Standard errors that a mean must move by to have moved. Validations are many and the best of them is
# chosen by its luck, so the usual two would warn of one flat curve in five; three do of one in fifty.
SURE = 3.0
NEGATIVE = -0.01  # nats an answer: rounding alone takes a mean KL of nothing no further below zero
COLLAPSED = 0.2  # of the entropy at the first validation


def numbers(x):
  """Numbers of a validation, of what is known of each answer: arrays of [R], score, kl and entropy (nats an
  answer), count (tokens), ended, maybe gold; {network: raw score}, scores and golds; and texts.

  `…_error`: the standard error of a mean. entropy: nats a token. repeated: share of answers in which a run
  of four characters occurs three times.
  """
  out = {}
  for name in ('score', 'gold', 'kl'):
    if name in x:
      out |= {name: float(x[name].mean()), f'{name}_error': float(x[name].std() / len(x[name]) ** 0.5)}
  return out | {
    **{f'raw_{name}': float(raw.mean()) for name, raw in {**x['scores'], **x['golds']}.items()},
    'entropy': float(x['entropy'].sum() / x['count'].sum()),
    'length': float(x['count'].mean()),
    'ended': float(x['ended'].mean()),
    'repeated': variety.repetition(x['texts']),
    'distinct_1': variety.distinct_n(x['texts'], 1),
    'distinct_2': variety.distinct_n(x['texts'], 2),
  }


def samples(x, asked):
  """The first answers to the first SHOWN prompts; x as for `numbers`, asked: the prompt of each answer."""
  first = {}
  for i, text in enumerate(asked):
    first.setdefault(text, i)
  return [
    {
      'prompt': [{'role': 'user', 'content': text}],
      'completion': x['texts'][i],
      **{name: round(float(x[name][i]), 4) for name in ('score', 'gold') if name in x},
      'ended': bool(x['ended'][i]),
    }
    for text, i in list(first.items())[:SHOWN]
  ]


class Finding(NamedTuple):
  """What is wrong and what to do, one sentence a language; kind: the same for all of its kind."""

  kind: str
  zh: str
  en: str


def history(rows):
  """Of the objects of metrics.jsonl, in order: [{'step': …, name: number}] of the validations."""
  found = ((row['step'], {k: x for k, x in row.items() if k.startswith('validation/')}) for row in rows)
  return [{'step': step, **{k.split('/')[1]: x for k, x in row.items()}} for step, row in found if row]


def warnings(history):
  """[Finding] on the last of these validations, most telling first. Looked for, where there are numbers:

  gold: it fell from its best by more than SURE standard errors, and the score has since risen by as much;
  kl: its mean is below NEGATIVE, and below zero by more than SURE standard errors;
  entropy: less than COLLAPSED of that of the first validation;
  ended: no answer ended, where an answer may take more than one token.
  """
  checks = (_gold, _kl, _entropy, _ended)
  return [found for check in checks if (found := check(history, history[-1]))] if history else []


def told(history):
  """[(first step, last step, Finding)] of all that `warnings` has said, validation after validation; the
  latest of each kind."""
  kinds = {}
  for n in range(1, len(history) + 1):
    for found in warnings(history[:n]):
      first = kinds[found.kind][0] if found.kind in kinds else history[n - 1]['step']
      kinds[found.kind] = (first, history[n - 1]['step'], found)
  return list(kinds.values())


def _has(numbers, *names):
  return all(math.isfinite(numbers.get(name, math.nan)) for name in names)


def _gold(history, now):
  names = ('gold', 'gold_error', 'score', 'score_error')
  if not _has(now, *names):
    return None
  best = max((x for x in history if _has(x, *names)), key=lambda x: x['gold'])
  fell, rose = best['gold'] - now['gold'], now['score'] - best['score']
  fell_error, rose_error = (math.hypot(best[k], now[k]) for k in ('gold_error', 'score_error'))
  if fell <= SURE * fell_error or rose <= SURE * rose_error:
    return None
  golds = f'{best["gold"]:.3g} → {now["gold"]:.3g} ± {now["gold_error"]:.2g}'
  scores = f'{best["score"]:.3g} → {now["score"]:.3g} ± {now["score_error"]:.2g}'
  step = best['step']
  return Finding(
    'gold',
    f'自第 {step} 步起，金标准分下降（{golds}），奖励得分却上升（{scores}）：策略在钻奖励的空子；'
    f'请用第 {step} 步前后的检查点，调高 KL 代价（kl_cost），或改进 rollout.reward。',
    f'since step {step} gold fell ({golds}) while the score rose ({scores}): the policy exploits the '
    f'reward; use a checkpoint of about step {step}, raise the cost of KL (kl_cost), mend rollout.reward.',
  )


def _kl(history, now):
  if not _has(now, 'kl', 'kl_error') or now['kl'] >= min(NEGATIVE, -SURE * now['kl_error']):
    return None
  nats = f'{now["kl"]:.3g} ± {now["kl_error"]:.2g}'
  return Finding(
    'kl',
    f'平均 KL 为每答 {nats} 奈特，低于零，并非偶然：采样、训练与参考模型的对数概率不一致；'
    f'请检查温度、填充、精度，以及 init_from 是否被改动，查明之前不要相信这次运行。',
    f'mean KL is {nats} nats an answer, below zero by more than chance: the log-probabilities of sampling, '
    f'training and reference do not agree; look at temperature, padding, precision and whether init_from '
    f'has changed, and do not trust this run until it is found.',
  )


def _entropy(history, now):
  first = next((x for x in history if _has(x, 'entropy')), None)
  if first is None or not _has(now, 'entropy') or now['entropy'] >= COLLAPSED * first['entropy']:
    return None
  fell = f'{first["entropy"]:.3g} → {now["entropy"]:.3g}'
  return Finding(
    'entropy',
    f'自第 {first["step"]} 步起，熵从每词元 {fell} 奈特，不到原来的五分之一：回答趋于雷同；'
    f'请调高 KL 代价（kl_cost），调低 optimizer.learning_rate，或用更早的检查点。',
    f'since step {first["step"]} entropy fell to under a fifth ({fell} nats a token): the answers become '
    f'one; raise the cost of KL (kl_cost), lower optimizer.learning_rate, or use an earlier checkpoint.',
  )


def _ended(history, now):
  if not _has(now, 'ended', 'length') or now['ended'] > 0 or now['length'] <= 1:
    return None
  return Finding(
    'ended',
    f'没有一个回答自己结束（平均 {now["length"]:.3g} 个词元）：得分评的是截断的文字；'
    f'请调高 rollout.new_tokens 或 rollout.no_end_penalty，或从会结束回答的 SFT 模型开始。',
    f'no answer ends by itself (mean length {now["length"]:.3g} tokens): what is scored is cut off; raise '
    f'rollout.new_tokens or rollout.no_end_penalty, or begin with an SFT model that ends its answers.',
  )
