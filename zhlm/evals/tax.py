"""What tuning costs on plain text: bits per byte of held-out documents, before and after.

InstructGPT's alignment tax (Ouyang et al. 2022, section 4.2), which PPO-ptx is to pay back.
"""

import math

from zhlm import checkpoint
from zhlm.evals import bits


def evaluate(run):
  size = sum(len(row['text'].encode()) for row in run.texts('documents'))
  if not size:
    return
  policies = {'bits_per_byte': run.load('policy')}
  policies['bits_per_byte_before'] = checkpoint.load(run.config.init_from, 'policy')
  found = {name: bits.nats(run, params) / math.log(2) / size for name, params in policies.items()}
  yield from found.items()
  yield 'bits_per_byte_change', found['bits_per_byte'] / found['bits_per_byte_before'] - 1
