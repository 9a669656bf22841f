"""Best of n: n answers are sampled, and the one that scores highest is taken. The baseline that needs no
training: what its score is, at what KL, of the policy that a run began as and of its own.

The curve of the start (`…_start`) is what PPO and its relatives must beat at the same KL: log n - (n - 1)/n
nats (Stiennon et al. 2020; Gao et al. 2022, section 2). The score is the run's own `config.rollout.reward`,
so a proxy, in deviations of the start's answers, as in training; `gold_best_of_…` is what `rollout.gold`
says of the answer that the proxy takes.
"""

import numpy as np

from zhlm import checkpoint, estimators
from zhlm.data import chat
from zhlm.evals import scores
from zhlm.evals.answers import answer

NS = (1, 2, 4, 8, 16)
PROMPTS = 64  # evenly over the test split


def evaluate(run):
  rows, r = run.texts('prompts'), run.config.rollout
  if not rows or not r.reward or not run.config.init_from:
    return
  asked = [row['prompt'] for row in rows[:: -(-len(rows) // PROMPTS)]]
  prompts = [chat.encode_prompt(run.tokenizer, messages) for messages in asked]
  asked = [messages for messages in asked for _ in range(max(NS))]
  named = {'': scores.opened(r.reward, run)} | ({'gold_': scores.opened(r.gold, run)} if r.gold else {})
  policies = {'_start': checkpoint.load(run.config.init_from, 'policy'), '': run.load('policy')}
  reference = {}
  for name, params in policies.items():
    answers = answer(run, params, prompts, samples=max(NS), temperature=r.temperature)
    raw = {kind: reward.raw(run, asked, answers) for kind, reward in named.items()}
    reference = reference or raw
    score = {kind: reward.total(raw[kind], reference[kind]) for kind, reward in named.items()}
    ended_N = np.array([ended for _, ended in answers])
    score[''] = estimators.charged(score[''], ended_N, r.no_end_penalty, r.no_end_instead)
    by_prompt = {kind: score_N.reshape(-1, max(NS)) for kind, score_N in score.items()}
    for kind, of_BN in by_prompt.items():
      for n in NS:  # the best by the reward, whichever of the two is told
        yield f'{kind}best_of_{n}{name}', float(estimators.best_of_n(by_prompt[''], n, of_BN).mean())
  for n in NS:
    yield f'best_of_{n}_kl', float(estimators.best_of_n_kl(n))
