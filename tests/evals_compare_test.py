"""An interval that must hold the truth."""

import numpy as np
import pytest

from zhlm.evals import compare


def test_ties_count_half_and_sides_mirror():
  rate, low, high = compare.win_rate([1, 2, 3, 4], [0, 2, 4, 1])
  assert rate == 2.5 / 4
  mirrored = compare.win_rate([0, 2, 4, 1], [1, 2, 3, 4])
  np.testing.assert_allclose(mirrored, (1 - rate, 1 - high, 1 - low))


def test_interval_solves_wilsons_equation():
  # Its ends are the p with |rate - p| = z √(p (1 - p) / n).
  rate, low, high = compare.win_rate([1] * 30 + [0] * 10, [0] * 30 + [1] * 10)
  for p in (low, high):
    assert abs(rate - p) == pytest.approx(1.959963984540054 * np.sqrt(p * (1 - p) / 40))
  assert 0 < low < rate < high < 1


def test_interval_stays_honest_when_one_side_wins_everything():
  rate, low, high = compare.win_rate([1] * 10, [0] * 10)
  assert rate == 1 and high == pytest.approx(1)
  assert low == pytest.approx(10 / (10 + 1.959963984540054**2))


def test_interval_holds_the_truth_as_often_as_it_says():
  rng, held = np.random.default_rng(0), 0
  for _ in range(1_000):
    wins = rng.random(60) < 0.7
    _, low, high = compare.win_rate(wins, ~wins)
    held += low <= 0.7 <= high
  assert 930 <= held <= 975


@pytest.mark.parametrize('a, b', [([], []), ([1], [1, 2]), ([[1]], [[2]])])
def test_unpaired_scores_are_refused(a, b):
  with pytest.raises(ValueError, match='paired'):
    compare.win_rate(a, b)
