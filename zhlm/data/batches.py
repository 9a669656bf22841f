"""Batch i is a function of (config, i): packed rows and padded examples, read with Grain.

No iterator has a state to save: going on from step s is asking for batch s. Every host reads the rows that
its devices hold, so the batch is the same on any number of hosts. Rows are planned before they are read,
and a mixture is arithmetic, so any number of workers reads the same stream. A little over 250 lines: the
kinds of rows stand beside the one stream that all of them share.
"""

import itertools
import math
import sys
from pathlib import Path

import grain
import jax
import numpy as np
from absl import flags

from zhlm import devices, hosts, losses
from zhlm.data import chat, manifest, mixture, records, tokenizer
from zhlm.data.packing import Packed, best_fit, concat  # noqa: F401 (stages name them as batches')
from zhlm.errors import InputError

LOOK = 1_000  # prompts that `Ranked.left_out` reads


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
  if tokenizer.fingerprint(tokenizer_folder(config)) != found['tokenizer_sha256']:
    raise InputError(
      f'{tokenizer_folder(config)} is not the tokenizer that wrote the tokens in {config.data}/data; '
      f'prepare the data again, or put that tokenizer back'
    )
  pieces = tokenizer.load(tokenizer_folder(config)).vocab_size()
  if pieces > config.model.V:
    raise InputError(
      f'the tokenizer has {pieces} pieces, more than model.V={config.model.V}; '
      f'give --config.model.V={pieces} or more'
    )
  return path


def tokenizer_folder(config):
  """The tokenizer that made config.data."""
  return str(Path(config.data) / 'tokenizer')


def end_of_turn(config):
  """The id that ends an answer."""
  return chat.end_of_turn(tokenizer.load(tokenizer_folder(config)))


def sources(config, split, make):
  """make(config); to train on a mixture, {folder: make(config with that folder as its data)}.

  Raises InputError when a folder's tokenizer is not that of config.data.
  """
  if split != 'train' or not config.mixture:
    return make(config)
  made = {}
  for data in mixture.folders(config):
    part = config.copy_and_resolve_references()
    with part.unlocked():
      part.data = data
    made[data] = make(part)
    if tokenizer.fingerprint(tokenizer_folder(part)) != tokenizer.fingerprint(tokenizer_folder(config)):
      raise InputError(f'config.mixture: {data} was prepared with another tokenizer than {config.data}')
  return made


def packed(config, dataset, split, how):
  """The split of a dataset of {tokens[, mask]} as rows of config.batch.T, by `concat` or `best_fit`."""

  def make(config):
    path = folder(config, dataset)
    lengths = records.lengths(path, split) - 1  # a document of n tokens predicts n - 1
    rows = how(lengths, config.batch.T, np.random.default_rng(config.seed))
    if not len(rows):
      raise InputError(f'{path}: no {split} record within batch.T={config.batch.T}')
    return Packed(records.open_split(path, split), rows, config.batch.T)

  return sources(config, split, make)


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

  def left_out(self):
    """What is left out of the first prompts, in a line; '' where that is nothing."""
    lengths = [record['lengths'] for record in self.source.__getitems__(range(min(len(self), LOOK)))]
    beyond, long = sum(len(n[self.C :]) for n in lengths), sum(int((n > self.T).sum()) for n in lengths)
    told = f'{beyond:,} beyond reward.C={self.C} and {long:,} longer than batch.T={self.T} are left out'
    of = f'of {sum(map(len, lengths)):,} completions of the first {len(lengths):,} prompts'
    return f'{of} {told}' if beyond + long else ''


def fitting(config, split, kind):
  """`sources` of `kind`, Ranked or Prompts; says on stderr what those of a train split leave out."""
  source = sources(config, split, lambda part: kind(part, split))
  for part in source.values() if isinstance(source, dict) else [source]:
    if split == 'train' and hosts.first() and (told := part.left_out()):
      print(f'{config.stage}: {told}', file=sys.stderr)
  return source


