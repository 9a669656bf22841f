"""Disturbs tiny runs at random moments, again and again, and compares what they end with to calm ones.

  python -m benchmarks.kills --runs=200 --seed=0 --workdir=runs/kills --to=docs/kills.md

A run is trained to its last step through one disturbance after another, each followed by the same command;
then every array of its last checkpoint must have the bits of the run that nobody disturbed. What a killed
benchmark had done is in WORKDIR/kills.jsonl: the same command goes on.
"""

import collections
import json
import random
import shutil
import sys
import time
from pathlib import Path

from absl import flags

from benchmarks.disturb import Program, arrays, losses, quick_to_compile, rough, whole
from launch import run

_RUNS = flags.DEFINE_integer('runs', 200, 'Disturbances, all together.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of what happens and when.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/kills', 'Folder for the runs and their data.')
_TO = flags.DEFINE_string('to', '', 'File to write the table into; empty only prints it.')

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
PPO = {'rollout.prompt_tokens': 16, 'rollout.new_tokens': 8, 'rollout.minibatches': 2, 'rollout.epochs': 2}
START = {'steps': 20, 'save_every': 20}  # of the runs that PPO starts from
SCENARIOS = {  # (stage, hosts): weight; one of two hosts can be killed alone
  ('pretrain', 1): 4,
  ('ppo', 1): 4,
  ('pretrain', 2): 1,
  ('ppo', 2): 1,
}


def programs(folder):
  """name -> Program in `folder`/name, for each scenario and for what it starts from."""
  toy = folder / 'toy'
  env = {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': quick_to_compile(devices=1),
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'jax_cache'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  starts = {
    'sft': {'init_from': 'pretrain_start'},
    'reward': {'init_from': 'sft_start'},
    'ppo': {'init_from': 'sft_start', 'rollout.reward': 'reward_start'},
  }

  def program(stage, hosts=1, name='', **more):
    fields = {**FIELDS, **(PPO if stage == 'ppo' else {}), **more, 'data': toy}
    runs = {k: folder / v for k, v in starts.get(stage, {}).items()}
    fields |= {k: f'run:{v}' if k == 'rollout.reward' else v for k, v in runs.items()}
    own = dict(env)
    if hosts > 1:
      fields['mesh.fsdp'] = hosts  # every weight is cut over the hosts
      # On CPUs the sums of a cached program do not meet those of one that the other host compiled.
      own['JAX_ENABLE_COMPILATION_CACHE'] = 'false'
    args = (f'--config=configs/{stage}.py:size=tiny', *(f'--config.{k}={v}' for k, v in fields.items()))
    return Program(args, folder / (name or f'{stage}_{hosts}'), hosts, tuple(own.items()))

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

    records = rough(here, STEPS, EVERY, draw, say)
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
