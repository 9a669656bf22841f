"""Trees of arrays on disk: written in the background, whole or not at all; read as they were written or not
at all. Knows neither runs nor networks.

A folder holds a folder a step, written by orbax, with an item for each tree and `meta`: what the writer
says, and every array's shape and fingerprint. What is read is compared to that; of a step that differs or
cannot be read, the one before takes the place.
"""

import contextlib
import functools
import hashlib
import json
import logging
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from zhlm import fingerprint, hosts
from zhlm.errors import InputError

# Seconds in which all hosts have written a save. Where one cannot, its disk full, the others wait for it so
# long; orbax's own limit is twice that.
LIMIT = 600


def steps(folder):
  """The steps that are there, in order; none that was set aside or is still being written."""
  return sorted(int(p.name) for p in Path(folder).glob('*') if p.name.isdigit())


def _cause(error):
  """Orbax and TensorStore name the true cause at the end of the chain: that, in one line."""
  while error.__cause__ is not None:
    error = error.__cause__
  text = ' '.join(str(error).split()).partition(' [tensorstore_spec')[0] or type(error).__name__
  return text if len(text) < 400 else f'{text[:150]} … {text[-250:]}'


def _hash(meta):
  return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _load(path, items):
  """(some items, what is wrong or ''); items: {name: shapes on the mesh}. Each process reads its shards
  alone: one that fails leaves no other waiting for it."""
  _quieten()
  context = ocp.Context()
  context.pytree.loading.partial_load = True
  context.multiprocessing_options.active_processes = {jax.process_index()}
  context.multiprocessing_options.primary_host = jax.process_index()
  with context:
    try:
      return ocp.load_checkpointables(path.resolve(), items), ''
    except Exception as e:  # a damaged file raises whatever its reader stumbles over
      return {}, _cause(e)


@functools.cache
def _quieten():
  """Where one array cannot be read, the readers of others are dropped, of which Python, asyncio and
  TensorStore tell on stderr at length, each from a thread of its own and late. Leaves out what they say."""

  def orphan(record):
    return not re.match('(Task|Future) (exception was never|was destroyed)', record.getMessage())

  def told(unraisable):
    code = getattr(unraisable.object, 'cr_code', None)
    if not (code and 'orbax' in code.co_filename or 'loop is closed' in str(unraisable.exc_value)):
      before(unraisable)

  before, sys.unraisablehook = sys.unraisablehook, told
  logging.getLogger('asyncio').addFilter(orphan)
  warnings.filterwarnings('ignore', "coroutine '.*' was never awaited", RuntimeWarning)


def _meta(path):
  """(meta, what is wrong with it or '')."""
  items, wrong = _load(path, {'meta': None})
  try:
    meta = {} if wrong else json.loads(items['meta']['json'])
    return meta, wrong or ('' if meta.pop('sha256') == _hash(meta) else 'meta is not what was saved')
  except (ValueError, LookupError, TypeError, AttributeError) as e:
    return {}, f'meta: {_cause(e)}'


def _read(path, want):
  """(meta, items, what is wrong with them or ''), the same in every process. Raises what `want` raises."""
  meta, wrong = _meta(path)
  wanted = {} if wrong else want(meta)
  items, why = _load(path, wanted) if wanted else ({}, '')
  wrong = wrong or why
  if not all(isinstance(x, jax.Array) for x in jax.tree.leaves(items)):
    wrong = 'an array is missing'  # which orbax leaves as its shape
  if jax.process_count() > 1 and multihost_utils.process_allgather(np.array(bool(wrong))).any():
    wrong = wrong or 'another host cannot read it'
  for name, item in {} if wrong else items.items():
    saved = meta['items'][name]
    changed = [path for path, x in fingerprint.of(item).items() if saved[path] != x]
    if changed:
      wrong = wrong or f'{name}/{changed[0]} is not what was saved'
  return meta, {} if wrong else items, wrong


