"""Bins of confidence and the expected calibration error, against a plain loop and worked by hand."""

import math

import numpy as np
import pytest

from zhlm.evals import calibration


def test_bins_and_error_are_those_of_a_plain_loop():
  rng = np.random.default_rng(0)
  sure, right = rng.uniform(0.5, 1, 500), rng.integers(2, size=500)
  found, error = calibration.bins(sure, right), 0.0
  for i, b in enumerate(found):
    low, high = 0.5 + 0.1 * i, 0.6 + 0.1 * i
    here = [(p, r) for p, r in zip(sure, right, strict=True) if low <= p < high]
    assert (b.low, b.high, b.pairs) == (pytest.approx(low), pytest.approx(high), len(here))
    assert b.confidence == pytest.approx(sum(p for p, _ in here) / len(here))
    assert b.accuracy == pytest.approx(sum(r for _, r in here) / len(here))
    error += len(here) / 500 * abs(b.accuracy - b.confidence)
  assert calibration.error(found) == pytest.approx(error) and error > 0.1  # what is right was drawn blindly


def test_edges_belong_to_the_bin_above_and_1_to_the_last():
  assert [b.pairs for b in calibration.bins([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [1] * 6)] == [1, 1, 1, 1, 2]
  assert [b.pairs for b in calibration.bins([0.5, 0.75, 1.0], [1] * 3, count=2)] == [1, 2]


def test_the_error_by_hand():
  """Four of ten right at 0.9: off by 0.5; three of three at 1: off by nothing."""
  found = calibration.bins([0.9] * 10 + [1.0] * 3, [1] * 4 + [0] * 6 + [1] * 3)
  assert calibration.error(found) == pytest.approx(
    abs(7 / 13 - 12 / 13)
  )  # one bin: errors may cancel in it
  found = calibration.bins([0.85] * 10 + [1.0] * 3, [1] * 4 + [0] * 6 + [1] * 3)
  assert calibration.error(found) == pytest.approx(10 / 13 * 0.45)
  empty = found[0]
  assert empty.pairs == 0 and math.isnan(empty.accuracy) and math.isnan(empty.confidence)
  assert math.isnan(calibration.error(calibration.bins([], [])))


def test_who_is_right_as_often_as_he_is_sure_has_no_error():
  rng = np.random.default_rng(1)
  sure = rng.uniform(0.5, 1, 100_000)
  right = rng.uniform(size=len(sure)) < sure
  assert calibration.error(calibration.bins(sure, right)) < 0.005
  assert calibration.error(calibration.bins(np.minimum(sure + 0.2, 1), right)) > 0.1  # too sure of himself
