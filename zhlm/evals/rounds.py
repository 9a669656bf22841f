"""A policy beside the SFT model it began as, by a judge on the same held-out prompts."""

import jax
import numpy as np

from zhlm import devices, evals
from zhlm.data import chat
from zhlm.errors import InputError
from zhlm.evals import scores
from zhlm.evals.answers import answer, text
from zhlm.evals.compare import win_rate
from zhlm.evals.win_rate import divergence
from zhlm.variety import distinct_n, repetition

PROMPTS = 128  # of the test split, evenly over it


def measure(policy, start, rollout, judge=None, proxy=None):
  """{name: number} of the run in the folder `policy`, beside that in `start`; rollout: the config's fields.

  Always KL (nats an answer) and what can be counted; with a judge (a text of rewards), its mean score and
  the rate at which it prefers the policy, with a 95 % interval; with a `proxy` (a reward model's run), too,
  the share of these pairs of answers that it puts in the judge's order: low where the policy has found its
  errors. Raises InputError where the data has no test prompts.
  """
  run, sft = evals.open_run(policy), evals.open_run(start)
  run.config.rollout = rollout
  rows = run.texts('prompts')
  if not rows:
    raise InputError(f'{run.config.data} has no test prompts to measure a round on')
  asked = [row['prompt'] for row in rows[:: -(-len(rows) // PROMPTS)]]
  prompts = [chat.encode_prompt(run.tokenizer, messages) for messages in asked]
  told = {'policy': str(policy), 'prompts': len(asked)}
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    nets = {'policy': run.load('policy'), 'start': sft.load('policy')}
    how = dict(temperature=rollout.temperature)
    answers = {k: answer(run, x, prompts, seed=i, **how) for i, (k, x) in enumerate(nets.items())}
    kl_N = divergence(run, nets['policy'], nets['start'], prompts, answers['policy'])
    if judge:
      score = _scores(judge, run, asked, answers)
      gap_N = score['policy'] - score['start']
      told |= {f'score{k}': float(score[v].mean()) for k, v in (('', 'policy'), ('_start', 'start'))}
      told['score_error'] = float(score['policy'].std() / len(asked) ** 0.5)
      names = ('win_rate', 'win_rate_low', 'win_rate_high')
      told |= dict(zip(names, win_rate(gap_N, np.zeros_like(gap_N)), strict=True))
      if proxy and gap_N.any():
        said = _scores(proxy, run, asked, answers)
        right_N = np.sign(said['policy'] - said['start']) == np.sign(gap_N)
        told['agreement'] = float(right_N[gap_N != 0].mean())
  texts = [text(run, ids) for ids, _ in answers['policy']]
  return {
    **told,
    'kl': float(kl_N.mean()),
    'kl_error': float(kl_N.std() / len(kl_N) ** 0.5),
    'ended': float(np.mean([ended for _, ended in answers['policy']])),
    'characters': float(np.mean([len(x) for x in texts])),
    'distinct_2': distinct_n(texts, 2),
    'repetition': repetition(texts),
  }


def _scores(spec, run, asked, answers):
  """{policy: score of each answer}, by a text of rewards; the start's answers set the scale of runs."""
  reward = scores.opened(spec, run)
  raw = {k: reward.raw(run, asked, x) for k, x in answers.items()}
  return {k: reward.total(x, raw['start']) for k, x in raw.items()}
