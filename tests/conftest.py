"""Eight simulated devices, a compile cache inside the repository, and tiny runs that all tests share."""

import fcntl
import os
from pathlib import Path

os.environ['JAX_PLATFORMS'] = 'cpu'
# XLA's threads for all simulated devices together. Each collective holds one while it waits for the others,
# and devices may begin independent ones in any order: with a thread a device they all wait for ever.
os.environ['NPROC'] = '24'

import jax
import pytest

from benchmarks.disturb import quick_to_compile
from tests import tiny
from tests.toy import make_toy

os.environ['XLA_FLAGS'] = quick_to_compile(devices=8)
jax.config.update('jax_default_matmul_precision', 'highest')
jax.config.update('jax_compilation_cache_dir', str(Path(__file__).parent.parent / '.jax_cache'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


class Made:
  """A folder shared by pytest's workers, where each part is made once: `made(name, make) -> path`."""

  def __init__(self, root):
    self.root = root

  def __call__(self, name, make):
    path, done = self.root / name, self.root / f'{name}.done'
    with open(self.root / f'{name}.lock', 'w') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      if not done.exists():
        make(path)
        done.touch()
    return path


@pytest.fixture(scope='session')
def made(tmp_path_factory):
  root = tmp_path_factory.getbasetemp()
  return Made(root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root)


@pytest.fixture(scope='session')
def toy(made):
  """A prepared folder: see tests/toy.py."""
  return made('toy', make_toy)


@pytest.fixture(scope='session')
def runs(made, toy):
  """`runs(stage)`: the folder of a run of that stage on one device, with those that it starts from."""

  def run(stage):
    return made(stage, lambda folder: tiny.train(stage, toy, folder, run))

  return run