class Prompts:
  """Prompts for the policy to answer, right-padded: {tokens [P], lengths, part, row}; longer ones are left
  out. `said(prompts, part, row)` is what the user says in one of them; part: the number of its folder."""

  def __init__(self, config, split):
    path = folder(config, 'ppo')
    self.source, self.P = records.open_split(path, split), config.rollout.prompt_tokens
    mixed = mixture.folders(config) if split == 'train' and config.mixture else [config.data]
    self.part = mixed.index(config.data)
    lengths = records.lengths(path, split)
    self.fitting = np.flatnonzero(lengths <= self.P)
    if not len(self.fitting):
      raise InputError(
        f'{path}: no {split} prompt within rollout.prompt_tokens={self.P} (shortest {lengths.min()})'
      )

  def __len__(self):
    return len(self.fitting)

  def left_out(self):
    """How many prompts are, in a line; '' where none is."""
    long, P = len(self.source) - len(self), self.P
    told = f'{long:,} of {len(self.source):,} prompts, longer than rollout.prompt_tokens={P}, are left out'
    return told if long else ''

  def __getitem__(self, index):
    tokens = self.source[int(self.fitting[index])]['tokens']
    tokens_P = np.pad(tokens, (0, self.P - len(tokens)))
    where = {'part': np.int32(self.part), 'row': np.int32(self.fitting[index])}
    return {'tokens': tokens_P, 'lengths': np.int32(len(tokens)), **where}


def said(prompts, part, row):
  """The last thing that the user says in a prompt of `sources` of Prompts, by the numbers it carries."""
  found = list(prompts.values())[part] if isinstance(prompts, dict) else prompts
  return found.source[int(row)]['text']


def updates(source, config):
  """The updates of one pass over a train split: whole batches, in which no row is read twice."""
  return max(1, len(source) // config.batch.B)  # with fewer rows than a batch `stream` refuses to begin


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


class Share:
  """Of a source's batches of B rows, the rows with these numbers: those that this host's devices hold.
  times: so often a row stands in its batch, one after the other."""

  def __init__(self, source, B, here, times=1):
    self.source, self.B, self.here, self.times = source, B, here, times

  def __len__(self):
    rows = min(len(self.source), sys.maxsize // self.times)  # an endless source has sys.maxsize rows
    return rows // (self.B // self.times) * len(self.here)

  def __getitem__(self, index):
    batch, row = divmod(index, len(self.here))
    return self.source[(batch * self.B + self.here[row]) // self.times]


def stream(source, config, start, split, B=None, period=1, times=1):
  """(batch, {}, {}) from batch number `start`: shuffled anew each epoch without end for `train`, once in
  order for other splits; this host's rows only, in their order (`devices.host_rows` of the mesh set).

  source: rows by number, or those of each folder of a mixture, as `sources` makes them. period: updates
  made from one batch. times: so often each row stands in its batch of B, which it must divide. Raises
  InputError for a train split of too few rows for a batch.
  """
  B = B or config.batch.B
  here = devices.host_rows(jax.sharding.get_mesh(), B)
  train = split == 'train'
  rows = _endless(source, config, B // times, period) if train else Filled(source, B // times)
  batches = grain.MapDataset.source(Share(rows, B, here, times)).batch(len(here), drop_remainder=True)
  if train and config.data_workers:
    return _read_ahead(batches[start:], config.data_workers)
  steps = itertools.count(start) if train else range(start, len(batches))
  return ((batches[i], {}, {}) for i in steps)


def _endless(source, config, B, period):
  parts = source if isinstance(source, dict) else {config.data: source}
  stages = [(-(-step // period) * B, weights) for step, weights in mixture.parse(config)]
  if lost := set(mixture.folders(config)) - set(parts):
    raise InputError(f'stage {config.stage!r} reads {config.data} alone, not {", ".join(sorted(lost))}')
  for data, part in parts.items():
    share = max(math.ceil(weights[data] * B - 1e-6) for _, weights in stages if data in weights)
    if len(part) < share:
      raise InputError(f'{data}: train has {len(part)} rows, fewer than a batch of {share}; lower batch.B')
  shuffled = {k: grain.MapDataset.source(x).seed(config.seed).shuffle().repeat() for k, x in parts.items()}
  return mixture.Mixed(shuffled, stages)


def _read_ahead(batches, workers):
  """The same batches in the same order, read by so many processes."""
  if not flags.FLAGS.is_parsed():  # Grain hands its flags on to the processes
    flags.FLAGS.mark_as_parsed()
  how = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
  iterator = iter(batches.to_iter_dataset().mp_prefetch(how))
  try:
    for batch in iterator:
      yield batch, {}, {}
  except RuntimeError as error:
    if 'terminated unexpectedly' not in str(error):
      raise
    raise InputError(
      f'one of config.data_workers={workers} was killed, perhaps for memory; run the same command to go on'
    ) from error
  finally:
    iterator.close()
