"""What a prepared folder says about itself, and the small file habits that make it believable."""

import contextlib
import hashlib
import json
import os
import platform
import time
from importlib import metadata

from zhlm.errors import InputError

_ASIDE = ('finished', 'cache')  # fields that change nothing in what is made


def path(workdir):
  """`manifest.json`: written last, so a folder without it is not prepared."""
  return os.path.join(workdir, 'data', 'manifest.json')


def read(workdir):
  """The manifest, or None when the folder is not prepared. Raises InputError if it is not JSON."""
  if not os.path.isfile(path(workdir)):
    return None
  try:
    with open(path(workdir), encoding='utf-8') as file:
      return json.load(file)
  except ValueError:
    raise InputError(f'{path(workdir)}: not JSON; remove it to prepare the folder again') from None


def check_same(found, config, inputs, workdir):
  """Raises InputError, naming the fields, unless the manifest is of this config and inputs."""
  old, new = _flat(found['config']), _flat(config)
  names = sorted(k for k in {*old, *new} - set(_ASIDE) if old.get(k) != new.get(k))
  changes = [f'{k} ({old.get(k)} there, {new.get(k)} here)' for k in names]
  if inputs is not None and inputs != found['inputs']:
    files = sorted(k for k in {*inputs, *found['inputs']} if inputs.get(k) != found['inputs'].get(k))
    changes.append(f'contents of {", ".join(files)}')
  if changes:
    raise InputError(
      f'{workdir}: prepared before with other settings: {"; ".join(changes)}: '
      'choose another --workdir, or --config.finished=False to make it anew'
    )


def _flat(tree, prefix=''):
  out = {}
  for key, value in tree.items():
    out.update(_flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value})
  return out


def versions():
  """Of Python and of the libraries that decide what is written."""
  names = ('sentencepiece', 'array-record', 'tensorflow-datasets', 'numpy')
  return {'python': platform.python_version(), **{name: metadata.version(name) for name in names}}


def sha256(file_path):
  """Hex digest of a file."""
  with open(file_path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def write_text(file_path, text):
  """Writes a file whole or not at all."""
  os.makedirs(os.path.dirname(file_path) or '.', exist_ok=True)
  with open(f'{file_path}.tmp', 'w', encoding='utf-8') as file:
    file.write(text)
  os.replace(f'{file_path}.tmp', file_path)


def write_json(file_path, value):
  """Writes a value to read by eye and by machine, whole or not at all."""
  write_text(file_path, json.dumps(value, ensure_ascii=False, indent=2) + '\n')


def write_jsonl(file_path, rows):
  """One object a line, whole or not at all."""
  write_text(file_path, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows))


def steps(say, seconds):
  """`with step(name) as done: … done(result)` says one line a step and notes its seconds."""

  @contextlib.contextmanager
  def step(name):
    start, result = time.time(), []
    yield result.append
    seconds[name] = round(time.time() - start, 1)
    say(f'{name:<16} {seconds[name]:6.1f} s  {"".join(result)}')

  return step


def progress(rows, name, say, every=5.0):
  """The rows, saying every few seconds how many are done and how long the rest will take."""
  start = last = time.time()
  for i, row in enumerate(rows):
    yield row
    now = time.time()
    if now - last > every:
      last = now
      rest = (now - start) / (i + 1) * (len(rows) - i - 1)
      say(f'  {name}: {i + 1:,} of {len(rows):,}, {rest:.0f} s to go')
