"""How often the reward model puts the answer that people ranked higher first, on held-out prompts."""

import jax
import numpy as np

from zhlm import model, rollout
from zhlm.data import batches as data
from zhlm.evals.compare import interval

ROWS = 32  # prompts at once


def evaluate(run):
  net, params = model.make(run.config, 'scalar'), run.load('reward')
  ranked = data.Ranked(run.config, 'test', whole=True)

  @jax.jit
  def score(tokens_BCT, lengths_BC):
    rows = tokens_BCT.reshape(-1, tokens_BCT.shape[-1])
    return rollout.score(net, params, rows, lengths_BC.reshape(-1)).reshape(lengths_BC.shape)

  right = {}
  for i, (batch, _) in enumerate(data.stream(ranked, run.config, 0, 'test', ROWS)):
    scores_BC = np.asarray(score(batch['tokens'], batch['lengths']))
    gap_BCC = scores_BC[:, :, None] - scores_BC[:, None, :]
    for j in range(min(ROWS, len(ranked) - i * ROWS)):
      source = ranked.source[i * ROWS + j]['source']
      right.setdefault(source, []).extend(gap_BCC[j][batch['weights'][j] > 0] > 0)
  everything = np.concatenate(list(right.values()))
  rate, low, high = interval(everything)
  yield 'accuracy', rate
  yield 'accuracy_low', low
  yield 'accuracy_high', high
  yield 'pairs', len(everything)
  for source, oks in sorted(right.items()):
    yield f'accuracy_{source}', float(np.mean(oks))
