"""What a prepared folder says about itself: of which config and files it was made, and what it holds."""

import json
import os
import platform
from importlib import metadata

from zhlm import disk
from zhlm.errors import InputError

_ASIDE = ('finished', 'cache', 'engine', 'processes', 'beam_options')  # change nothing in what is made


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
  old, new = disk.flat(found['config']), disk.flat(config)
  names = sorted(k for k in {*old, *new} - set(_ASIDE) if old.get(k) != new.get(k))
  changes = [f'{k} ({old.get(k)} there, {new.get(k)} here)' for k in names]
  if inputs != found['inputs']:
    files = sorted(k for k in {*inputs, *found['inputs']} if inputs.get(k) != found['inputs'].get(k))
    changes.append(f'contents of {", ".join(files)}')
  if changes:
    raise InputError(
      f'{workdir}: prepared before with other settings: {"; ".join(changes)}: '
      'choose another --workdir, or --config.finished=False to make it anew'
    )


def versions():
  """Of Python and of the libraries that decide what is written."""
  names = ('sentencepiece', 'array-record', 'tensorflow-datasets', 'numpy')
  return {'python': platform.python_version(), **{name: metadata.version(name) for name in names}}
