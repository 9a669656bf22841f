"""Prints the commands of an experiment, one run a line, each one a person could paste.

  python -m launch.sweep experiments/kl_cost.py
  python -m launch.sweep experiments/kl_cost.py | sh

An experiment is a file with CONFIG, and runs() that yields {field: value}. Every field is checked first.
"""

import importlib.util
import shlex
from pathlib import Path

from absl import flags

from launch import run

_ROOT = flags.DEFINE_string('root', 'runs', 'Runs go to ROOT/EXPERIMENT/FIELD=VALUE,….')


def load(path):
  """The Python file at `path` as a module; InputError when it is not there."""
  from zhlm.errors import InputError

  if not Path(path).is_file():
    found = ', '.join(sorted(map(str, Path('experiments').glob('[a-z]*.py'))))
    raise InputError(f'no experiment {path}; there are: {found}')
  spec = importlib.util.spec_from_file_location(Path(path).stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def check(config, overrides):
  """Raises InputError for a field that the config does not have, with the nearest that it has."""
  import difflib

  from zhlm.disk import flat
  from zhlm.errors import InputError

  fields = flat(config.to_dict())
  for field in overrides:
    if field not in fields:
      near = difflib.get_close_matches(field, fields, 1)
      hint = f'; did you mean {near[0]!r}?' if near else '.'
      raise InputError(f'no field {field!r} in the config{hint} There are: {", ".join(fields)}')


def commands(path, root):
  """One launch.train command, and one launch.evaluate command, for each run of the experiment."""
  experiment = load(path)
  file, _, arg = experiment.CONFIG.partition(':')
  config = load(file).get_config(arg)
  for overrides in experiment.runs():
    check(config, overrides)
    name = ','.join(f'{field}={value}' for field, value in overrides.items())
    workdir = f'--workdir={root}/{Path(path).stem}/{name}'
    fields = [f'--config.{field}={value}' for field, value in overrides.items()]
    train = ['python', '-m', 'launch.train', f'--config={experiment.CONFIG}', *fields, workdir]
    yield f'{shlex.join(train)} && python -m launch.evaluate {shlex.quote(workdir)}'


def main(argv):
  from zhlm.errors import InputError

  if len(argv) != 2:
    raise InputError('give one experiment: python -m launch.sweep experiments/NAME.py')
  for command in commands(argv[1], _ROOT.value):
    print(command)


if __name__ == '__main__':
  run(main)
