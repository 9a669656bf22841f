"""A plan of rows loses nothing, cuts only where it may, and keeps documents apart."""

import collections

import numpy as np
import pytest

from zhlm.data import packing


def rng(seed=0):
  return np.random.default_rng(seed)


LENGTHS = np.array([5, 1, 12, 30, 3, 8, 8, 2, 10, 17])


def pieces(rows):
  """{document: [(start, stop), …] in order} of packed rows."""
  found = collections.defaultdict(list)
  for row in rows:
    for i, start, stop in row:
      found[i].append((start, stop))
  return {i: sorted(spans) for i, spans in found.items()}


@pytest.mark.parametrize('T', [1, 7, 10, 100])
def test_concat_reads_every_token_once_in_full_rows(T):
  rows = packing.concat(LENGTHS, T, rng())
  sizes = [sum(stop - start for _, start, stop in row) for row in rows]
  assert sizes[:-1] == [T] * (len(rows) - 1) and 0 < sizes[-1] <= T
  found = pieces(rows)
  for i, n in enumerate(LENGTHS):
    assert [t for start, stop in found[i] for t in range(start, stop)] == list(range(n))


def test_concat_draws_a_new_order_from_each_seed():
  order = lambda seed: [i for row in packing.concat(LENGTHS, 1_000, rng(seed)) for i, _, _ in row]  # noqa: E731
  assert order(0) == order(0) != order(1) and sorted(order(0)) == list(range(10))


def test_best_fit_never_cuts_and_leaves_out_only_what_is_too_long():
  rows = packing.best_fit(LENGTHS, 20, rng())
  assert pieces(rows) == {i: [(0, n)] for i, n in enumerate(LENGTHS) if n <= 20}
  assert all(sum(stop for _, _, stop in row) <= 20 for row in rows)
  assert len(rows) == 4  # 66 tokens do not go into three rows of 20


def simple_best_fit(lengths, T, rng):
  """The rule itself, slowly: of all rows that still have room, the fullest, and of those the newest."""
  order = rng.permutation(len(lengths))
  rows, touched = [], []
  for clock, i in enumerate(sorted(order, key=lambda i: -lengths[i])):
    rooms = [T - sum(lengths[j] for j in row) for row in rows]
    fits = [r for r, room in enumerate(rooms) if room >= lengths[i]]
    if not fits:
      rows.append([])
      touched.append(clock)
      fits, rooms = [len(rows) - 1], [*rooms, T]
    best = min(fits, key=lambda r: (rooms[r], -touched[r]))
    rows[best].append(int(i))
    touched[best] = clock
  return rows


@pytest.mark.parametrize('seed', range(5))
def test_best_fit_is_best_fit(seed):
  lengths = rng(seed).integers(1, 60, 120)
  rows = packing.best_fit(lengths, 64, rng(seed))
  assert [[i for i, _, _ in row] for row in rows] == simple_best_fit(lengths, 64, rng(seed))


@pytest.mark.parametrize('how', [packing.concat, packing.best_fit])
def test_an_empty_document_takes_no_segment(how):
  """A record of one token, or of none, predicts nothing."""
  rows = how(np.array([0, 4, -1, 3, 0]), 10, rng())
  assert pieces(rows) == {1: [(0, 4)], 3: [(0, 3)]} and len(rows) == 1
  assert len(how(np.array([0, -1]), 10, rng())) == 0
  assert len(how(np.array([], np.int32), 10, rng())) == 0


def test_a_packed_row_keeps_its_documents_apart():
  """Targets are the document's own next tokens, its last token is only a target, masks move along."""
  source = [
    {'tokens': np.arange(10, 16), 'mask': np.array([0, 0, 1, 1, 0, 1])},
    {'tokens': np.arange(20, 23), 'mask': np.array([0, 1, 1])},
  ]
  row = packing.Packed(source, [[(0, 0, 5), (1, 0, 2)]], 9)[0]
  np.testing.assert_array_equal(row['tokens'], [10, 11, 12, 13, 14, 20, 21, 0, 0])
  np.testing.assert_array_equal(row['targets'], [11, 12, 13, 14, 15, 21, 22, 0, 0])
  np.testing.assert_array_equal(row['positions'], [0, 1, 2, 3, 4, 0, 1, 0, 0])
  np.testing.assert_array_equal(row['segments'], [1, 1, 1, 1, 1, 2, 2, 0, 0])
  np.testing.assert_array_equal(row['weights'], [0, 1, 1, 0, 1, 1, 1, 0, 0])


def test_rows_end():
  rows = packing.concat(LENGTHS, 10, rng())
  assert len(list(rows)) == len(rows) == 10  # 96 tokens
  with pytest.raises(IndexError):
    rows[10]
