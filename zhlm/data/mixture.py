"""Several prepared folders as one stream: which source row r is of, and which of its rows, by arithmetic.

  config.mixture = 'runs/web:0.8 runs/books:0.2 @2000 runs/web:0.5 runs/books:0.5'

From update 2,000 the second weights hold, and each source goes on where it was. The history of the weights
stands in the config, so row r is a function of (config, r), and no iterator has a state to save. Knows
neither jax nor what a row holds.
"""

import bisect

import numpy as np

from zhlm.data import manifest
from zhlm.errors import InputError

BLOCK = 1_000  # rows in which the weights come out even: a thousandth is the least weight


def parse(config):
  """[(first update, {folder: weight}), …] of config.mixture; '' is config.data alone.

  Raises InputError, naming the word, unless every folder's weight is at least 1/BLOCK and each stage's
  weights sum to 1, and unless the stages begin at rising updates.
  """
  stages = [(0, {})]
  for word in (config.mixture or f'{config.data}:1').split():
    folder, colon, weight = word.rpartition(':')
    if word[0] == '@' and word[1:].isdigit():
      if stages != [(0, {})]:
        stages.append((int(word[1:]), {}))
        if stages[-1][0] <= stages[-2][0]:
          _refuse(word, f'must come after update {stages[-2][0]}')
      elif word != '@0':
        _refuse(word, 'the first weights hold from update 0')
      continue
    weights = stages[-1][1]
    try:
      weights[folder], known = float(weight), folder in weights
    except ValueError:
      _refuse(word, 'must be FOLDER:WEIGHT, or @UPDATE before new weights')
    if not folder or not colon:
      _refuse(word, 'must be FOLDER:WEIGHT, or @UPDATE before new weights')
    if known:
      _refuse(word, 'this folder has a weight already')
    if not 1 / BLOCK <= weights[folder] <= 1:
      _refuse(word, f'a weight lies between {1 / BLOCK} and 1; leave out what shall not be read')
  for step, weights in stages:
    if abs(sum(weights.values()) - 1) > 1e-6:
      _refuse(f'from update {step}', f'the weights sum to {sum(weights.values()):.6g}, not to 1')
  return stages


def _refuse(word, why):
  raise InputError(f'config.mixture: {word}: {why}')


def folders(config):
  """Every folder that the mixture names, in order."""
  return list(dict.fromkeys(folder for _, weights in parse(config) for folder in weights))


class Mixed:
  """An endless Grain source of the rows of endless sources.

  sources: {name: rows by number}. stages: [(first row, {name: weight}), …]. Of every BLOCK rows of a
  stage each source has its share to the nearest row, evenly spread.
  """

  def __init__(self, sources, stages):
    self.sources, self.starts, self.plans = sources, [row for row, _ in stages], []
    taken = dict.fromkeys(sources, 0)
    for (start, weights), end in zip(stages, [*self.starts[1:], stages[-1][0]], strict=True):
      names = list(weights)
      counts = _shares(np.array([weights[name] for name in names]))
      which = np.repeat(np.arange(len(names)), counts)
      nth = np.concatenate([np.arange(n) for n in counts])
      order = np.argsort((nth + 0.5) / counts[which], kind='stable')
      which, nth = which[order], nth[order]
      self.plans.append((names, counts, which, nth, dict(taken)))
      blocks, rest = divmod(end - start, BLOCK)
      for k, name in enumerate(names):
        taken[name] += int(blocks * counts[k] + (which[:rest] == k).sum())

  def __len__(self):
    return 2**62

  def place(self, row):
    """(source, number of its row)."""
    stage = bisect.bisect_right(self.starts, row) - 1
    names, counts, which, nth, taken = self.plans[stage]
    block, i = divmod(row - self.starts[stage], BLOCK)
    k = which[i]
    return names[k], taken[names[k]] + int(block * counts[k] + nth[i])

  def __getitem__(self, row):
    name, number = self.place(row)
    return self.sources[name][number]


def _shares(weights):
  """Whole numbers that sum to BLOCK in the proportion of the weights, by largest remainder."""
  exact = weights * BLOCK
  counts = np.floor(exact + 1e-6).astype(np.int64)
  counts[np.argsort(counts - exact, kind='stable')[: BLOCK - counts.sum()]] += 1
  return counts


def contents(config):
  """{folder: {dataset: sha256 of its train split}} of what a run reads: kept beside its checkpoints."""
  found = {folder: manifest.read(folder) for folder in folders(config)}
  return {folder: _digests(about, config.stage) for folder, about in found.items() if about}


def _digests(about, stage):
  made = {
    name: splits['train']['sha256'] for name, splits in about['datasets'].items() if 'train' in splits
  }
  return {stage: made[stage]} if stage in made else made


def check_resume(old, then, config, step):
  """Raises InputError unless a run of config `old` that stands at update `step`, and read data of `then`
  (its `contents`), goes on under `config` as if it had been started so."""
  before, now = ([x for x in parse(c) if x[0] < step] for c in (old, config))
  if before != now:
    past = old.mixture or f'{old.data}:1'
    last = ' '.join(f'{folder}:{weight:.12g}' for folder, weight in parse(config)[-1][1].items())
    raise InputError(
      f'config.mixture: other weights before update {step}, where this run stands; for new ones from '
      f"here: --config.mixture='{past} @{step} {last}'"
    )
  for folder, digests in contents(config).items():
    if then.get(folder, digests) != digests:
      raise InputError(
        f'{folder} was prepared anew, with other contents, since this run began; prepare it as it was, or '
        f'begin another run in a new --workdir'
      )
