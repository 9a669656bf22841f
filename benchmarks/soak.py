"""Kills a preparation at random moments, again and again, and compares what it ends with to a calm one.

  python -m benchmarks.soak --source=FOLDER --sources=configs/classics.toml --workdir=runs/soak

Prints a Markdown table: docs/soak.md holds one. A kill is SIGKILL to the whole process group, from the
start of a run on; the wait before it is drawn anew each time.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

from absl import flags

from launch import run

_SOURCE = flags.DEFINE_string('source', None, 'A file or folder, as for launch.prepare.')
_SOURCES = flags.DEFINE_string('sources', '', 'The TOML file that describes it.')
_WORKDIR = flags.DEFINE_string(
  'workdir', 'runs/soak', 'Folder for the calm and the rough run; both are made anew.'
)
_KILLS = flags.DEFINE_integer('kills', 20, 'How often the rough run is killed.')
_MOST = flags.DEFINE_float('seconds', 20.0, 'Longest wait before a kill.')
_VOCABULARY = flags.DEFINE_integer('vocab_size', 16_000, 'Of the tokenizer.')
flags.mark_flag_as_required('source')


def start(workdir):
  """launch.prepare in a process group of its own."""
  command = [sys.executable, '-m', 'launch.prepare', f'--config=configs/data.py:source={_SOURCE.value}']
  command += [f'--config.sources={_SOURCES.value}', f'--config.vocab_size={_VOCABULARY.value}']
  with open(f'{workdir}.log', 'ab') as log:
    return subprocess.Popen(
      [*command, f'--workdir={workdir}'], stdout=log, stderr=log, start_new_session=True
    )


def finish(workdir):
  """(seconds, exit status) of a run that nobody disturbs."""
  begin = time.time()
  status = start(workdir).wait()
  return time.time() - begin, status


def hashes(workdir):
  """{dataset/split: (records, sha256 of the decoded records)}."""
  found = json.loads((workdir / 'data' / 'manifest.json').read_text('utf-8'))
  return {
    f'{stage}/{split}': (about['records'], about['sha256'])
    for stage, splits in found['datasets'].items()
    for split, about in splits.items()
  }


def main(_):
  """Runs both, and says whether they agree; exit status 1 when they do not."""
  folder = pathlib.Path(_WORKDIR.value)
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir(parents=True)
  calm, rough = folder / 'calm', folder / 'rough'
  seconds, status = finish(calm)
  assert status == 0, f'the calm run failed: {calm}.log'
  again, _ = finish(calm)
  print(f'calm run {seconds:.0f} s, again {again:.1f} s', flush=True)
  draw, kills, steps = random.Random(0), 0, []
  begin = time.time()
  while kills < _KILLS.value:
    process = start(rough)
    try:
      status = process.wait(draw.uniform(1, _MOST.value))
      assert status == 0, f'a run failed: {rough}.log'
      print(f'finished after {kills} kills: begin anew', flush=True)
      shutil.rmtree(rough)
      continue
    except subprocess.TimeoutExpired:
      os.killpg(process.pid, signal.SIGKILL)
      process.wait()
    kills += 1
    made = sorted((rough / 'work').glob('*/'), key=os.path.getmtime) if (rough / 'work').exists() else []
    steps.append(made[-1].name if made else 'start')
    print(f'kill {kills}: in {steps[-1]}', flush=True)
  _, status = finish(rough)
  assert status == 0, f'the last run failed: {rough}.log'
  first, second = hashes(calm), hashes(rough)
  print(f'\n{_KILLS.value} kills in {time.time() - begin:.0f} s, in the steps {", ".join(steps)}\n')
  print('| dataset | records | sha256, calm | sha256, killed |\n|---|---|---|---|')
  for name in sorted(first | second):
    (count, one), (_, two) = first.get(name, (0, '—')), second.get(name, (0, '—'))
    print(f'| {name} | {count:,} | `{one[:16]}` | `{two[:16]}` |')
  print(f'\n{"equal" if first == second else "DIFFERENT"}')
  sys.exit(first != second)


if __name__ == '__main__':
  run(main)
