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
  narrow(microbatch) -> (which, [microbatch, …]): itself in several shapes, and the number of the one that is
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
