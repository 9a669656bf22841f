"""DPO: a policy learns from rankings directly, without a reward model and without sampling.

  python -m launch.train --config=configs/dpo.py:size=demo,mesh=one \
    --config.init_from=runs/demo/sft --workdir=runs/demo/dpo

Expect, at size demo on two CPU cores: five minutes (with other work beside it); the judge prefers 85 % of
its answers to SFT's, at 12 nats, and they stay varied (distinct-2 0.57, SFT's 0.64), but fewer end (82 %,
SFT's 90 %). One seed.
--config.dpo.loss=ipo is the bounded relative.
"""

from configs import base


def get_config(arg=''):
  o = base.parse(arg, size='demo', mesh='one')
  c = base.get_config(o['size'], o['mesh'])
  c.stage = 'dpo'
  c.evals = ('win_rate', 'samples')
  c.init_from = 'runs/demo/sft'
  if o['size'] == 'demo':
    c.steps = 80
    c.batch.B = 32
    c.batch.T = 64
    c.reward.C = 2
    c.optimizer.learning_rate = 1e-4
  else:
    c.steps = 1_000
    c.batch.B = 64
    c.optimizer.learning_rate = 1e-6
  return c.lock()
