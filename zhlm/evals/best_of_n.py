"""Best of n: n answers are sampled, and the one that scores highest is taken. The baseline that needs no
training: what its score is, at what KL, of the policy that a run began as and of its own.

The curve of the start (`…_start`) is what PPO and its relatives must beat at the same KL: log n - (n - 1)/n
nats (Stiennon et al. 2020; Gao et al. 2022, section 2). The score is the run's own `config.rollout.reward`,
so a proxy, in deviations of the start's answers, as in training.
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
  reward = scores.opened(r.reward, run)
  policies = {'_start': checkpoint.load(run.config.init_from, 'policy'), '': run.load('policy')}
  reference_PN = None
  for name, params in policies.items():
    answers = answer(run, params, prompts, samples=max(NS), temperature=r.temperature)
    raw_PN = reward.raw(run, asked, answers)
    reference_PN = raw_PN if reference_PN is None else reference_PN
    ended_N = np.array([ended for _, ended in answers])
    score_N = reward.total(raw_PN, reference_PN) - r.no_end_penalty * ~ended_N
    for n in NS:
      best_B = estimators.best_of_n(score_N.reshape(-1, max(NS)), n)
      yield f'best_of_{n}{name}', float(best_B.mean())
  for n in NS:
    yield f'best_of_{n}_kl', float(estimators.best_of_n_kl(n))
