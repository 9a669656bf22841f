"""Iterated RLHF: what the policy of one round says is ranked, and teaches the reward model of the next.

  CAMPAIGN/campaign.json                 what it was begun with
  CAMPAIGN/round_1/answers.jsonl         K answers of the policy before to each prompt, ranked
  CAMPAIGN/round_1/{data,tokenizer,work} those, prepared with the story's tokenizer
  CAMPAIGN/round_1/{reward,ppo}          the runs: the reward model on the comparisons of all rounds
  CAMPAIGN/results.{jsonl,md}            a line a round: its policy on held-out prompts, by the judge

Reward model and policy begin at SFT in every round, and SFT stays the reference (Bai et al. 2022, section
4.5): KL then means the same in every round, and what a policy learnt from an older reward model's errors
does not live on in the next. A step that is done is not done again, so a killed campaign goes on.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from zhlm import checkpoint, devices, disk, evals, stages, train
from zhlm.clean import rules
from zhlm.collect import conversations
from zhlm.corpus import prepare
from zhlm.data import chat, manifest
from zhlm.errors import InputError
from zhlm.evals import sampling, scores
from zhlm.evals.answers import answer, text
from zhlm.evals.compare import distinct_n, repetition, win_rate
from zhlm.evals.win_rate import divergence

HELD_OUT = 128  # test prompts, evenly over the split, on which a round is measured
TABLE = ('round', 'comparisons', 'accuracy', 'score', 'win_rate', 'kl', 'ended', 'characters', 'distinct_2')


class Plan(NamedTuple):
  """What decides a campaign, beside the number of rounds."""

  start: str  # the story's folder: data, tokenizer and sft, with the first policy where there is one
  judge: str  # a text as config.rollout.reward takes it, or 'people'
  samples: int  # answers to a prompt
  prompts: int  # of the training prompts, in a round
  fresh: float  # share of the reward model's rows that is the rounds' own; 0: as many as they are
  seed: int
  data: Any  # configs of prepare …
  reward: Any  # … of the reward model, and of what trains the policy: any stage with config.rollout
  policy: Any


class Waiting(Exception):
  """People are to rank a file first; `.status` is the exit status."""

  status = 3


def run(workdir, plan, rounds, say=print):
  """Takes the campaign in `workdir` to so many rounds; returns the lines of results.jsonl.

  Raises Waiting where people are to rank, metrics.Stopped after a signal in training, and InputError for
  what a user can mend, also for a folder that was begun with another plan.
  """
  workdir, story = Path(workdir), Path(plan.start)
  judge = None if plan.judge == sampling.PEOPLE else plan.judge
  if judge:  # before hours of work
    scores.opened(judge, evals.open_run(story / 'sft'))
  found = manifest.read(story)
  if found is None:
    raise InputError(f'{story}: has no prepared data; make the story first: launch/everything.sh')
  if not 0 <= plan.fresh < 1:
    raise InputError(f'fresh={plan.fresh}: a share, from 0 to below 1')
  if plan.reward.stage != 'reward':
    raise InputError(f'the stage {plan.reward.stage!r} trains no reward model; take configs/reward.py')
  if 'reward' not in stages.make(_policy_config(plan, workdir)).frozen:
    raise InputError(
      f'the stage {plan.policy.stage!r} asks no reward model; take configs/ppo.py, or grpo, rloo'
    )
  _claim(workdir, plan)
  name = plan.policy.stage
  policy = story / (name if (story / name / 'config.json').exists() else 'sft')
  results = _results(workdir)
  if not results:
    results = _tell(workdir, [measure(0, policy, story / 'sft', judge)], say)
  for n in range(1, rounds + 1):
    folder = workdir / f'round_{n}'
    if n < len(results):
      say(f'round {n}: done before')
    else:
      _compare(plan, n, policy, folder, say)
      _prepare(plan, found, folder, say)
      reward, count = _reward_config(plan, workdir, n)
      train.train(reward, folder / 'reward')
      accuracy = evals.evaluate(folder / 'reward', say=say)['accuracy']
      train.train(_policy_config(plan, folder), folder / name)
      evals.evaluate(folder / name, say=say)
      told = measure(n, folder / name, story / 'sft', judge)
      told = {**told, 'comparisons': count, 'accuracy': accuracy}
      results = _tell(workdir, [*results, told], say)
    policy = folder / name
  return results


def _claim(workdir, plan):
  """Writes campaign.json, or checks that it says the same but for what may change (checkpoint.FREE)."""
  path, now = workdir / 'campaign.json', {}
  for name, value in plan._asdict().items():
    if name in ('data', 'reward', 'policy'):
      value = {k: x for k, x in json.loads(value.to_json()).items() if k not in checkpoint.FREE}
    now[name] = value
  if path.exists():
    old, new = disk.flat(json.loads(path.read_text('utf-8'))), disk.flat(now)
    differ = [
      f'{k}={old.get(k)!r} (now {new.get(k)!r})' for k in sorted(old | new) if old.get(k) != new.get(k)
    ]
    if differ:
      raise InputError(
        f'{workdir} holds another campaign, with {", ".join(differ[:4])}; choose a new --workdir'
      )
  disk.write_json(path, now)


def _results(workdir):
  path = workdir / 'results.jsonl'
  return [json.loads(line) for line in path.read_text('utf-8').splitlines()] if path.exists() else []


def _tell(workdir, results, say):
  """Writes all lines, and the table of them; returns them."""
  rows = [[f'{x[k]:.4g}' if k in x else '' for k in TABLE] for x in results]
  table = [f'| {" | ".join(cells)} |' for cells in (TABLE, ['---'] * len(TABLE), *rows)]
  disk.write_text(workdir / 'results.md', '\n'.join(table) + '\n')
  disk.write_text(workdir / 'results.jsonl', ''.join(json.dumps(x) + '\n' for x in results))
  say(' | '.join(f'{k} {x:.4g}' for k, x in results[-1].items() if k != 'policy'))
  return results


def _compare(plan, n, policy, folder, say):
  """Makes the round's comparisons; raises Waiting until people have ranked every row."""
  path, run = folder / 'answers.jsonl', evals.open_run(policy)
  if not path.exists():
    rows = sampling.train_prompts(run, plan.prompts, f'{plan.seed}/{n}')
    how = dict(samples=plan.samples, temperature=run.config.rollout.temperature, seed=plan.seed + n)
    with _one_device():
      sampling.sample(run, rows, plan.judge, path, say=say, **how)
  unranked = [where for where, row in sampling.read(path) if not _is_ranked(row, where)]
  if unranked:
    raise Waiting(
      f'{len(unranked)} rows have no ranks yet, the first at {unranked[0]}: add "ranks": [2, 1, …] to '
      f'every line of {path}, a number a completion, 1 for the best, equal ones for a tie (you may remove '
      'lines); then run the same command again'
    )


