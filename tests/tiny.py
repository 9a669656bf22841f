"""The config of every stage at a size that trains in a second, and runs of it."""

import importlib
import json

from zhlm import train as loop

# What each stage starts from: field -> stage. A stage that is not here starts fresh.
STARTS = {
  'sft': {'init_from': 'pretrain'},
  'reward': {'init_from': 'sft'},
  'dpo': {'init_from': 'sft'},
  'ppo': {'init_from': 'sft', 'rollout.reward': 'reward'},
  'grpo': {'init_from': 'sft', 'rollout.reward': 'reward'},
  'rloo': {'init_from': 'sft', 'rollout.reward': 'reward'},
}
# Enough steps of SFT and reward that answers end and scores differ.
# What the tests of all stages shall meet besides a stage's defaults.
ON = {
  'ppo': {
    'ppo__kl_target': 0.5,
    'ppo__kl_horizon': 40,
    'ppo__kl_loss': 0.01,
    'ppo__pretrain_cost': 0.5,
  }
}
STEPS = {'pretrain': 5, 'sft': 40, 'reward': 20, 'dpo': 5, 'ppo': 8, 'grpo': 5, 'rloo': 5}


def plain(stage):
  """configs/STAGE.py at size tiny, as it stands."""
  return importlib.import_module(f'configs.{stage}').get_config('size=tiny')


def config(name, data, runs=None, /, **fields):
  """configs/NAME.py at size tiny on `data`; fields: optimizer__name='muon' sets optimizer.name.

  The learning rate is constant, so that the number of steps is no part of what is compiled.
  """
  c = plain(name)
  default = {
    'data': str(data),
    'init_from': '',
    'rollout__reward': '',
    'steps': STEPS.get(name, 5),
    'batch__B': 8,
    'log_every': 1,
    'eval_every': 0,
    'eval_batches': 1,
    'save_every': 4,
    'rollout__prompt_tokens': 16,
    'rollout__new_tokens': 8,
    'rollout__eval_samples': 32,
    'rollout__minibatches': 2,
    'rollout__epochs': 1,
    'optimizer__learning_rate': 3e-3,
    'optimizer__warmup_steps': 2,
    'optimizer__decay': 'constant',
    'seed': 0,
  }
  starts = {k.replace('.', '__'): str(runs(s)) for k, s in STARTS.get(name, {}).items()} if runs else {}
  if starts.get('rollout__reward'):
    starts['rollout__reward'] = f'run:{starts["rollout__reward"]}'
  for field, value in {**default, **ON.get(name, {}), **starts, **fields}.items():
    *path, last = field.split('__')
    node = c
    for part in path:
      node = node[part]
    node[last] = value
  return c


def train(stage, data, folder, runs=None, **fields):
  """Trains that config in `folder`; returns the last State."""
  return loop.train(config(stage, data, runs, **fields), folder)


def lines(folder):
  """The objects of metrics.jsonl."""
  return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
