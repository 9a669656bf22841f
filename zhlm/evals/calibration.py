"""Is a probability of being right as good as its word? Bins of confidence, and what they are off by.

A preference between two answers is right or wrong; the model's confidence in it, the probability that it
gives to the answer it prefers, lies in ½ … 1 (Guo et al. 2017, On Calibration of Modern Neural Networks).
"""

from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
  """The pairs whose confidence lies in low … high (high itself is in the next bin, 1 in the last)."""

  low: float
  high: float
  pairs: int
  accuracy: float  # share of the pairs in which the model is right; nan without a pair
  confidence: float  # mean, which would be that share in a calibrated model


def bins(confidence_N, right_N, count=5):
  """`count` Bins of equal width over ½ … 1. confidence_N in that range; right_N: 0 or 1 (½ for a tie)."""
  edges = np.round(np.linspace(0.5, 1, count + 1), 12)
  confidence_N, right_N = np.asarray(confidence_N, np.float64), np.asarray(right_N, np.float64)
  place_N = np.digitize(confidence_N, edges[1:-1])
  found = []
  for i in range(count):
    inside = place_N == i
    means = [x[inside].mean() if inside.any() else np.nan for x in (right_N, confidence_N)]
    found.append(Bin(float(edges[i]), float(edges[i + 1]), int(inside.sum()), *map(float, means)))
  return found


def error(bins):
  """Expected calibration error (eq. 3): the mean of |accuracy - confidence| of the bins, weighed by their
  pairs; nan without a pair."""
  pairs = sum(b.pairs for b in bins)
  off = sum(b.pairs * abs(b.accuracy - b.confidence) for b in bins if b.pairs)
  return off / pairs if pairs else float('nan')
