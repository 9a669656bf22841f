"""Iterated RLHF: sample from the current policy, rank, retrain the reward model, PPO again; round by round.

  python -m launch.iterate --reward=configs/reward.py:size=demo --policy=configs/ppo.py:size=demo \
    --start=runs/demo --judge=text.length:20,40 --rounds=2 --workdir=runs/campaign

With --judge=people it stops (status 3) when there is something to rank, and goes on when it is run again.
Finished steps are skipped, so run the same command after any interruption, or with more --rounds. Fields of
the trainings change as in --reward.steps=200 --policy.ppo.kl_cost=0.1; docs/iterate.md has the rest.
"""

import sys

from absl import flags
from ml_collections import config_flags

from configs import data
from launch import run
from zhlm.errors import InputError

_WORKDIR = flags.DEFINE_string('workdir', None, "The campaign's folder.", required=True)
_START = flags.DEFINE_string('start', 'runs/demo', 'The story it begins with: data, sft, and ppo if any.')
_JUDGE = flags.DEFINE_string('judge', None, 'rules, run:FOLDER, a weighted sum, or people.', required=True)
_ROUNDS = flags.DEFINE_integer('rounds', 1, 'Rounds in all.', lower_bound=1)
_SAMPLES = flags.DEFINE_integer('samples', 4, 'Answers to a prompt.')
_PROMPTS = flags.DEFINE_integer('prompts', 256, 'Training prompts in a round.', lower_bound=1)
_FRESH = flags.DEFINE_float('fresh', 0.0, "Share of the rounds' rows in reward batches; 0: their number.")
_SEED = flags.DEFINE_integer('seed', 0, 'Of the prompts drawn and the answers sampled.')
_REWARD = config_flags.DEFINE_config_file('reward', None, 'configs/reward.py[:size=…,mesh=…]')
_POLICY = config_flags.DEFINE_config_file(
  'policy', None, 'configs/STAGE.py[:size=…,mesh=…]: ppo, grpo, rloo.'
)
flags.mark_flags_as_required(['reward', 'policy'])


def main(_):
  from zhlm import campaign, metrics  # after the flags: --help needs no jax

  for name in (_WORKDIR.value, _START.value):
    if '://' in name or ' ' in name:
      raise InputError(f'{name}: name a folder without blanks (and mount a bucket)')
  plan = campaign.Plan(
    start=_START.value,
    judge=_JUDGE.value,
    samples=_SAMPLES.value,
    prompts=_PROMPTS.value,
    fresh=_FRESH.value,
    seed=_SEED.value,
    data=data.get_config(),
    reward=_REWARD.value,
    policy=_POLICY.value,
  )
  try:
    campaign.run(_WORKDIR.value, plan, _ROUNDS.value)
  except (campaign.Waiting, metrics.Stopped) as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.status)


if __name__ == '__main__':
  run(main)