def _is_ranked(row, where):
  """Whether a row has its ranks; InputError with file, line and field where they are wrong."""
  if not isinstance(row, dict) or row.get('ranks') is None:
    return False
  if row['ranks'] != [1] * len(row.get('completions') or ()):  # all alike: no mistake, but no comparison
    conversations.parse(row, where)
  return True


def _prepare(plan, story, folder, say):
  """Prepares the round's comparisons as they were sampled: all of them train, and none breaks a rule."""
  config = plan.data.copy_and_resolve_references()
  with config.unlocked():
    config.source, config.tokenizer = str(folder / 'answers.jsonl'), str(Path(plan.start) / 'tokenizer')
    config.max_tokens = story['config']['max_tokens']
    config.test_share = config.validation_share = 0.0  # the story's own splits measure
    config.rules.chat.off = ' '.join(sorted(rules.names(tuple(config.rules.chat), '')))
  prepare.prepare(config, str(folder), say)


def _comparisons(folder):
  return manifest.read(folder)['datasets']['reward']['train']['records']


def _reward_config(plan, workdir, n):
  """(config of round n's reward model, comparisons that it learns from): the story's and all rounds', each
  as often as the config's steps read the story's alone."""
  story, rounds = plan.start, [str(workdir / f'round_{i}') for i in range(1, n + 1)]
  count = {folder: _comparisons(folder) for folder in (story, *rounds)}
  total = sum(count.values())
  share = plan.fresh or 1 - count[story] / total
  weight = {folder: share * count[folder] / (total - count[story]) for folder in rounds}
  weight = {folder: max(x, 1e-3) for folder, x in weight.items()}  # the least that a mixture knows
  weight = {story: 1 - sum(weight.values()), **weight}
  config = plan.reward.copy_and_resolve_references()
  with config.unlocked():
    config.data, config.init_from = story, str(Path(story) / 'sft')
    config.mixture = ' '.join(f'{folder}:{x:.12g}' for folder, x in weight.items())
    config.steps = math.ceil(config.steps * total / count[story])
    config.reward.C = max(config.reward.C, plan.samples)
  return config, total


def _policy_config(plan, folder):
  config = plan.policy.copy_and_resolve_references()
  with config.unlocked():
    config.data, config.init_from = plan.start, str(Path(plan.start) / 'sft')
    config.rollout.reward = f'run:{folder / "reward"}'
  return config


def _one_device():
  return jax.set_mesh(devices.make_mesh({}, jax.devices()[:1]))


def measure(n, policy, start, judge):
  """The line of round n: its policy beside the SFT model `start`, on the same held-out prompts.

  Always KL (nats an answer) and what can be counted; with a judge, its mean score and the rate at which it
  prefers the policy, with a 95 % interval.
  """
  run, sft = evals.open_run(policy), evals.open_run(start)
  rows = run.texts('prompts')
  if not rows:
    raise InputError(f'{run.config.data} has no test prompts to measure a round on')
  asked = [row['prompt'] for row in rows[:: -(-len(rows) // HELD_OUT)]]
  prompts = [chat.encode_prompt(run.tokenizer, messages) for messages in asked]
  told = {'round': n, 'policy': str(policy), 'prompts': len(asked)}
  with _one_device():
    networks = {'policy': run.load('policy'), 'start': sft.load('policy')}
    how = dict(temperature=run.config.rollout.temperature, new=run.config.rollout.new_tokens)
    answers = {k: answer(run, x, prompts, seed=i, **how) for i, (k, x) in enumerate(networks.items())}
    kl = divergence(run, networks['policy'], networks['start'], prompts, answers['policy'])
    if judge:
      reward = scores.opened(judge, run)
      raw = {k: reward.raw(run, asked, x) for k, x in answers.items()}
      score = {k: reward.total(x, raw['start']) for k, x in raw.items()}
      rate, low, high = win_rate(score['policy'], score['start'])
      told |= {'score': float(score['policy'].mean()), 'score_start': float(score['start'].mean())}
      told |= {'score_error': float(score['policy'].std() / len(asked) ** 0.5)}
      told |= {'win_rate': rate, 'win_rate_low': low, 'win_rate_high': high}
  said = [text(run, ids) for ids, _ in answers['policy']]
  return {
    **told,
    'kl': float(kl.mean()),
    'kl_error': float(kl.std() / len(kl) ** 0.5),
    'ended': float(np.mean([ended for _, ended in answers['policy']])),
    'characters': float(np.mean([len(x) for x in said])),
    'distinct_2': distinct_n(said, 2),
    'repetition': repetition(said),
  }
