"""Pretraining: predict the next token of Chinese documents.

  python -m launch.train --config=configs/pretrain.py:size=demo,mesh=one --workdir=runs/demo/pretrain

Expect, at size demo on two CPU cores: six minutes, loss 8.8 -> 5.3 nats a token, and 6.2 bits a character
on the test documents, where a character trigram of the same text has a little more (6.18 and 6.20).
"""

from configs import base


def get_config(arg=''):
  o = base.parse(arg, size='demo', mesh='one')
  c = base.get_config(o['size'], o['mesh'])
  c.stage = 'pretrain'
  c.evals = ('bits', 'samples')
  c.optimizer.name = 'muon'
  c.optimizer.learning_rate = 0.01
  if o['size'] == 'demo':
    c.steps = 430
    c.batch.microbatches = 2  # a twelfth faster on two CPU cores: activations stay in the cache
  else:
    c.optimizer.weight_decay = 0.1
    c.steps = 20_000
    c.batch.B = 256
    c.optimizer.warmup_steps = 500
  return c.lock()
