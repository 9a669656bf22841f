"""Runs a program as two hosts: two processes of four simulated devices each, on this machine.

`python -m tests.two` is launch.train at a pace at which a signal comes between two steps.
"""

import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

ROOT = Path(__file__).parent.parent


def free_port():
  """A port that nobody listens on."""
  with socket.create_server(('', 0)) as s:
    return s.getsockname()[1]


def start(host, port, *argv):
  """Starts `python ARGV` as one of two hosts."""
  settings = {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': re.sub(r'device_count=\d+', 'device_count=4', os.environ['XLA_FLAGS']),
    'JAX_DEFAULT_MATMUL_PRECISION': 'highest',
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    'PYTHONPATH': str(ROOT),
  }
  where = [f'--coordinator=127.0.0.1:{port}', '--hosts=2', f'--host={host}']
  return subprocess.Popen(
    [sys.executable, *map(str, argv), *where],
    cwd=ROOT,
    env={**os.environ, **settings},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def ends(processes, timeout=600):
  """[(exit status, stdout, stderr)] of the hosts, without gloo's chatter about its ranks; those that do
  not end are killed, and that is an error."""
  try:
    with ThreadPoolExecutor(len(processes)) as pool:  # all at once: a full pipe would hold up its host
      said = list(pool.map(lambda p: p.communicate(timeout=timeout), processes))
  finally:
    for p in processes:
      p.kill()
  quiet = [[x for x in out.splitlines(keepends=True) if not x.startswith('[Gloo]')] for out, _ in said]
  return [(p.returncode, ''.join(q), e) for p, q, (_, e) in zip(processes, quiet, said, strict=True)]


def run(*argv):
  """What `ends` says of both hosts of a program."""
  port = free_port()
  return ends([start(i, port, *argv) for i in range(2)])


def cache_on_each_host():
  """jax keeps what process 0 compiled, by a key that another process does not have: here each keeps its
  own, or the tests compile everything each time."""
  from jax._src import compiler, distributed

  plain, state = compiler._cache_write, distributed.global_state

  def write(*args):
    me, state.process_id = state.process_id, 0
    try:
      plain(*args)
    finally:
      state.process_id = me

  compiler._cache_write = write


if __name__ == '__main__':
  import launch
  from launch import train
  from zhlm import metrics

  step = metrics.Log.step

  def slowly(*args):
    time.sleep(0.1)
    step(*args)

  metrics.Log.step = slowly
  cache_on_each_host()
  launch.run(train.main)
