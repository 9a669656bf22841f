"""Disturbs tiny runs at random moments, again and again, and compares what they end with to calm ones.

  python -m benchmarks.kills --runs=200 --seed=0 --workdir=runs/kills --to=docs/kills.md

A run is trained to its last step through one disturbance after another, each followed by the same command;
then every array of its last checkpoint must have the bits of the run that nobody disturbed. What a killed
benchmark had done is in WORKDIR/kills.jsonl: the same command goes on.
"""

import collections
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from launch import run

_RUNS = flags.DEFINE_integer('runs', 200, 'Disturbances, all together.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of what happens and when.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/kills', 'Folder for the runs and their data.')
_TO = flags.DEFINE_string('to', '', 'File to write the table into; empty only prints it.')

ROOT = Path(__file__).parent.parent
STEPS, EVERY = 60, 4  # updates of a run, and those between its checkpoints
# A tiny run: its first batches come within seconds, and the next save while the last is being written.
FIELDS = {
  'steps': STEPS,
  'save_every': EVERY,
  'keep': 3,
  'log_every': 1,
  'eval_every': 0,
  'batch.B': 8,
  'optimizer.learning_rate': 3e-3,
  'optimizer.warmup_steps': 2,
  'optimizer.decay': 'constant',
}
PPO = {'ppo.prompt_tokens': 16, 'ppo.new_tokens': 8, 'ppo.minibatches': 2, 'ppo.epochs': 2}
START = {'steps': 20, 'save_every': 20}  # of the runs that PPO starts from
KINDS = {
  'SIGKILL': 3,  # with their weights in the draw
  'SIGKILL in a save': 3,
  'SIGTERM': 3,
  'a flipped bit': 4,
  'a truncated file': 3,
  'a full disk': 3,
}
SCENARIOS = {  # (stage, hosts): weight; beside the kinds above, one of two hosts can be killed
  ('pretrain', 1): 4,
  ('ppo', 1): 4,
  ('pretrain', 2): 1,
  ('ppo', 2): 1,
}
PATIENCE = 600  # seconds for anything to happen before it counts as hung


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

  from zhlm import store

  path = Path(folder) / 'checkpoints' / str(step)
  names = json.loads(store._load(path, {'meta': None})[0]['meta']['json'])['items']
  tree, wrong = store._load(path, dict.fromkeys(names))
  assert not wrong, wrong
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
  if kind == 'SIGTERM':
    send(one, signal.SIGTERM)
    statuses = ends(processes)
    stopped = re.findall(r'saved at step (\d+) in', program.said())
    fine = set(statuses) == {143} and len(set(stopped)) == 1 and int(stopped[0]) in whole(folder)
    return f'saved at {stopped[0]}' if fine else f'status {statuses}: {program.said()[-400:]}', fine
  if kind == 'a full disk':
    for p in processes:
      fill_disk(p.pid, draw.choice([0, 2_000, 20_000]))
    statuses = ends(processes)
    fine = 2 in statuses and 'error: ' in program.said() and 'hung' not in statuses
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


def rough(program, draw, say):
  """Trains to the end through disturbances. Returns their records: kind, when, what was seen, ok."""
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
      early = draw.random() < 0.1  # while it reads and compiles
      target = at + (0 if early else draw.randint(1, 3 * EVERY))
      if target >= STEPS - 1:
        statuses = ends(processes)
        ok = set(statuses) == {0} and whole(program.folder)[-1] == STEPS
        if not ok:
          records.append({'kind': 'end', 'seen': f'{statuses}: {program.said()[-600:]}', 'ok': False})
        return records
      until(lambda target=target: reached(program.folder, target), processes)
      time.sleep(draw.random() * 0.3)
      kind = choose(program.folder, program.hosts, draw)
      seen, ok = disturb(kind, processes, program, draw)
      records.append({'kind': kind, 'step': target, 'from': at, 'seen': seen, 'ok': ok})
      if kind in ('a flipped bit', 'a truncated file'):
        pending = records[-1]
      say(records[-1])
    finally:
      for p in processes:
        p.kill()


# -- The benchmark ----------------------------------------------------------------------------------------


