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

from zhlm import checkpoint, devices, disk, evals, stages, train
from zhlm.clean import rules
from zhlm.collect import conversations
from zhlm.corpus import prepare
from zhlm.data import manifest
from zhlm.errors import InputError
from zhlm.evals import rounds, sampling, scores

TABLE = (
  'round',
  'comparisons',
  'accuracy',
  'agreement',
  'score',
  'win_rate',
  'kl',
  'ended',
  'characters',
  'distinct_2',
)


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


def run(workdir, plan, count, say=print):
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
  results = _results(workdir)
  if not results:
    policy = story / (name if (story / name / 'config.json').exists() else 'sft')
    told = rounds.measure(policy, story / 'sft', plan.policy.rollout, judge)
    results = _tell(workdir, [{'round': 0, **told}], say)
  policy = Path(results[0]['policy'])
  for n in range(1, count + 1):
    folder = workdir / f'round_{n}'
    if n < len(results):
      say(f'round {n}: done before')
    else:
      _compare(plan, n, policy, folder, say)
      _prepare(plan, found, folder, say)
      reward, comparisons = _reward_config(plan, workdir, n)
      train.train(reward, folder / 'reward')
      accuracy = evals.evaluate(folder / 'reward', say=say)['accuracy']
      train.train(_policy_config(plan, folder), folder / name)
      evals.evaluate(folder / name, say=say)
      how = (plan.policy.rollout, judge, f'run:{folder / "reward"}')
      told = rounds.measure(folder / name, story / 'sft', *how)
      told = {'round': n, **told, 'comparisons': comparisons, 'accuracy': accuracy}
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
  path = folder / 'answers.jsonl'
  if not path.exists():
    run = evals.open_run(policy)
    run.config.rollout = plan.policy.rollout
    rows = sampling.train_prompts(run, plan.prompts, f'{plan.seed}/{n}')
    how = dict(samples=plan.samples, temperature=run.config.rollout.temperature, seed=plan.seed + n)
    with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
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
  story, own = plan.start, [str(workdir / f'round_{i}') for i in range(1, n + 1)]
  count = {folder: _comparisons(folder) for folder in (story, *own)}
  total = sum(count.values())
  share = plan.fresh or 1 - count[story] / total
  weight = {folder: share * count[folder] / (total - count[story]) for folder in own}
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
