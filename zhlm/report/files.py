"""Reads what the runs of a workdir left: JSON, lines of JSON, and what follows from them.

A file that is not there is no error (that stage has not been run); a broken one is an InputError
that names the file and the line.
"""

import json
import math

from zhlm.errors import InputError
from zhlm.report.page import is_number


def read_json(path):
  """The file's JSON, None where there is no file. Raises InputError naming the file and line."""
  if not path.exists():
    return None
  try:
    return json.loads(path.read_text('utf-8'))
  except (json.JSONDecodeError, UnicodeDecodeError) as e:
    raise InputError(f'{path}:{getattr(e, "lineno", 1)}: not JSON ({e})') from e


def read_lines(path, wanted):
  """The objects of a JSONL file, [] without it; `wanted` is {field: what its value must satisfy}.

  Raises InputError naming the file and line of the first that is no such object.
  """
  rows = []
  lines = path.read_bytes().split(b'\n') if path.exists() else []
  for i, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
      raise InputError(f'{path}:{i}: not a JSON line ({e})') from e
    for field, holds in wanted.items():
      if not isinstance(row, dict) or not holds(row.get(field)):
        raise InputError(f'{path}:{i}: wants an object whose field {field!r} {holds.__doc__}')
    rows.append(row)
  return rows


def is_text(x):
  """is text"""
  return isinstance(x, str)


def is_prompt(x):
  """is a list of {role, content}"""
  return isinstance(x, list) and all(isinstance(m, dict) and {'role', 'content'} <= m.keys() for m in x)


def is_step(x):
  """is a number, where it is there"""
  return x is None or is_number(x)


def read_results(path):
  """The results table: a list of objects with a `name`; [] without the file."""
  rows = read_json(path) or []
  if not isinstance(rows, list) or not all(isinstance(x, dict) and 'name' in x for x in rows):
    raise InputError(f'{path}: wants a list of objects with a name')
  return rows


def read_stage(folder):
  """What one run left, None where it was not run. samples: what launch.evaluate asked; answers: what each
  validation of the training did, with its step."""
  wanted = {'prompt': is_prompt, 'completion': is_text, 'step': is_step}
  asked = read_lines(folder / 'samples.jsonl', wanted)
  run = {
    'config': read_json(folder / 'config.json') or {},
    'metrics': read_lines(folder / 'metrics.jsonl', {'step': is_number}),
    'results': read_json(folder / 'results.json') or {},
    'samples': [row for row in asked if 'step' not in row],
    'answers': [row for row in asked if 'step' in row],
  }
  for file in ('config', 'results'):
    if not isinstance(run[file], dict):
      raise InputError(f'{folder / file}.json: wants an object')
  return run if any(run.values()) else None


def series(metrics):
  """{name: (train points, validation points, not finite)} of all numeric fields, as they appear."""
  out = {}
  for row in metrics:
    for key, value in row.items():
      if key in ('step', 'time') or not is_number(value):
        continue
      kind = key.startswith('validation/')
      lines = out.setdefault(key.removeprefix('validation/'), ([], [], []))
      lines[kind if math.isfinite(value) else 2].append((row['step'], value))
  return out


def wall_seconds(run):
  """Seconds a run took: as it says, else from its first line to its last; None if it wrote none."""
  if is_number(run['results'].get('wall_seconds')):
    return run['results']['wall_seconds']
  times = [row['time'] for row in run['metrics'] if is_number(row.get('time'))]
  return max(times) - min(times) if times else None


def speed(run):
  """Median tokens per second; None where it was not measured."""
  x = sorted(r['tokens_per_second'] for r in run['metrics'] if is_number(r.get('tokens_per_second')))
  return x[len(x) // 2] if x else None