def programs(folder):
  """name -> Program in `folder`/name, for each scenario and for what it starts from."""
  toy = folder / 'toy'
  env = {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0 '
    '--xla_llvm_disable_expensive_passes=true',
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'jax_cache'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  starts = {
    'sft': {'init_from': 'pretrain_start'},
    'reward': {'init_from': 'sft_start'},
    'ppo': {'init_from': 'sft_start', 'ppo.reward_from': 'reward_start'},
  }

  def program(stage, hosts=1, name='', **more):
    fields = {**FIELDS, **(PPO if stage == 'ppo' else {}), **more, 'data': toy}
    fields |= {k: folder / v for k, v in starts.get(stage, {}).items()}
    if hosts > 1:
      fields['mesh.fsdp'] = hosts  # every weight is cut over the hosts
    args = (f'--config=configs/{stage}.py:size=tiny', *(f'--config.{k}={v}' for k, v in fields.items()))
    return Program(args, folder / (name or f'{stage}_{hosts}'), hosts, tuple(env.items()))

  return program


def main(_):
  """Runs it, and prints the table; exit status 1 when a run did not end as the calm one."""
  from tests import toy

  folder = Path(_WORKDIR.value).resolve()
  folder.mkdir(parents=True, exist_ok=True)
  program = programs(folder)
  if not (folder / 'toy' / 'data').exists():
    toy.make_toy(folder / 'toy')
  for stage in ('pretrain', 'sft', 'reward'):
    if not (folder / f'{stage}_start' / 'checkpoints' / str(START['steps'])).exists():
      program(stage, name=f'{stage}_start', **START).finish()
  results = folder / 'kills.jsonl'
  done = [json.loads(x) for x in results.read_text().splitlines()] if results.exists() else []
  begin, before = time.time(), sum(len(x['records']) for x in done)
  while (count := sum(len(x['records']) for x in done)) < _RUNS.value:
    draw = random.Random(f'{_SEED.value} {len(done)}')
    stage, hosts = draw.choices(list(SCENARIOS), list(SCENARIOS.values()))[0]
    calm = program(stage, hosts, f'{stage}_{hosts}_calm', keep=100)
    if not whole(calm.folder) or whole(calm.folder)[-1] < STEPS:
      calm.finish()
    here = program(stage, hosts)
    shutil.rmtree(here.folder, ignore_errors=True)
    seen = [count]

    def say(record, what=f'{stage}, {hosts} host{"s" * (hosts > 1)}', seen=seen):
      seen[0] += 1
      left = (time.time() - begin) / max(seen[0] - before, 1) * max(_RUNS.value - seen[0], 0)
      text = f'{record["kind"]} {record["seen"]}{"" if record["ok"] else " NOT AS IT MUST BE"}'
      eta = f'ETA {left / 60:.0f} min'
      print(f'{seen[0]}/{_RUNS.value} | {eta} | {what}, step {record["step"]}: {text}', flush=True)

    records = rough(here, draw, say)
    same = whole(here.folder)[-1:] == [STEPS] and arrays(here.folder, STEPS) == arrays(calm.folder, STEPS)
    same = same and losses(here.folder) == losses(calm.folder)
    done.append({'stage': stage, 'hosts': hosts, 'same': same, 'records': records})
    with open(results, 'a') as file:
      file.write(json.dumps(done[-1]) + '\n')
    print(f'{stage}, {hosts}: {"the same bits" if same else "DIFFERENT"} after {len(records)}', flush=True)
    if not same:
      here.folder.rename(folder / f'different_{len(done)}')
  text = table(done)
  print(text)
  if _TO.value:
    command = f'python -m benchmarks.kills --runs={_RUNS.value} --seed={_SEED.value}'
    Path(_TO.value).write_text(f'{_HEAD.replace("COMMAND", command)}\n{text}', encoding='utf-8')
  sys.exit(not all(x['same'] and all(r['ok'] for r in x['records']) for x in done))


_HEAD = """# 打断二百次 · Disturbed two hundred times

```sh
make kills      # COMMAND --to=docs/kills.md
```

每次运行在随机时刻一再被打断，每次都用同一条命令继续，直到最后一步；然后最后检查点里的每个数组
必须与没有被打断的运行逐位相同，`metrics.jsonl` 的每一步也只写一次，损失相同。损坏的检查点要么被发现，
退回到前一个；要么损坏的字节与所读的内容无关。

Each run is disturbed at random moments, again and again, and goes on by the same command until its last
step; then every array of its last checkpoint must have the bits of the run that nobody disturbed, and
`metrics.jsonl` each step once with the same loss. A damaged checkpoint is noticed, and the one before
taken; or the damaged bytes hold nothing that is read.
"""


def table(done):
  """The Markdown tables of kinds and of runs."""
  kinds = collections.defaultdict(collections.Counter)
  for x in done:
    for r in x['records']:
      seen = r['seen'].rpartition(': ')[2] if 'file' in r['kind'] or 'bit' in r['kind'] else ''
      kinds[r['kind']][seen if r['ok'] else 'not as it must be'] += 1
      kinds[r['kind']]['all'] += 1
      kinds[r['kind']]['same'] += x['same']
  rows = ['| disturbance | times | in runs that ended with the same bits | seen |', '|---|---|---|---|']
  for kind, n in sorted(kinds.items()):
    seen = ', '.join(f'{k} {v}' for k, v in n.items() if k not in ('all', 'same', ''))
    rows.append(f'| {kind} | {n["all"]} | {n["same"]} | {seen} |')
  total = sum(n['all'] for n in kinds.values()), sum(n['same'] for n in kinds.values())
  rows += [f'| all | {total[0]} | {total[1]} | |', '']
  rows += ['| stage | hosts | runs | disturbances | runs with the same bits |', '|---|---|---|---|---|']
  for stage, hosts in SCENARIOS:
    some = [x for x in done if (x['stage'], x['hosts']) == (stage, hosts)]
    if some:
      count = sum(len(x['records']) for x in some)
      rows.append(f'| {stage} | {hosts} | {len(some)} | {count} | {sum(x["same"] for x in some)} |')
  return '\n'.join(rows) + '\n'


if __name__ == '__main__':
  run(main)
