"""Which of two policies does better, and how sure that is. It knows no model: scores in."""

import math

import numpy as np

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def interval(outcomes):
  """(rate, low, high) of outcomes in 0 … 1: the mean and Wilson's 95 % interval (1927), which unlike the
  bootstrap does not shrink to a point where all outcomes agree."""
  rate, n, z2 = float(np.mean(outcomes)), len(outcomes), Z95**2
  centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
  half = Z95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
  return rate, min(rate, centre - half), max(rate, centre + half)  # at 0 and 1 rounding would leave it out


def win_rate(score_a, score_b):
  """(rate, low, high): how often a beats b on the same prompt, a tie counting ½ (which makes the interval
  wider than it need be). Raises ValueError unless the scores are paired, one or more."""
  a, b = np.asarray(score_a, np.float64), np.asarray(score_b, np.float64)
  if a.shape != b.shape or a.ndim != 1 or not len(a):
    raise ValueError(f'win_rate: wants two rows of paired scores, not {a.shape} and {b.shape}')
  return interval(np.where(a == b, 0.5, a > b))
