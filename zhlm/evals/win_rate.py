"""PPO against the policy it began as, on held-out prompts, by a judge that neither has seen.

The judge is a classifier of review sentiment, fitted on labelled reviews that are in no other data set.
Both policies answer the same prompts at the temperature PPO trained with.
"""

import jax
import jax.numpy as jnp
import numpy as np

from zhlm import checkpoint, model, rollout
from zhlm.data import chat
from zhlm.evals import judge
from zhlm.evals.answers import ROWS, answer, pad, text
from zhlm.evals.compare import win_rate
from zhlm.variety import distinct_n, repetition


def divergence(run, policy, reference, prompts, answers):
  """Σ log π/π_ref of each answer in nats, [N]: its mean over π's samples estimates KL(π‖π_ref)."""
  net, stop = model.make(run.config), chat.end_of_turn(run.tokenizer)
  rows = [p + ids + [stop] * ended for p, (ids, ended) in zip(prompts, answers, strict=True)]
  T = max(map(len, rows))

  @jax.jit
  def nats(tokens_BT, lengths_B, prompt_B):
    tokens, targets = tokens_BT[:, :-1], tokens_BT[:, 1:]
    mask_BT = rollout.answer_mask(T - 1, prompt_B, lengths_B - prompt_B)
    t = run.config.rollout.temperature
    logp_BT, _ = rollout.reads(net, policy, tokens, targets, t)
    return ((logp_BT - rollout.reads(net, reference, tokens, targets, t)[0]) * mask_BT).sum(1)

  out = []
  for i in range(0, len(rows), ROWS):
    tokens_BT, lengths_B = pad(rows[i : i + ROWS], ROWS, T)
    _, prompt_B = pad(prompts[i : i + ROWS], ROWS, T)
    out.append(nats(tokens_BT, lengths_B, jnp.minimum(prompt_B, lengths_B)))
  return np.concatenate(out)[: len(rows)]


def evaluate(run):
  rows, labelled = run.texts('prompts'), run.texts('judge', 'train')
  if not rows or not labelled:
    return  # data of one's own may have no labels to fit a judge on
  prompts = [chat.encode_prompt(run.tokenizer, r['prompt']) for r in rows]
  weights = judge.fit([r['text'] for r in labelled], [r['label'] for r in labelled])
  unseen = run.texts('judge', 'test')
  yield (
    'judge_accuracy',
    judge.accuracy(weights, [r['text'] for r in unseen], [r['label'] for r in unseen]),
  )
  policies = {'ppo': run.load('policy'), 'sft': checkpoint.load(run.config.init_from, 'policy')}
  answers = {
    name: answer(run, params, prompts, temperature=run.config.rollout.temperature, seed=i)
    for i, (name, params) in enumerate(policies.items())
  }
  texts = {k: [text(run, ids) for ids, _ in x] for k, x in answers.items()}
  kind = {k: judge.probability(weights, x) for k, x in texts.items()}
  rate, low, high = win_rate(kind['ppo'], kind['sft'])
  yield 'win_rate', rate
  yield 'win_rate_low', low
  yield 'win_rate_high', high
  kl = divergence(run, policies['ppo'], policies['sft'], prompts, answers['ppo'])
  yield 'kl', float(kl.mean())
  yield 'kl_error', float(kl.std() / len(kl) ** 0.5)
  for name in policies:
    yield f'positive_{name}', float((kind[name] > 0.5).mean())
    yield f'distinct_2_{name}', distinct_n(texts[name], 2)
    yield f'repetition_{name}', repetition(texts[name])
    yield f'characters_{name}', float(np.mean([len(x) for x in texts[name]]))
    yield f'ended_{name}', float(np.mean([ended for _, ended in answers[name]]))
  mentions = [r['keyword'] in t for r, t in zip(rows, texts['ppo'], strict=True) if 'keyword' in r]
  if mentions:
    yield 'keyword_mentioned_ppo', float(np.mean(mentions))
  yield 'prompts', len(prompts)
