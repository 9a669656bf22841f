"""PPO: the policy answers prompts, the reward model scores them, and the policy moves towards the score.

  python -m launch.train --config=configs/ppo.py:size=demo,mesh=one \
    --config.init_from=runs/demo/sft --config.rollout.reward=run:runs/demo/reward --workdir=runs/demo/ppo

Expect, at size demo on two CPU cores: two minutes, score 0 -> 2 deviations of the SFT policy's at a KL of
6 nats, and no collapse: distinct-2 stays at three fifths of SFT's.
"""

from configs import base, recipes


def get_config(arg=''):
  o = base.parse(arg, size='demo', mesh='one', recipe='')
  c = base.get_config(o['size'], o['mesh'])
  c.stage = 'ppo'
  c.evals = ('win_rate', 'tax', 'best_of_n', 'samples')
  c.init_from = 'runs/demo/sft'
  c.rollout.reward = 'run:runs/demo/reward'
  c.optimizer.eps = 1e-5  # OpenAI's 2019 code and every reproduction since
  c.log_every = 2
  if o['size'] == 'demo':
    c.evals = ('win_rate', 'tax', 'samples')  # best_of_n takes a minute
    c.batch.B = 32
    c.rollout.minibatches = 1
    c.rollout.epochs = 2
    c.steps = 30
    c.ppo.kl_cost = 0.2  # 0.05 wins more often but repeats itself: distinct-2 falls below half of SFT's
    c.rollout.prompt_tokens = 16
    c.optimizer.learning_rate = 1e-4
    c.optimizer.warmup_steps = 4
    c.eval_every = 30  # and before the first: 256 answers take as long as five updates
    c.save_every = 15
  else:
    c.batch.B = 64
    c.steps = 2_000
    c.optimizer.learning_rate = 3e-6
  recipes.apply(c, 'ppo', o['recipe'])
  return c.lock()
