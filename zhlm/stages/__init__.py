"""A stage is pure functions; `zhlm/stages/NAME.py` holds one, with `make(config) -> Stage`.

What is frozen is data: a reference policy, a reward model, the policy of a moment ago are applied where a
batch is made and leave numbers in it: every loss has one signature, a step carries only what it trains.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from zhlm.errors import InputError


class Stage(NamedTuple):
  """init(rng) -> params, a dict of networks, boxed with their axes' letters.

  loss(params, batch, rng) -> (loss, metrics): sums weighted by the batch's `weights`; a loss of several
    terms is {name: loss}.
  batches(networks, start, split, carry=None) -> iterator of (batch, info, carry) from batch number `start`;
    `train` never ends, other splits are read once, in order. A batch holds `tokens` and `weights`; info,
    numbers to log; carry, what a later call with the next number needs to go on: {} where batch i depends
    on (seed, i) alone. networks() gives all networks of the moment, trained and frozen.
  shapes() -> the batch of one update as ShapeDtypeStructs. carry_shapes() -> the same for the carry.
  start: {network: (run folder, network there)}, weights to begin with in place of init's.
  frozen: {network: (run folder, network there)}, opened once, never trained.
  programs() -> {name: (function, abstract arguments)}: what runs compiled beside the update.
  epoch() -> updates in one pass over the training split; None where a stage makes its own data.
  observe(networks, carry) -> (numbers, samples, loss): in place of the validation that takes means of the
    loss, also before the first update. numbers by name; samples: what to show; loss: by which the best
    checkpoint is kept.
  narrow(microbatch) -> (which, [microbatch, …]): itself in several shapes, and the number of that which is
    to be computed: where rows are short, the others would be padding for the most part.
  """

  init: Callable
  loss: Callable
  batches: Callable
  shapes: Callable
  start: dict = {}
  frozen: dict = {}
  carry_shapes: Callable = dict
  programs: Callable = dict
  epoch: Callable | None = None
  observe: Callable | None = None
  narrow: Callable = lambda microbatch: (0, [microbatch])


def names():
  """The stages of this folder."""
  return sorted(m.name for m in pkgutil.iter_modules(__path__))


def make(config) -> Stage:
  """The stage `config.stage` names: a file of this folder, or an importable module by its dotted name."""
  name = config.stage
  if '.' not in name and name not in names():
    raise InputError(f'unknown stage {name!r}; choose from {", ".join(names())}, or a module a.b.c')
  try:
    module = importlib.import_module(name if '.' in name else f'zhlm.stages.{name}')
  except ModuleNotFoundError as e:
    raise InputError(f'stage {name!r}: {e}; is its folder on PYTHONPATH?') from e
  return module.make(config)


def resolved(config):
  """The config with the number of its updates: `steps` of 0 is one pass over the training split. Raises
  InputError where there is no such thing: a stage that makes its own data, a mixture."""
  if config.steps:
    return config
  epoch = make(config).epoch
  if epoch is None or config.mixture:
    what = 'config.mixture' if epoch else f'stage {config.stage!r}, which makes its own data'
    raise InputError(f'config.steps=0, one pass over the data, is nothing to {what}; give --config.steps=N')
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.steps = epoch()
  return config
