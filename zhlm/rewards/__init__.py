"""Rules that score text; a rule is a function (prompt, completion, *options) -> float, found by its name.

  verse.rhyme        `rhyme` of verse.py in this folder; `names()` lists all of them
  my.module.score    any other function that can be imported

prompt: what the user asked last, plain text, and completion: the answer, without the end of its turn; both
are text of a tokenizer, so any text, '' too, gets a score. Ours lie in [0, 1], 1 is best, and depend on
nothing but their arguments. A rule sees one pair: what wants a batch (a model) is no rule. Nothing here
imports JAX, so that a worker process may score.
"""

import difflib
import functools
import importlib
import inspect
import math
import pkgutil
import re
from typing import NamedTuple

import numpy as np

from zhlm.errors import InputError

RUN = 'run'  # the part that is no rule but a reward model's run: its caller opens it
_PART = re.compile(r'([\w.]+)(?::(.*?))?(?:\*([-+.\deE]+))?')
_SHOWN = 40  # characters of a text in a message
_LARGEST = float(np.finfo(np.float32).max)


class Part(NamedTuple):
  """One part of a weighted sum; `options` are what the rule takes after prompt and completion."""

  name: str
  options: tuple
  weight: float


def families():
  """The modules of this folder."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def names():
  """The rules of this folder, as 'verse.rhyme'."""
  modules = [importlib.import_module(f'{__name__}.{family}') for family in families()]
  return sorted(
    f'{family}.{name}'
    for family, module in zip(families(), modules, strict=True)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__
    and not name.startswith('_')
    and list(inspect.signature(function).parameters)[:2] == ['prompt', 'completion']
  )


@functools.cache
def rule(name):
  """The function that a name means. Raises InputError with the choices when there is none."""
  ours, why = names(), ''
  module, _, function = name.rpartition('.')
  if name in ours:
    return getattr(importlib.import_module(f'{__name__}.{module}'), function)
  if module and module not in families():
    try:
      found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:  # also where the user's module lacks one that it imports
      found, why = None, f' ({error})'
    if inspect.isfunction(found):
      return found
  near = difflib.get_close_matches(name, ours, 1)
  raise InputError(
    f'no rule is named {name}{why}; {f"did you mean {near[0]}? " if near else ""}choose from '
    f'{", ".join(ours)}, run:FOLDER (a reward model), or a function of yours, package.module.function, '
    'on PYTHONPATH'
  )


def parse(spec):
  """The list of Part that a text means: parts NAME[:OPTION,OPTION…][*WEIGHT] with blanks between them.

    run:runs/reward verse.rhyme*0.5 text.length:20,60*0.2 text.format:/\\d+[,.]\\d+/*-1

  The weight is 1 where none is given; it may be negative. The last option of a rule takes all that is left,
  commas too, but no blank. `run:FOLDER` is a Part('run', (folder,), weight). '' is no part at all.
  Raises InputError, which repeats the part, for a wrong name, option or weight.
  """
  return [_part(text) for text in spec.split()]


def _part(text):
  found = _PART.fullmatch(text)
  try:
    weight = float(found[3] or 1)
  except (TypeError, ValueError):
    weight = math.nan
  if not math.isfinite(weight):
    raise InputError(f'{text}: a part of a reward is NAME, NAME:OPTION,OPTION or either with *WEIGHT')
  try:
    return Part(found[1], _options(found[1], found[2] or ''), weight)
  except InputError as error:
    raise InputError(f'{text}: {error}') from None


def _options(name, text):
  """The options in a text, as numbers where the rule says so, tried once on nothing."""
  if name == RUN:
    if not text:
      raise InputError('name the folder of a reward model, as in run:runs/reward')
    return (text,)
  function = rule(name)
  parameters = list(inspect.signature(function, eval_str=True).parameters.values())[2:]
  wanted = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
  given = text.split(',', max(len(wanted) - 1, 0)) if text else []
  try:
    kinds = [p.annotation if p.annotation in (int, float) else str for p in wanted]
    options = tuple(kind(value) for kind, value in zip(kinds, given, strict=False))
    inspect.signature(function).bind('', '', *options, *given[len(wanted) :])
  except (TypeError, ValueError):
    types = {int: ' (a whole number)', float: ' (a number)'}
    takes = ','.join(
      f'{p.name.upper()}{types.get(p.annotation, "")}{"" if p.default is p.empty else " or nothing"}'
      for p in wanted
    )
    raise InputError(f'{name} takes {takes or "no option"}, not {text!r}') from None
  if options:  # a wrong one is told before a model is opened
    function('', '', *options)
  return options


def scores(parts, prompts, completions):
  """The weighted sum of the parts for each pair, float32 [B]; a part 'run' is its caller's to add.

  Raises InputError, with rule, prompt and completion, for a score that is no number float32 can hold.
  """
  total = np.zeros(len(prompts))
  for part in parts:
    function = rule(part.name)
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
      score = function(prompt, completion, *part.options)
      try:
        value = part.weight * float(score)
      except (TypeError, ValueError):
        value = math.nan
      if not abs(value) <= _LARGEST:
        raise InputError(
          f'{part.name} gave {_short(score)}, not a finite number, to the prompt {_short(prompt)} with the '
          f'completion {_short(completion)}'
        )
      total[i] += value
  return total.astype(np.float32)


def _short(value):
  text = repr(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'
