"""Supervised fine-tuning: conversations, where only what the assistant says is learnt.

  python -m launch.train --config=configs/sft.py:size=demo,mesh=one \
    --config.init_from=runs/demo/pretrain --workdir=runs/demo/sft

Expect, at size demo on two CPU cores: two minutes, loss 6.9 -> 4.5; reviews come out in form, definitions
and riddles seldom name the word that was asked about.
"""

from configs import base, recipes


def get_config(arg=''):
  o = base.parse(arg, size='demo', mesh='one', recipe='')
  c = base.get_config(o['size'], o['mesh'])
  c.stage = 'sft'
  c.evals = ('loss', 'format', 'samples')
  c.init_from = 'runs/demo/pretrain'
  c.optimizer.name = 'muon'
  c.optimizer.learning_rate = 0.005
  if o['size'] == 'demo':
    c.steps = 150
    c.batch.microbatches = 2  # a seventh faster on two CPU cores: activations stay in the cache
  else:
    c.steps = 2_000
    c.batch.B = 64
  recipes.apply(c, 'sft', o['recipe'])
  return c.lock()
