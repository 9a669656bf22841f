"""The host memory that it takes to read and write a Hugging Face folder, beside the arrays themselves.

  python -m benchmarks.conversion --to=benchmarks/conversion.md

A random Qwen3-shaped folder is written in several files; then processes of their own place it on one device
and on eight simulated ones, and write it again, while a thread looks at the process's memory. `beside` is
the most that there was above what there was before and the arrays that are placed (they are the host's,
too, on a CPU), in parts of the largest array; the bar is 1.3.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from absl import app, flags

_TO = flags.DEFINE_string('to', 'benchmarks/conversion.md', 'The table to write.')
_LAYERS = flags.DEFINE_integer('layers', 8, 'Layers of the random model.')
SHAPE = dict(V=32_768, D=1_024, F=3_072, H=16, G=8, K=64, tied=True, rope_T=4_096, qk_norm='before')


def memory():
  """(anonymous, mapped files) bytes of this process: the kernel's RssAnon and RssFile."""
  lines = Path('/proc/self/status').read_text().splitlines()
  found = dict(line.split(':', 1) for line in lines if line.startswith('Rss'))
  return tuple(int(found[name].split()[0]) * 1024 for name in ('RssAnon', 'RssFile'))


class Watch:
  """A thread that keeps the largest anonymous memory, and the largest of all, seen every 2 ms."""

  def __enter__(self):
    self.before, self.going = memory(), True
    self.anonymous, self.whole = self.before[0], sum(self.before)
    self.thread = threading.Thread(target=self.look)
    self.thread.start()
    return self

  def look(self):
    while self.going:
      now = memory()
      self.anonymous, self.whole = max(self.anonymous, now[0]), max(self.whole, sum(now))
      time.sleep(0.002)

  def __exit__(self, *_):
    self.going = False
    self.thread.join()

  def beside(self, placed):
    """Bytes above those before and `placed`: (anonymous, with mapped files)."""
    return self.anonymous - self.before[0] - placed, self.whole - sum(self.before) - placed


def config(layers):
  """The pretraining config of the random model."""
  from configs import pretrain

  c = pretrain.get_config()
  c.model.update(SHAPE | {'N': layers})
  return c


def make(folder, layers):
  """Writes random weights, bfloat16, as `launch.convert` would: never all of them at once."""
  from zhlm.convert import fields, write

  class Random(dict):
    def __missing__(self, path):
      return np.random.default_rng(0).standard_normal(shapes[path], np.float32)

  from zhlm.convert import names

  c = dict(config(layers).model)
  sizes, table = names.sizes(c), names.present(c, names.DENSE)
  shapes = {path: [sizes[letter] for letter in entry.ours] for path, entry in table.items()}
  plain, factors, head = write.fold(c)
  pieces = write.pieces(plain, names.DENSE, False, factors, head)
  write.tensors(folder, pieces, Random(), 'bfloat16', 10**8)
  (folder / 'config.json').write_text(json.dumps(fields.write(plain, False, 4_096, 'bfloat16', {})[1]))


def phase(count, source, target, layers):
  """In a process of its own: places the folder over `count` devices, writes it again, prints the memory."""
  import jax

  from zhlm import devices
  from zhlm.convert import read, runs, write

  count, source, target = int(count), Path(source), Path(target)
  c, folder = config(int(layers)), read.Folder(source)
  mesh = devices.make_mesh({'fsdp': count}, jax.devices()[:count])
  with jax.set_mesh(mesh):
    jax.block_until_ready(jax.jit(lambda: 0)())
    with Watch() as reading:
      start = time.time()
      params = runs.load(folder, c)
      seconds = time.time() - start
    leaves = write.leaves(params)
    placed, largest = sum(x.nbytes for x in leaves.values()), max(x.nbytes for x in leaves.values())
    with Watch() as writing:
      runs.write_folder(target, params, dict(c.model), 4_096, 'bfloat16', 10**8, {})
  same = all((source / p.name).read_bytes() == p.read_bytes() for p in target.glob('*.safetensors'))
  took = dict(reading=reading.beside(placed), writing=writing.beside(0), seconds=seconds, same=same)
  print(json.dumps({'devices': count, 'placed': placed, 'largest': largest, **took}))


def main(_):
  """Writes the table."""
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    (folder / 'hub').mkdir()
    make(folder / 'hub', _LAYERS.value)
    for count in (1, 8):
      (folder / str(count)).mkdir()
      paths = [str(folder / name) for name in ('hub', str(count))]
      code = 'from benchmarks import conversion; import sys; conversion.phase(*sys.argv[1:])'
      call = [sys.executable, '-c', code, str(count), *paths, str(_LAYERS.value)]
      env = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
      env['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={count}'
      done = subprocess.run(call, env=env, stdout=subprocess.PIPE, check=True)
      rows.append(json.loads(done.stdout.splitlines()[-1]))
  mega = rows[0]['placed'] / 1e6, rows[0]['largest'] / 1e6
  lines = ['# Host memory of conversion: `python -m benchmarks.conversion`', '']
  lines += [
    f'{mega[0]:.0f} MB of float32 arrays, the largest {mega[1]:.0f} MB; files of 100 MB, bfloat16.',
    '',
  ]
  heads = ['devices', 'reading: beside the arrays', 'and with mapped files']
  heads += ['writing: beside the arrays', 'same files']
  lines += [f'| {" | ".join(heads)} |', '|---' * len(heads) + '|']
  for row in rows:
    parts = [f'{x / row["largest"]:.2f} × largest' for x in (*row['reading'], row['writing'][0])]
    lines.append(f'| {row["devices"]} | {" | ".join(parts)} | {"yes" if row["same"] else "no"} |')
  Path(_TO.value).write_text('\n'.join(lines) + '\n', 'utf-8')
  print('\n'.join(lines))


if __name__ == '__main__':
  app.run(main)
