"""Runs a command as two hosts: two processes of four simulated devices each, on this machine."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parent.parent


def free_port():
  """A port that nobody listens on."""
  with socket.create_server(('', 0)) as s:
    return s.getsockname()[1]


def start(host, port, *argv, hosts=2, devices=4, env=()):
  """Starts `python ARGV --coordinator… --host=HOST`; what it prints is in one pipe each."""
  settings = {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': re.sub(r'device_count=\d+', f'device_count={devices}', os.environ['XLA_FLAGS']),
    'JAX_DEFAULT_MATMUL_PRECISION': 'highest',
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  where = [f'--coordinator=127.0.0.1:{port}', f'--hosts={hosts}', f'--host={host}'] if port else []
  return subprocess.Popen(
    [sys.executable, *map(str, argv), *where],
    cwd=ROOT,
    env={**os.environ, **settings, **dict(env)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def ends(processes, timeout=120):
  """[(exit status, stdout, stderr)] of both; gloo's chatter about its ranks is left out."""
  out = []
  for p in processes:
    stdout, stderr = p.communicate(timeout=timeout)
    quiet = [x for x in stdout.splitlines(keepends=True) if not x.startswith('[Gloo]')]
    out.append((p.returncode, ''.join(quiet), stderr))
  return out


def run(*argv, timeout=120, **how):
  """Both hosts' (exit status, stdout, stderr)."""
  port = free_port()
  return ends([start(i, port, *argv, **how) for i in range(2)], timeout)
