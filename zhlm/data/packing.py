"""Rows of T positions out of documents of any length, planned from the lengths alone.

A plan says which pieces of which documents lie in which row, so row i can be read by itself: nothing
depends on who reads it, after what, or in how many processes. Knows neither jax nor files.
"""

import numpy as np


class Rows:
  """A list of rows, each a list of pieces (document, start, stop), held as one array: 24 bytes a piece."""

  def __init__(self, pieces, offsets):
    self.pieces, self.offsets = pieces, offsets  # row i is pieces[offsets[i] : offsets[i + 1]]

  def __len__(self):
    return len(self.offsets) - 1

  def __getitem__(self, index):
    if not 0 <= index < len(self):
      raise IndexError(index)
    here = self.pieces[self.offsets[index] : self.offsets[index + 1]]
    return [tuple(piece) for piece in here.tolist()]


def concat(lengths, T, rng):
  """Rows for pretraining: documents in random order, end to end, cut every T tokens; nothing is lost.

  lengths: int[documents], the tokens that each predicts; a document of none takes no place.
  """
  order = rng.permutation(len(lengths))
  order = order[lengths[order] > 0]
  ends = np.cumsum(lengths[order], dtype=np.int64)
  total = int(ends[-1]) if len(ends) else 0
  cuts = np.unique(np.concatenate([np.arange(0, total, T), ends, [0, total]]))
  begins, stops = cuts[:-1], cuts[1:]
  which = np.searchsorted(ends, begins, 'right')
  starts = (ends - lengths[order])[which]
  pieces = np.stack([order[which], begins - starts, stops - starts], 1)
  return Rows(pieces, np.searchsorted(begins, np.arange(-(-total // T) + 1) * T))


def best_fit(lengths, T, rng):
  """Rows for conversations, never cut: longest first, each into the fullest row that still has room.

  What is longer than T, or predicts nothing, is left out.
  """
  order = rng.permutation(len(lengths))
  order = order[np.argsort(-lengths[order], kind='stable')]
  order = order[(lengths[order] > 0) & (lengths[order] <= T)]
  row_of = np.empty(len(order), np.int64)
  by_room = [[] for _ in range(T + 1)]  # by_room[r]: rows with r tokens left
  rooms, rows = 0, 0  # bit r of `rooms`: by_room[r] is not empty
  for at, n in enumerate(lengths[order].tolist()):
    fits = rooms >> n
    if fits:
      room = n + (fits & -fits).bit_length() - 1  # the lowest bit: the least room that is enough
      row = by_room[room].pop()
      if not by_room[room]:
        rooms ^= 1 << room
    else:
      row, room, rows = rows, T, rows + 1
    row_of[at] = row
    by_room[room - n].append(row)
    rooms |= 1 << (room - n)
  by_row = np.argsort(row_of, kind='stable')
  i = order[by_row]
  pieces = np.stack([i, np.zeros_like(i), lengths[i]], 1)
  return Rows(pieces, np.searchsorted(row_of[by_row], np.arange(rows + 1)))


class Packed:
  """Rows of T positions as a Grain source; each piece is a segment whose tokens meet no other's."""

  def __init__(self, source, rows, T):
    self.source, self.rows, self.T = source, rows, T

  def __len__(self):
    return len(self.rows)

  def __getitem__(self, index):
    row = {k: np.zeros(self.T, np.int32) for k in ('tokens', 'targets', 'positions', 'segments')}
    row['weights'] = np.zeros(self.T, np.float32)
    at = 0
    for segment, (i, start, stop) in enumerate(self.rows[index], 1):
      record = self.source[i]
      here = slice(at, at + stop - start)
      row['tokens'][here] = record['tokens'][start:stop]
      row['targets'][here] = record['tokens'][start + 1 : stop + 1]
      row['positions'][here] = np.arange(stop - start)
      row['segments'][here] = segment
      row['weights'][here] = record['mask'][start + 1 : stop + 1] if 'mask' in record else 1.0
      at += stop - start
    return row
