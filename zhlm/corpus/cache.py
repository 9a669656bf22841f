"""A step is done once: its marker holds the hash of all that its result depends on.

  work/STEP/TASK.json   {'key', 'result', 'seconds', 'outputs': {file: bytes}, 'sha256'}   written last

The key is over the code of the packages a step uses, the versions of their libraries, the settings it
reads, and the content of its inputs; so a re-run skips, a changed rule re-runs only what follows from
it, and a file that lacks its marker is not there.
"""

import hashlib
import importlib
import json
import os
import shutil
import time
from functools import cache
from importlib import metadata
from pathlib import Path

from zhlm import disk
from zhlm.errors import InputError


@cache
def code(*modules):
  """Hash of the source of modules (all of it, of a package), so that a changed line re-runs its steps."""
  digest = hashlib.sha256()
  for name in modules:
    path = Path(importlib.util.find_spec(name).origin)
    files = sorted(path.parent.glob('*.py')) if path.name == '__init__.py' else [path]
    for file in files:
      digest.update(file.name.encode() + file.read_bytes())
  return digest.hexdigest()


@cache
def version(package):
  """The installed version of a library, '' when it is not there."""
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return ''


def digest(value):
  """sha256 of a JSON value."""
  return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _read(marker, key):
  """What a marker says, None when it is of another key or one of its files is not as it was."""
  try:
    with open(marker, encoding='utf-8') as file:
      found = json.load(file)
    if found.pop('sha256') != digest(found):
      return None
  except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
    return None
  same = found['key'] == key and all(
    os.path.isfile(path) and os.path.getsize(path) == size for path, size in found['outputs'].items()
  )
  return found if same else None


def run(work, step, function, tasks, spread, meter):
  """The results of `function` over `tasks`, in their order; only those not done before are computed.

  work: folder. tasks: {name: (key, task)}, where key is a JSON value of all that the result depends on
  and task what `function` takes beside the folder it may write to. function((folder, name, task)) ->
  (result as JSON, [files it wrote]). spread: an engine's map. meter(step, …) is told what was done.
  """
  folder = os.path.join(work, step)
  os.makedirs(folder, exist_ok=True)
  names, keys = list(tasks), {name: digest(key) for name, (key, _) in tasks.items()}
  markers = {name: os.path.join(folder, f'{name}.json') for name in names}
  found = {name: _read(markers[name], keys[name]) for name in names}
  todo = [name for name in names if found[name] is None]
  # What is to be made anew must not pass for finished if this run is killed in between.
  for name in todo:
    Path(markers[name]).unlink(missing_ok=True)
  meter.begin(step, len(names), [found[name] for name in names if found[name]])
  start = time.time()
  for index, answer in _told(step, spread(function, [(folder, name, tasks[name][1]) for name in todo])):
    (result, outputs), seconds, peak = answer
    name = todo[index]
    marker = {
      'key': keys[name],
      'result': result,
      'outputs': {path: os.path.getsize(path) for path in outputs},
      'seconds': round(seconds, 3),
      'peak': peak,
    }
    found[name] = json.loads(json.dumps(marker))  # as it will be read: keys of numbers become text
    disk.write_json(markers[name], {**found[name], 'sha256': digest(found[name])})
    meter.advance(found[name])
  _tidy(folder, found)
  meter.end(time.time() - start, len(todo))
  return [found[name]['result'] for name in names]


def _told(step, answers):
  """The answers; an error of the disk, which names no file, says at least in which step it came."""
  try:
    yield from answers
  except OSError as error:
    raise OSError(f'{step}: {error}: what was done is kept; run again to go on') from error


def _tidy(folder, found):
  """Removes what an earlier run with other inputs left, and halves of files."""
  ours = {f'{name}.json' for name in found}
  ours |= {Path(path).relative_to(folder).parts[0] for done in found.values() for path in done['outputs']}
  for name in set(os.listdir(folder)) - ours:
    path = os.path.join(folder, name)
    shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def lock(work):
  """Takes the folder for this process until it ends. Raises InputError when another one has it."""
  import fcntl

  os.makedirs(work, exist_ok=True)
  file = open(os.path.join(work, 'lock'), 'w')  # noqa: SIM115 (held as long as the process lives)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.close()
    raise InputError(f'{work}: another launch.prepare is at work here; wait for it, or stop it') from None
  return file
