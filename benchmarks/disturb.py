"""What can happen to a run: killed, stopped, its newest checkpoint damaged, the disk full, a host lost.

`rough` trains a Program to its end through random disturbances; each is of a kind, at a moment, drawn.
"""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
KINDS = {
  'SIGKILL': 3,  # with their weights in the draw
  'SIGKILL in a save': 3,
  'SIGTERM': 3,
  'Ctrl-C': 1,
  'a flipped bit': 4,
  'a truncated file': 3,
  'a full disk': 3,
}
SIGNALS = {'SIGTERM': signal.SIGTERM, 'Ctrl-C': signal.SIGINT}
ENDED = 'the run ended first'  # hosts agree to stop at a step ahead, and the run may have none
PATIENCE = 900  # seconds for anything to happen before it counts as hung; more than store.LIMIT


def quick_to_compile(devices):
  """XLA_FLAGS for simulated devices, without what the compiler does for speed alone: that is nine tenths of
  a tiny run's time."""
  flags = f'--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0 '
  flags += '--xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1'
  if tuple(map(int, version('jaxlib').split('.')[:3])) <= (0, 11, 0):  # later ones have no such flag
    flags += ' --xla_cpu_use_fusion_emitters=false'
  return flags


class Program(NamedTuple):
  """launch.train with these flags, as one process or as several hosts of one run."""

  args: tuple
  folder: Path
  hosts: int = 1
  env: Any = ()

  def start(self):
    """[Popen], one a host; their output goes into files beside the folder."""
    port = ''
    if self.hosts > 1:
      with socket.create_server(('127.0.0.1', 0)) as s:
        port = s.getsockname()[1]
    processes = []
    for i in range(self.hosts):
      where = [f'--coordinator=127.0.0.1:{port}', f'--hosts={self.hosts}', f'--host={i}'] if port else []
      with open(f'{self.folder}.out{i}', 'w') as out, open(f'{self.folder}.err{i}', 'w') as err:
        command = [sys.executable, '-m', 'launch.train', *self.args, f'--workdir={self.folder}', *where]
        env = {**os.environ, **dict(self.env)}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=err))
    return processes

  def said(self, stream='err'):
    """What all hosts printed since the last start; gloo's talk about its ranks is left out."""
    lines = (
      x for i in range(self.hosts) for x in Path(f'{self.folder}.{stream}{i}').read_text().splitlines(True)
    )
    return ''.join(x for x in lines if not x.startswith('[Gloo]'))

  def finish(self):
    """Runs it to its end. Raises AssertionError with what it said when that is not status 0."""
    statuses = ends(self.start())
    assert statuses == [0] * self.hosts, (statuses, self.said())


def ends(processes, patience=PATIENCE):
  """The exit statuses; one that does not end in time is killed, and its status is 'hung'."""
  deadline, out = time.time() + patience, []
  for p in processes:
    try:
      out.append(p.wait(max(deadline - time.time(), 0.1)))
    except subprocess.TimeoutExpired:
      p.kill()
      p.wait()
      out.append('hung')
  return out


def until(ready, processes, patience=PATIENCE):
  """Waits for `ready()`; False when a process ends before, or when it takes too long."""
  deadline = time.time() + patience
  while not ready():
    if any(p.poll() is not None for p in processes) or time.time() > deadline:
      return bool(ready())
    time.sleep(0.002)
  return True


def reached(folder, step):
  """Whether metrics.jsonl has so many lines."""
  path = folder / 'metrics.jsonl'
  return path.exists() and path.read_bytes().count(b'\n') >= step


def saving(folder):
  """Whether a checkpoint is being written."""
  return any(folder.glob('checkpoints/*.orbax-checkpoint-tmp*'))


def whole(folder):
  """The steps of the finished checkpoints, in order."""
  return sorted(int(p.name) for p in folder.glob('checkpoints/*') if p.name.isdigit())


def arrays(folder, step):
  """{name: bytes} of every array of a checkpoint: weights, optimizer, guard, rollout in flight."""
  import jax
  import numpy as np
  from orbax.checkpoint import v1 as ocp

  path = (Path(folder) / 'checkpoints' / str(step)).resolve()
  one = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # however many devices had saved it
  saved = {k: x for k, x in ocp.checkpointables_metadata(path).metadata.items() if k != 'meta'}
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), saved)
  tree = ocp.load_checkpointables(path, shapes)
  return {jax.tree_util.keystr(p): np.asarray(x).tobytes() for p, x in jax.tree.leaves_with_path(tree)}


def losses(folder):
  """[(step, loss)] as metrics.jsonl has them."""
  lines = map(json.loads, (Path(folder) / 'metrics.jsonl').read_text().splitlines())
  return [(x['step'], x['loss']) for x in lines]


