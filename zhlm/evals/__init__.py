"""An eval is a generator: `evaluate(run)` in `zhlm/evals/NAME.py` yields (name, value) of a finished run.

`config.evals` names those that belong to a stage; all read the test split, which no training has read.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any, NamedTuple

import jax

from zhlm import checkpoint, devices, disk
from zhlm.data import batches, tokenizer
from zhlm.errors import InputError


class Run(NamedTuple):
  """A finished run, opened from its folder alone."""

  folder: Path
  config: Any
  tokenizer: Any

  def load(self, network):
    """The weights of one of its networks."""
    return checkpoint.load(self.folder, network)

  def networks(self):
    """The names of its networks."""
    return checkpoint.networks(self.folder)

  def texts(self, table, split='test'):
    """The rows of data/TABLE.SPLIT.jsonl that launch.prepare wrote; [] when there are none."""
    path = Path(self.config.data) / 'data' / f'{table}.{split}.jsonl'
    return [json.loads(line) for line in path.open(encoding='utf-8')] if path.exists() else []


def open_run(folder) -> Run:
  config = checkpoint.read_config(folder)
  config.model.lora_rank = 0  # weights are opened with their adapters merged
  return Run(Path(folder), config, tokenizer.load(batches.tokenizer_folder(config)))


def names():
  """The modules of this folder that are evals."""
  found = (m.name for m in pkgutil.iter_modules(__path__))
  return sorted(n for n in found if hasattr(importlib.import_module(f'{__name__}.{n}'), 'evaluate'))


def evaluate(folder, again=False, say=print):
  """Runs config.evals on the run in `folder`; writes results.json there and returns its dict. Does nothing
  when that was done for the newest checkpoint, unless `again`."""
  run, path = open_run(folder), Path(folder) / 'results.json'
  step = checkpoint.newest_step(folder)
  if path.exists() and not again:
    results = json.loads(path.read_text())
    if results['step'] == step:
      say(f'{run.config.stage}: evaluated before, at step {step}; see {path}')
      return results
  results = {'step': step}
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    for name in run.config.evals:
      if name not in names():
        raise InputError(f'unknown eval {name!r}; choose from {", ".join(names())}')
      for key, value in importlib.import_module(f'{__name__}.{name}').evaluate(run):
        results[key] = value
        say(
          f'{run.config.stage} | {key} {value:.4g}'
          if isinstance(value, float)
          else f'{run.config.stage} | {key} {value}'
        )
  disk.write_json(path, results)
  return results
