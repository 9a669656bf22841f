"""A reward model's scale on the answers of the policy that it began as: scale.json beside its weights."""

import itertools
from pathlib import Path

import jax
import numpy as np

from zhlm import checkpoint, model, rollout, scale
from zhlm.data import batches as data
from zhlm.evals.answers import ROWS

SAMPLES = 512  # answers at least: the deviation is known to 3 %, the mean to 4 % of it


def scores(run, reward, policy):
  """Raw scores of SAMPLES answers or more to train prompts, each drawn with a key of its own: [N]."""
  c = run.config
  lm, stop = model.make(c), data.end_of_turn(c)
  nets = {'policy': lm, 'reference': lm, 'reward': model.make(c, 'scalar')}
  how = dict(new=c.rollout.new_tokens, temperature=c.rollout.temperature, scorers=('reward',))

  @jax.jit
  def scored(networks, tokens_BP, lengths_B, key):
    x = rollout.complete(nets, networks, tokens_BP, lengths_B, key, stop=stop, **how)
    return x['scores']['reward']  # the rest of it is not computed

  source = data.sources(c, 'train', lambda part: data.Prompts(part, 'train'))
  rows = min([ROWS, *map(len, source.values() if isinstance(source, dict) else [source])])
  networks, out = {'policy': policy, 'reference': policy, 'reward': reward}, []
  batches = itertools.islice(data.stream(source, c, 0, 'train', rows), -(-SAMPLES // rows))
  for i, (x, _, _) in enumerate(batches):
    key = jax.random.fold_in(jax.random.key(c.seed), i)
    out.append(np.asarray(scored(networks, x['tokens'], x['lengths'], key)))
  return np.concatenate(out)


def evaluate(run):
  c = run.config
  if not c.init_from or not (Path(c.data) / 'data' / 'ppo').exists():
    return  # a fresh start has no policy, data of one's own may have no prompts
  reward, policy = run.load('reward'), checkpoint.load(c.init_from, 'policy')
  found = scores(run, reward, policy)
  made = scale.of(found)
  more = {'samples': len(found), 'step': checkpoint.newest_step(run.folder), 'answers_of': c.init_from}
  scale.write(run.folder, made, scale.depends(c, reward, policy), **more)
  yield 'scale_mean', float(made[0])
  yield 'scale_std', float(made[1])
  yield 'scale_samples', len(found)
