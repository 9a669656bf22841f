"""The whole clean chain beside datatrove's own Chinese blocks: same documents, same run, in turns."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks import material, speed
from zhlm.clean import normalise
from zhlm.errors import InputError

_SCRIPT = Path(__file__).with_name('datatrove_chain.py')
_TIMES = 5  # passes of ours a turn, for it is so much shorter: their mean


def chains(found, folder, python, megabytes=4, pairs=2):
  """Yields the ratios of CPU-seconds, and what each side's parts take.

  `fineweb2`: the same checks and bounds on both sides, and a dropped document goes no further. `every`: all
  checks that each side has, and the sketch, of all documents. python: of datatrove's virtual environment.
  """
  if not os.path.exists(python):
    raise InputError(f'{python}: no python with datatrove here; make it with: make bench')
  items, preset = material.some(found.items, megabytes), speed.presets()
  size = material.size(item['text'] for item in items)
  paths = [os.path.join(folder, name) for name in ('items.jsonl', 'bounds.json')]
  # Lines that end in blanks end no sentence for datatrove: written plainly, both drop the same documents.
  texts = [normalise.normalise(item['text']) for item in items]
  Path(paths[0]).write_text(''.join(json.dumps({'text': text}) + '\n' for text in texts), 'utf-8')
  bounds = {k: v for k, v in preset['fineweb2'].items() if k[:4] in ('min_', 'max_')}
  Path(paths[1]).write_text(json.dumps(bounds), 'utf-8')
  command = [python, str(_SCRIPT), *paths]
  with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:

    def theirs(mode):
      other.stdin.write(f'{mode}\n')
      other.stdin.flush()
      return answer()

    def answer():
      line = other.stdout.readline()
      if not line:
        raise InputError(f'{python} {_SCRIPT.name}: it ended; its message is above')
      return json.loads(line)

    answer()  # that it is ready
    speed.chain(items, preset['every'])
    for mode in ('every', 'fineweb2'):
      ours, each = [], []
      for i in range(pairs):
        for side in (0, 1) if i % 2 == 0 else (1, 0):
          if side:
            each.append(theirs(mode))
          else:
            start = time.process_time()
            for _ in range(_TIMES):
              kept = speed.chain(items, preset[mode])
            ours.append((time.process_time() - start) / _TIMES)
      totals = [sum(one['seconds'].values()) for one in each]
      ratios = [total / one for total, one in zip(totals, ours, strict=True)]
      note = f'{len(items)} documents, {size:.1f} MB; kept {kept}, datatrove {each[0]["kept"]}'
      turns = ' '.join(f'{ratio:.1f}' for ratio in ratios)
      yield f'datatrove_{mode}', statistics.median(ratios), f'{note}; in turns {turns}'
      yield f'ours_{mode}', size / min(ours), ''
      parts = min(each, key=lambda one: sum(one['seconds'].values()))['seconds']
      parts = ', '.join(f'{name} {seconds:.1f}' for name, seconds in parts.items())
      yield f'theirs_{mode}', size / min(totals), f'CPU-s: {parts}'
    other.stdin.close()
