"""`launch.prepare` as a whole: two processes beside one, Beam beside the pool, memory at two sizes.

Every run is a process of its own, started by a shell: `ru_maxrss` of a process begins with what its parent
held when it was started. The kernel counts its CPU-seconds and those of its workers.
"""

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import material
from zhlm.errors import InputError

ROOT = Path(__file__).parent.parent
_MAPS = ('read', 'clean', 'sketch', 'grams', 'place', 'write')  # steps of many tasks
_FILES = 8  # a preset
_EVERY = 0.1  # seconds between two looks at the memory


class Run(NamedTuple):
  """What one preparation took."""

  wall: float  # seconds
  cpu: float  # seconds, of all its processes
  largest: float  # MB: the peak of its largest process, seen every 0.1 s or by a step itself
  together: float  # MB: the peak of all its processes together
  steps: dict  # of report.json
  documents: int


def write_source(folder, items):
  """The items as a folder that `launch.prepare` reads, cleaned by the rules of their own presets."""
  shutil.rmtree(folder, ignore_errors=True)
  os.makedirs(folder)
  presets = sorted({item['preset'] for item in items})
  for preset in presets:
    chosen = [item for item in items if item['preset'] == preset]
    for i in range(_FILES):
      lines = [json.dumps({'text': item['text']}, ensure_ascii=False) + '\n' for item in chosen[i::_FILES]]
      if lines:
        Path(folder, f'{preset}-{i}.jsonl').write_text(''.join(lines), 'utf-8')
  tables = [f"[[source]]\nfiles = '{preset}-*.jsonl'\npreset = '{preset}'\n" for preset in presets]
  Path(folder, 'sources.toml').write_text('\n'.join(tables), 'utf-8')
  return folder


def prepare(source, workdir, **fields):
  """Runs `launch.prepare` anew and returns its Run. Raises InputError with its last words when it fails."""
  import psutil

  shutil.rmtree(workdir, ignore_errors=True)
  command = [sys.executable, '-m', 'launch.prepare', f'--config=configs/data.py:source={source}']
  command += [f'--workdir={workdir}', *(f'--config.{name}={value}' for name, value in fields.items())]
  start, largest, together = time.time(), 0, 0
  with open(f'{workdir}.log', 'w+', encoding='utf-8') as log:
    shell = ['sh', '-c', '"$@"; exit $?', 'sh', *command]
    process = subprocess.Popen(shell, cwd=ROOT, stdout=log, stderr=log)
    watched = psutil.Process(process.pid)
    while True:
      pid, status, usage = os.wait4(process.pid, os.WNOHANG)
      if pid:
        break
      held = _memory(watched)
      largest, together = max(largest, *held), max(together, sum(held))
      time.sleep(_EVERY)
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
    wall = time.time() - start
    if process.returncode:
      log.seek(0)
      raise InputError(f'{" ".join(command)}: {" ".join(log.read().split()[-60:])}')
  with open(os.path.join(workdir, 'data', 'report.json'), encoding='utf-8') as file:
    steps = json.load(file)['steps']
  with open(os.path.join(workdir, 'work', 'dedup', 'dedup.json'), encoding='utf-8') as file:
    documents = json.load(file)['result']['in']
  largest = max(largest / 1e6, *(step['peak_megabytes'] for step in steps.values()))
  cpu = usage.ru_utime + usage.ru_stime
  return Run(wall, cpu, largest, max(together / 1e6, largest), steps, documents)


def _memory(process):
  """Bytes that a process and each below it hold now."""
  import psutil

  held = [0]
  try:
    for one in (process, *process.children(recursive=True)):
      held.append(one.memory_info().rss)
  except psutil.Error:  # it has just ended
    pass
  return held


def _source(found, folder, megabytes):
  return write_source(os.path.join(folder, f'source-{megabytes}'), material.some(found.items, megabytes))


def two_processes(found, folder, pairs=2):
  """Wall-clock time of one process over that of two, in turns; noise unless the machine is idle."""
  # All there is: a worker starts and loads its dictionaries in about a second, whatever it has to do.
  most = int(material.size(item['text'] for item in found.items))
  source, ratios = _source(found, folder, most), {'two_maps': [], 'two': []}
  fields = {'vocab_size': 16_000, 'shard_characters': 500_000, 'shard_records': 100}
  loads, cpu = [], {}
  for i in range(pairs):
    seconds = {}
    for processes in (1, 2) if i % 2 == 0 else (2, 1):
      loads.append(os.getloadavg()[0])
      run = prepare(source, os.path.join(folder, 'two'), processes=processes, **fields)
      cpu[processes] = run.cpu
      seconds[processes] = (sum(run.steps[name]['seconds'] for name in _MAPS), run.wall)
    for name, one, two in zip(ratios, seconds[1], seconds[2], strict=True):
      ratios[name].append(one / two)
  about = {
    'two_maps': f'steps {" ".join(_MAPS)}, {run.steps["clean"]["megabytes"]:.0f} MB',
    'two': f'{cpu[2]:.1f} CPU-s over {cpu[1]:.1f}; machine load {min(loads):.1f} to {max(loads):.1f}',
  }
  for name, values in ratios.items():
    each = ' '.join(f'{value:.2f}' for value in values)
    yield name, statistics.median(values), f'{about[name]}; {each}'


def beam(found, folder):
  """CPU-seconds of the local engine over those of Beam's FnApiRunner, start-up and all."""
  source = _source(found, folder, 10)
  fields = {'vocab_size': 16_000, 'shard_characters': 500_000}
  local = prepare(source, os.path.join(folder, 'local'), processes=1, **fields)
  other = prepare(source, os.path.join(folder, 'beam'), engine='beam', **fields)
  yield 'beam', local.cpu / other.cpu, f'{local.cpu:.1f} s over {other.cpu:.1f} s; 10 MB'


def memory(found, folder):
  """Peaks at one size of input and at four times it, with two processes."""
  most = int(material.size(item['text'] for item in found.items))
  for name, megabytes in (('memory', most // 4), ('memory_4', most)):
    run = prepare(
      _source(found, folder, megabytes), os.path.join(folder, name), processes=2, vocab_size=16_000
    )
    peaks = sorted(
      ((step['peak_megabytes'], step_name) for step_name, step in run.steps.items()), reverse=True
    )
    steps = ', '.join(f'{step_name} {peak}' for peak, step_name in itertools.islice(peaks, 3))
    note = f'{megabytes} MB, {run.documents:,} documents; all processes {run.together:.0f} MB'
    yield name, run.largest - 256 * run.documents / 1e6, f'{note}; steps: {steps}'
