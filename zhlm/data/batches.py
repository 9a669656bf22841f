"""Batch i is a function of (seed, i): packed rows and padded examples, read with Grain.

No iterator has a state to save: going on from step s is asking for batch s. Every process takes its
stride of the global batch, so the batch holds the same rows on any number of hosts.
"""

import itertools
from pathlib import Path

import grain
import jax
import numpy as np

from zhlm import losses
from zhlm.data import chat, manifest, records, tokenizer
from zhlm.errors import InputError


def concat(lengths, T, rng):
  """Rows for pretraining: documents in random order, end to end, cut every T tokens; nothing is lost.
  Returns a list of rows, each a list of pieces (document, start, stop)."""
  order = rng.permutation(len(lengths))
  ends = np.cumsum(lengths[order])
  starts = ends - lengths[order]
  rows = []
  for begin in range(0, int(ends[-1]), T):
    first = np.searchsorted(ends, begin, 'right')
    last = np.searchsorted(starts, begin + T, 'left')
    rows.append(
      [
        (
          int(order[i]),
          max(begin - int(starts[i]), 0),
          min(begin + T, int(ends[i])) - int(starts[i]),
        )
        for i in range(first, last)
      ]
    )
  return rows


def best_fit(lengths, T, rng):
  """Rows for conversations, never cut: longest first, each into the fullest row that still has room."""
  order = rng.permutation(len(lengths))
  order = order[np.argsort(-lengths[order], kind='stable')]
  rows, by_room = [], [[] for _ in range(T + 1)]  # by_room[r]: rows with r tokens left
  for i in map(int, order):
    n = int(lengths[i])
    if n > T:
      continue
    room = next((r for r in range(n, T + 1) if by_room[r]), None)
    if room is None:
      rows.append([])
      row, room = len(rows) - 1, T
    else:
      row = by_room[room].pop()
    rows[row].append((i, 0, n))
    by_room[room - n].append(row)
  return rows


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


def folder(config, dataset):
  """The folder of a prepared dataset. Raises InputError when launch.prepare has not made it, or when the
  tokenizer beside it is not the one that wrote its tokens, or has more pieces than the model."""
  found = manifest.read(config.data)
  path = Path(config.data) / 'data' / dataset
  if found is None or not path.exists():
    raise InputError(
      f'no dataset {dataset!r} in {config.data}; make it with '
      f'`python -m launch.prepare --config=configs/data.py:source=… --workdir={config.data}`'
    )
  if tokenizer.sha256(tokenizer_file(config)) != found['tokenizer_sha256']:
    raise InputError(
      f'{tokenizer_file(config)} is not the tokenizer that wrote the tokens in {config.data}/data; '
      f'prepare the data again, or put that tokenizer back'
    )
  pieces = tokenizer.load(tokenizer_file(config)).vocab_size()
  if pieces > config.model.V:
    raise InputError(f'the tokenizer has {pieces} pieces, more than model.V={config.model.V}')
  return path


def tokenizer_file(config):
  """The tokenizer that made config.data."""
  return str(Path(config.data) / 'tokenizer' / 'tokenizer.model')


def end_of_turn(config):
  """The id that ends an answer."""
  return chat.end_of_turn(tokenizer.load(tokenizer_file(config)))


def packed(config, dataset, split, how):
  """The split of a dataset of {tokens[, mask]} as rows of config.batch.T, by `concat` or `best_fit`."""
  path = folder(config, dataset)
  lengths = records.lengths(path, split) - 1  # a document of n tokens predicts n - 1
  rows = how(lengths, config.batch.T, np.random.default_rng(config.seed))
  return Packed(records.open_split(path, split), rows, config.batch.T)


class Ranked:
  """Prompts with C ranked completions each, padded: {tokens [C, T], lengths, weights [C, C]}.

  What is longer than batch.T or beyond the first reward.C is left out; `whole` leaves nothing out.
  """

  def __init__(self, config, split, whole=False):
    self.source = records.open_split(folder(config, 'reward'), split)
    self.T, self.C = config.batch.T, config.reward.C
    if whole:
      lengths = [record['lengths'] for record in self.source]
      self.T, self.C = max(map(max, lengths)), max(map(len, lengths))

  def __len__(self):
    return len(self.source)

  def __getitem__(self, index):
    record = self.source[index]
    lengths_C, ranks_C = np.zeros(self.C, np.int32), np.zeros(self.C, np.int32)
    tokens_CT = np.zeros((self.C, self.T), np.int32)
    answers = np.split(record['tokens'], np.cumsum(record['lengths'])[:-1])
    for c, answer in enumerate(answers[: self.C]):
      if len(answer) <= self.T:
        tokens_CT[c, : len(answer)] = answer
        lengths_C[c], ranks_C[c] = len(answer), record['ranks'][c]
    weights_CC = losses.pair_weights(ranks_C, lengths_C > 0)
    return {'tokens': tokens_CT, 'lengths': lengths_C, 'weights': weights_CC}


class Prompts:
  """Prompts for the policy to answer, right-padded: {tokens [P], lengths}; longer ones are left out."""

  def __init__(self, config, split):
    path = folder(config, 'ppo')
    self.source, self.P = records.open_split(path, split), config.ppo.prompt_tokens
    lengths = records.lengths(path, split)
    self.fitting = np.flatnonzero(lengths <= self.P)
    if not len(self.fitting):
      raise InputError(
        f'{path}: no {split} prompt within ppo.prompt_tokens={self.P} (shortest {lengths.min()})'
      )

  def __len__(self):
    return len(self.fitting)

  def __getitem__(self, index):
    tokens = self.source[int(self.fitting[index])]['tokens']
    return {'tokens': np.pad(tokens, (0, self.P - len(tokens))), 'lengths': np.int32(len(tokens))}


class Filled:
  """A source filled up to whole batches of B with rows that weigh nothing: a split is read whole."""

  def __init__(self, source, B):
    self.source, self.length = source, -(-len(source) // B) * B

  def __len__(self):
    return self.length

  def __getitem__(self, index):
    row = self.source[index % len(self.source)]
    if index >= len(self.source) and 'weights' in row:
      row['weights'] = np.zeros_like(row['weights'])
    return row


def stream(source, config, start, split, B=None):
  """(batch, info) from batch number `start`: shuffled anew each epoch without end for `train`, once in
  order for other splits. This process's rows only. Raises InputError for a train split of under B rows."""
  B = B or config.batch.B
  if split == 'train':
    if len(source) < B:
      raise InputError(f'{split} has {len(source)} rows, fewer than a batch of {B}; lower batch.B')
    rows = grain.MapDataset.source(source).seed(config.seed).shuffle().repeat()
  else:
    rows = grain.MapDataset.source(Filled(source, B))
  rows = rows[jax.process_index() :: jax.process_count()]
  batches = rows.batch(B // jax.process_count(), drop_remainder=True)
  steps = itertools.count(start) if split == 'train' else range(start, len(batches))
  return ((batches[i], {}) for i in steps)