def damage(folder, how, draw):
  """Flips a bit of, or truncates, a random file of the newest checkpoint; returns its name there."""
  newest = folder / 'checkpoints' / str(whole(folder)[-1])
  files = sorted(p for p in newest.rglob('*') if p.is_file() and p.stat().st_size)
  sizes = [p.stat().st_size for p in files]  # half of the time any byte, else any file
  path = draw.choices(files, sizes)[0] if draw.random() < 0.5 else draw.choice(files)
  data = bytearray(path.read_bytes())
  if how == 'a flipped bit':
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
  else:
    del data[draw.randrange(len(data)) :]
  path.write_bytes(data)
  return str(path.relative_to(newest))


def fill_disk(pid, size):
  """From the next write on, no file of the process grows beyond `size` bytes."""
  with contextlib.suppress(ProcessLookupError):
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))


def send(process, number):
  with contextlib.suppress(ProcessLookupError):
    process.send_signal(number)


def disturb(kind, processes, program, draw):
  """Does it, and waits until all hosts have ended. Returns (what was seen, whether it must be so)."""
  folder, one = program.folder, draw.choice(processes)
  if kind in SIGNALS:
    send(one, SIGNALS[kind])
    statuses = ends(processes)
    stopped = re.findall(r'saved at step (\d+) in [^\n]*; run the same command', program.said())
    if set(statuses) == {-SIGNALS[kind]}:
      return 'before it listened', True
    if set(statuses) == {0}:
      return ENDED, True
    status = 128 + SIGNALS[kind] if len(processes) == 1 else 143  # other hosts hear of SIGTERM alone
    fine = status in statuses and set(statuses) <= {status, 143} and len(set(stopped)) == 1
    fine = fine and int(stopped[0]) in whole(folder)
    return f'saved at {stopped[0]}' if fine else f'status {statuses}: {program.said()[-400:]}', fine
  if kind == 'a full disk':
    for p in processes:  # enough for logs, too little for arrays
      fill_disk(p.pid, 40_000)
    statuses = ends(processes)
    fine = 2 in statuses and 'hung' not in statuses and 'cannot save checkpoint' in program.said()
    return 'told' if fine else f'status {statuses}: {program.said()[-400:]}', fine
  if kind == 'one of two hosts killed':
    since = time.time()
    send(one, signal.SIGKILL)
    statuses = ends(processes)
    return f'the other ended after {time.time() - since:.0f} s', 'hung' not in statuses
  if kind == 'SIGKILL in a save':
    until(lambda: saving(folder), processes, 5)
    time.sleep(draw.random() * 0.1)
  for p in processes:
    send(p, signal.SIGKILL)
  ends(processes)
  if kind in ('a flipped bit', 'a truncated file'):
    return damage(folder, kind, draw), True
  return '', True


def choose(folder, hosts, draw):
  """The kind of the next disturbance: a damaged checkpoint needs another to fall back to."""
  kinds = dict(KINDS)
  if hosts > 1:
    kinds['one of two hosts killed'] = 6
  if len(whole(folder)) < 2:
    kinds = {k: x for k, x in kinds.items() if k not in ('a flipped bit', 'a truncated file')}
  return draw.choices(list(kinds), list(kinds.values()))[0]


def rough(program, steps, every, draw, say):
  """Trains to the last of `steps`, with a checkpoint after each `every`, through disturbances. Returns
  their records: kind, step, what was seen, ok."""
  records, pending = [], None
  while True:
    processes = program.start()
    try:
      began = until(lambda: 'steps' in program.said('out'), processes)
      at = int((re.findall(r'steps (\d+) →', program.said('out')) or ['0'])[0])
      if pending:  # a damaged checkpoint: what did the next start make of it?
        record, pending = pending, None
        record['seen'] += ': fell back' if ' is damaged (' in program.said() else ': did not matter'
      if not began:
        records.append({'kind': 'start', 'seen': f'failed: {program.said()[-600:]}', 'ok': False})
        return records
      early = program.hosts == 1 and draw.random() < 0.1  # while it reads and compiles
      target = at + (0 if early else draw.randint(1, 3 * every))
      if target >= steps - 1:
        statuses = ends(processes)
        ok = set(statuses) == {0} and whole(program.folder)[-1] == steps
        if not ok:
          records.append({'kind': 'end', 'seen': f'{statuses}: {program.said()[-600:]}', 'ok': False})
        return records
      until(lambda target=target: reached(program.folder, target), processes)
      time.sleep(draw.random() * 0.3)
      kind = choose(program.folder, program.hosts, draw)
      seen, ok = disturb(kind, processes, program, draw)
      ok = ok and (seen != ENDED or whole(program.folder)[-1] == steps)
      records.append({'kind': kind, 'step': target, 'from': at, 'seen': seen, 'ok': ok})
      if kind in ('a flipped bit', 'a truncated file'):
        pending = records[-1]
      say(records[-1])
    finally:
      for p in processes:
        p.kill()
