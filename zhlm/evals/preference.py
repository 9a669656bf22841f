"""How often the reward model puts the answer that people ranked higher first, on held-out prompts, and
whether it is right as often as it is sure of. In accuracies a prompt counts once, in the bins a pair."""

import jax
import numpy as np

from zhlm import model, rollout
from zhlm.data import batches as data
from zhlm.evals import calibration
from zhlm.evals.compare import interval

ROWS = 32  # prompts at once


def evaluate(run):
  net, params = model.make(run.config, 'scalar'), run.load('reward')
  ranked = data.Ranked(run.config, 'test', whole=True)

  @jax.jit
  def score(tokens_BCT, lengths_BC):
    rows = tokens_BCT.reshape(-1, tokens_BCT.shape[-1])
    return rollout.score(net, params, rows, lengths_BC.reshape(-1)).reshape(lengths_BC.shape)

  right = {}  # source -> share of each prompt's pairs in the right order
  gaps = []  # by how much the better of each pair scores above the other
  for i, (batch, _, _) in enumerate(data.stream(ranked, run.config, 0, 'test', ROWS)):
    scores_BC = np.asarray(score(batch['tokens'], batch['lengths']))
    gap_BCC = scores_BC[:, :, None] - scores_BC[:, None, :]
    gaps.append(gap_BCC[batch['weights'] > 0])
    share_B = ((gap_BCC > 0) * batch['weights']).sum((1, 2))
    for j in range(min(ROWS, len(ranked) - i * ROWS)):
      if batch['weights'][j].any():  # else all its answers tie
        right.setdefault(ranked.source[i * ROWS + j]['source'], []).append(float(share_B[j]))
  rate, low, high = interval(sum(right.values(), []))
  yield 'accuracy', rate
  yield 'accuracy_low', low
  yield 'accuracy_high', high
  yield 'prompts', sum(map(len, right.values()))
  for source, shares in sorted(right.items()):
    yield f'accuracy_{source}', float(np.mean(shares))
  gap_N = np.concatenate(gaps)
  found = calibration.bins(jax.nn.sigmoid(abs(gap_N)), gap_N > 0)
  yield 'calibration_error', calibration.error(found)
  for b in found:
    name = f'calibration/{b.low:.1f}-{b.high:.1f}'
    yield f'{name}/pairs', b.pairs
    if b.pairs:
      yield f'{name}/accuracy', b.accuracy
      yield f'{name}/confidence', b.confidence
