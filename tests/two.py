"""Runs a program as two hosts: two processes of four simulated devices each, on this machine.

`python -m tests.two` is launch.train at a pace at which a signal comes between two steps.
"""

import os
import re
import socket
import subprocess
import sys
import time
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
  out, deadline = [], time.monotonic() + timeout
  try:
    for p in processes:
      stdout, stderr = p.communicate(timeout=max(deadline - time.monotonic(), 1))
      quiet = [x for x in stdout.splitlines(keepends=True) if not x.startswith('[Gloo]')]
      out.append((p.returncode, ''.join(quiet), stderr))
  finally:
    for p in processes:
      p.kill()
  return out


def run(*argv):
  """What `ends` says of both hosts of a program."""
  port = free_port()
  return ends([start(i, port, *argv) for i in range(2)])


if __name__ == '__main__':
  import launch
  from launch import train
  from zhlm import metrics

  step = metrics.Log.step

  def slowly(*args):
    time.sleep(0.1)
    step(*args)

  metrics.Log.step = slowly
  launch.run(train.main)