def newest(folder, want):
  """(step, meta, items, damaged newer steps) of the newest step that is as it was saved.

  want(meta) -> {item: shapes on the mesh}: what to read; {} for the meta alone. Says on stderr what is
  passed over, and why. Raises InputError when no step is left, and what `want` raises.
  """
  damaged = {}
  for step in reversed(steps(folder)):
    meta, items, wrong = _read(Path(folder) / str(step), want)
    if not wrong:
      for there, why in damaged.items() if hosts.first() else ():
        print(f'{folder}/{there} is damaged ({why}): taking step {step} instead', file=sys.stderr)
      return step, meta, items, list(damaged)
    damaged[step] = wrong
  each = '; '.join(f'{step} ({why})' for step, why in damaged.items())
  raise InputError(f'no checkpoint in {folder} can be read: {each}')


class _Best(NamedTuple):
  """Orbax's protocol of what to keep: the `n` steps of least loss."""

  n: int
  losses: dict

  def should_preserve(self, checkpoints, *, context):
    told = {c.step: self.losses.get(c.step) for c in checkpoints}
    best = sorted((step for step, loss in told.items() if loss is not None), key=told.get)[: self.n]
    return [c.step in best for c in checkpoints]


class Writer:
  """A folder in which one program (of many processes) saves: it clears away what a killed save left, and
  keeps the newest `keep`, the `keep_best` of least loss, and every `keep_every`-th step."""

  def __init__(self, folder, keep, keep_best=0, keep_every=0):
    self.folder, self._saving, self._losses = Path(folder), None, {}
    if hosts.first():
      # Orbax's own cleanup is a thread that complains when a run ends at once.
      for unfinished in self.folder.glob('*.orbax-checkpoint-tmp*'):
        shutil.rmtree(unfinished)
    policies = ocp.training.preservation_policies
    kept = [policies.LatestN(keep)]
    if keep_best:  # orbax's own policy does not start where a file of its metrics is damaged
      self._losses = {step: _meta(self.folder / str(step))[0].get('loss') for step in steps(self.folder)}
      kept.append(_Best(keep_best, self._losses))
    if keep_every:
      kept.append(policies.EveryNSteps(keep_every))
    policy = policies.AnyPreservationPolicy(kept)
    context = ocp.Context()
    context.async_options.timeout_secs = LIMIT
    with context:
      self._checkpointer = ocp.training.Checkpointer(self.folder.resolve(), preservation_policy=policy)

  def set_aside(self, damaged):
    """Renames damaged steps `STEP.damaged`: for people to look at, never to be listed again."""
    for step in damaged if hosts.first() else ():
      path = self.folder / f'{step}.damaged'
      names = [path, *(path.with_name(f'{path.name}-{i}') for i in range(2, 1_000))]
      (self.folder / str(step)).rename(next(p for p in names if not p.exists()))
    hosts.barrier('set aside')
    self._checkpointer.reload()

  def save(self, step, items, meta, loss=None):
    """Copies `items`, {name: tree}, from the devices and goes on while they are written. `loss` is what the
    best are kept by. Raises InputError when the disk did not take the save before."""
    self.wait()
    meta = {**meta, 'step': step, 'items': {k: fingerprint.of(x) for k, x in items.items()}, 'loss': loss}
    text = json.dumps({**meta, 'sha256': _hash(meta)})
    self._saving, self._losses[step] = step, loss
    with self._explained():
      saved = {**items, 'meta': {'json': text, 'step': step}}
      self._checkpointer.save_checkpointables_async(step, saved, force=True)

  def wait(self):
    """Until the last save is on the disk. Raises InputError when the disk does not take it; what was saved
    before stays."""
    with self._explained():
      self._checkpointer.wait()
    self._saving = None

  def close(self):
    """As `wait`, for the last time."""
    try:
      self.wait()
    finally:
      with contextlib.suppress(Exception):  # orbax raises once more what a failed save has raised
        self._checkpointer.close()

  @contextlib.contextmanager
  def _explained(self):
    try:
      yield
    except (OSError, ValueError, LookupError) as e:
      step, self._saving = self._saving, None
      whole = [x for x in steps(self.folder) if x != step]
      kept = f'checkpoint {whole[-1]} is whole' if whole else 'there is no earlier one'
      raise InputError(
        f'cannot save checkpoint {step} in {self.folder.parent} ({kept}; free some space and run '
        f'the same command to go on): {_cause(e)}'
      ) from e
