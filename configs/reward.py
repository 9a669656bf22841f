"""The reward model: which of several answers to one prompt people prefer.

  python -m launch.train --config=configs/reward.py:size=demo,mesh=one \
    --config.init_from=runs/demo/sft --workdir=runs/demo/reward

Expect, at size demo on two CPU cores: two minutes, and accuracy above 0.8 on held-out pairs of reviews;
which of two similar definitions is right remains a guess (0.5).
"""

from configs import base, recipes


def get_config(arg=''):
  o = base.parse(arg, size='demo', mesh='one', recipe='')
  c = base.get_config(o['size'], o['mesh'])
  c.stage = 'reward'
  c.evals = ('preference', 'scale')
  c.init_from = 'runs/demo/sft'
  c.optimizer.name = 'muon'
  c.optimizer.learning_rate = 0.003
  if o['size'] == 'demo':
    c.steps = 110  # less than half of one pass
    c.batch.B = 32
    c.batch.T = 64
    c.reward.C = 2
    c.batch.microbatches = 4  # with unrolled blocks a quarter faster on two CPU cores: what is kept
    c.model.unroll = 4  # of the forward pass stays in the cache
    c.rollout.prompt_tokens = 16  # PPO's, on whose prompts the scale is measured
  else:
    c.steps = 0  # one pass: a second one overfits (Stiennon et al. 2020; Ouyang et al. 2022, appendix C.2)
    c.batch.B = 64
  recipes.apply(c, 'reward', o['recipe'])
  return c.lock()
