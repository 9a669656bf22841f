"""Training on one GPU: tokens a second, MFU, memory of the real update; cuDNN's attention beside XLA's.

  python -m benchmarks.gpu --markdown=benchmarks/gpu.md            0.6b and 1.7b in bfloat16: a quarter hour
  python -m benchmarks.gpu --sizes=tiny --rows=4 --anywhere        tries the program where there is no GPU

The update is `train.make_step` of configs/pretrain.py at a size, on rows that are packed from made-up
documents (`packed`), or hold one document each (`whole`) and need no mask beyond the causal one. Each line
is a process of its own, so its memory is its own. Without a GPU the table says `not run`; the status is 0.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import flags

from launch import run

_SIZES = flags.DEFINE_list('sizes', ['0.6b', '1.7b'], 'Sizes of configs/sizes.py.')
_ROWS = flags.DEFINE_integer('rows', 16, 'Rows in an update; each has the T tokens of the size.')
_MICROBATCHES = flags.DEFINE_integer('microbatches', 4, 'Parts of an update; each must divide the rows.')
_UPDATES = flags.DEFINE_integer('updates', 20, 'Updates that are timed, after three that are not.', 1)
_MARKDOWN = flags.DEFINE_string('markdown', None, 'A file to write the tables into.')
_ANYWHERE = flags.DEFINE_boolean('anywhere', False, 'Measure on whatever there is, for want of a GPU.')
_PART = flags.DEFINE_string('part', '', 'Of the program itself: one line, as JSON.')

_WARM = 3  # updates that compile, fill caches, and raise the clock
_NOT_RUN = '没有测 not run: no GPU'


def pretraining(size, rows, microbatches, attention):
  """configs/pretrain.py at this size on one device."""
  from configs import pretrain

  c = pretrain.get_config(f'size={size}')
  c.batch.B, c.batch.microbatches = rows, microbatches
  c.model.attention = attention
  return c


def batch_of(config, packed):
  """A batch as the pretraining stage reads it. Packed: about eight documents to a row; else one, and no
  segments. Tokens are drawn as words are in texts, the n-th one 1/n as often as the first."""
  from zhlm.data import packing

  B, T, V, rng = config.batch.B, config.batch.T, config.model.V, np.random.default_rng(0)
  lengths = np.full(B, T)
  if packed:
    lengths = np.clip(rng.geometric(8 / T, 16 * B), 1, T)  # about twice what is needed
  documents = [{'tokens': rng.zipf(1.2, n + 1) % V} for n in lengths]
  rows = packing.Packed(documents, packing.concat(lengths, T, rng), T)
  batch = {k: np.stack([rows[i][k] for i in range(B)]) for k in rows[0]}
  return batch if packed else {**batch, 'segments': None}


def speed(config, packed, updates):
  """{tokens_per_second, mfu, memory (peak, 2^30 bytes), first, last (losses), seconds (to compile)} of so
  many updates on one batch; mfu and memory are None where the device's peak or its memory is not known."""
  import jax
  import jax.numpy as jnp

  from zhlm import checkpoint, devices, metrics, optim, stages, train

  with jax.set_mesh(devices.make_mesh(config.mesh, jax.devices()[:1])):
    stage, tx = stages.make(config), optim.make(config)
    params = jax.jit(lambda key: checkpoint.unbox(stage.init(key)))(jax.random.key(0))
    state = train.State(jnp.asarray(0, jnp.int32), params, jax.jit(tx.init)(params))
    del params
    step = train.make_step(
      stage.loss, tx, config.batch.microbatches, jax.random.key(0), spike=config.guard.spike
    )
    step, batch = jax.jit(step, donate_argnums=0), jax.device_put(batch_of(config, packed))
    losses, start = [], time.time()
    for n in range(_WARM + updates):
      state, info = step(state, batch)
      losses.append(info['loss'])
      if n == 0:
        jax.block_until_ready(state)
        compiled = time.time() - start
      if n == _WARM - 1:
        jax.block_until_ready(state)
        start = time.time()
    jax.block_until_ready(state)
  rate = updates * config.batch.B * config.batch.T / (time.time() - start)
  peak = metrics.PEAK_FLOPS.get(jax.devices()[0].device_kind)
  return {
    'tokens_per_second': rate,
    'mfu': rate * metrics.flops_per_token(config.model, config.batch.T) / peak if peak else None,
    'memory': metrics.memory().get('memory_peak'),
    'first': float(losses[0]),
    'last': float(losses[-1]),
    'seconds': compiled,
  }


def parity(config, attention, packed):
  """How far the network with this attention is from that with `xla`, on one row; beside it, how far that is
  from itself in float32. {name: (of attention, of xla in float32)}: the largest difference of a logit and
  the largest logit, the losses' difference, and the gradient's, relative to its norm."""
  import jax
  import jax.numpy as jnp
  import optax

  from zhlm import checkpoint, devices, stages

  config.batch.B = 1
  config.batch.microbatches = 1
  batch = jax.tree.map(jnp.asarray, batch_of(config, packed))

  def told(attention, dtype, params):
    from zhlm import model

    c = config.copy_and_resolve_references()
    c.model.attention, c.model.dtype = attention, dtype
    read = [batch[k] for k in ('tokens', 'positions', 'segments')]
    logits = jax.jit(lambda p: model.make(c).apply({'params': p['policy']}, *read)[0])(params)
    key, weights = jax.random.key(0), batch['weights'] / batch['weights'].sum()
    loss = lambda p: stages.make(c).loss(p, {**batch, 'weights': weights}, key)[0]  # noqa: E731
    return logits, *jax.jit(jax.value_and_grad(loss))(params)

  @jax.jit
  def apart(a, b):
    difference = jax.tree.map(jnp.subtract, a, b)
    (logits, loss, gradient), norm = difference, optax.global_norm(b[2])
    return {
      'logit': jnp.abs(logits).max(),
      'logits': jnp.abs(b[0]).max(),
      'loss': jnp.abs(loss),
      'gradient': optax.global_norm(gradient) / norm,
    }

  with jax.set_mesh(devices.make_mesh(config.mesh, jax.devices()[:1])):
    stage = stages.make(config)

    @jax.jit
    def fresh(key):
      # A fresh block is the identity: what it ends with is zero, and attention would not be seen.
      params = checkpoint.unbox(stage.init(key))
      noise = lambda x: jnp.where(jnp.any(x), x, jax.random.normal(key, x.shape) * 0.02)  # noqa: E731
      return jax.tree.map(noise, params)

    params = fresh(jax.random.key(0))
    xla = told('xla', config.model.dtype, params)
    found = jax.device_get(apart(told(attention, config.model.dtype, params), xla))
    exact = jax.device_get(apart(told('xla', 'float32', params), xla))
  return {name: (float(found[name]), float(exact[name])) for name in found}


def device():
  """{platform, kind, jax}: what this process has."""
  import jax

  return {
    'platform': jax.default_backend(),
    'kind': jax.devices()[0].device_kind,
    'jax': jax.__version__,
  }


def part(what, **how):
  """What one process measures: 'device', 'speed' or 'parity'."""
  if what == 'device':
    return device()
  packed, updates = how.pop('packed'), how.pop('updates')
  if what == 'speed':
    return speed(pretraining(**how), packed, updates)
  return parity(pretraining(**how), how['attention'], packed)


def in_a_process(**how):
  """part(**how) of a process of its own; {'failed': why} when that fails, as for want of memory."""
  command = [sys.executable, '-m', 'benchmarks.gpu', f'--part={json.dumps(how)}']
  environment = {'XLA_PYTHON_CLIENT_MEM_FRACTION': '0.95', **os.environ}
  done = subprocess.run(command, capture_output=True, text=True, env=environment)
  if done.returncode == 0:
    return json.loads(done.stdout.splitlines()[-1])
  if 'RESOURCE_EXHAUSTED' in done.stderr:
    return {'failed': '显存不够 does not fit'}
  return {'failed': (done.stderr.strip().splitlines() or ['?'])[-1][:200]}


def lines(sizes, attention, **how):
  """(what, size, attention, packed, numbers) of every line: each size with this attention and XLA's."""
  for size in sizes:
    for name in (attention, 'xla'):
      for packed in (True, False):
        yield (
          'speed',
          size,
          name,
          packed,
          in_a_process(what='speed', size=size, attention=name, packed=packed, **how),
        )
    for packed in (True, False):
      yield (
        'parity',
        size,
        attention,
        packed,
        in_a_process(what='parity', size=size, attention=attention, packed=packed, **how),
      )


def cells(what, size, attention, packed, numbers):
  """The cells of a line."""
  named = [size, attention, '装满 packed' if packed else '整行 whole']
  if 'failed' in numbers:
    return [*named, numbers['failed']]
  if what == 'speed':
    mfu, memory = numbers['mfu'], numbers['memory']
    return [
      *named,
      f'{numbers["tokens_per_second"]:,.0f}',
      f'{mfu:.1%}' if mfu else '—',
      f'{memory:.1f}' if memory else '—',
      f'{numbers["first"]:.3f} → {numbers["last"]:.3f}',
      f'{numbers["seconds"]:.0f}',
    ]
  largest = numbers.pop('logits')[0]
  pairs = {name: f'{found:.2g} ({exact:.2g})' for name, (found, exact) in numbers.items()}
  return [*named, pairs['logit'], f'{largest:.3g}', pairs['loss'], pairs['gradient']]


_NAMED = ['大小 size', '注意力 attention', '行 rows']
_HEADS = {
  'speed': [*_NAMED, '词元/秒 tokens/s', 'MFU', '显存峰值 peak GiB', '损失 loss', '编译 compile s'],
  'parity': [*_NAMED, 'logit 差 difference', '最大 logit largest', '损失差 loss', '梯度相对差 gradient'],
}


def table(what, rows):
  """Markdown; a line that has fewer cells (it was not run, or failed) is filled up."""
  head = _HEADS[what]
  full = [[*row, *['—'] * (len(head) - len(row))] for row in rows]
  return '\n'.join(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *full]) + '\n'


def main(_):
  """Measures, prints a line a number, then the tables."""
  from configs import sizes
  from zhlm import disk
  from zhlm.errors import InputError

  if _PART.value:
    print(json.dumps(part(**json.loads(_PART.value))))
    return
  if unknown := set(_SIZES.value) - set(sizes.SIZES):
    raise InputError(f'--sizes: no {", ".join(sorted(unknown))}; there are {", ".join(sizes.SIZES)}')
  if _ROWS.value % _MICROBATCHES.value:
    raise InputError(f'--rows={_ROWS.value} does not divide over --microbatches={_MICROBATCHES.value}')
  about = in_a_process(what='device')
  gpu = about.get('platform') == 'gpu'
  how = dict(rows=_ROWS.value, microbatches=_MICROBATCHES.value, updates=_UPDATES.value)
  rows = {what: [] for what in _HEADS}
  if gpu or _ANYWHERE.value:
    for what, *named, numbers in lines(_SIZES.value, 'cudnn' if gpu else 'blockwise', **how):
      rows[what].append(cells(what, *named, numbers))
      print(f'{what}: {" | ".join(rows[what][-1])}', flush=True)
  else:
    rows = {what: [[size, 'cudnn', '—', _NOT_RUN] for size in _SIZES.value] for what in _HEADS}
  where = f'{about["kind"]}, jax {about["jax"]}' if 'kind' in about else about['failed']
  flags_given = f'--sizes={",".join(_SIZES.value)} ' + ' '.join(f'--{k}={v}' for k, v in how.items())
  text = (
    '# 一块 GPU 上的训练速度 · Training speed on one GPU\n\n'
    f'`python -m benchmarks.gpu {flags_given}`: {where}.\n\n'
    f'{table("speed", rows["speed"])}\n'
    '与 XLA 注意力的差；括号里是同一网络 XLA 注意力 bfloat16 与 float32 之差。\n'
    "Differences from XLA's attention; in brackets, of that in bfloat16 from itself in float32.\n\n"
    f'{table("parity", rows["parity"])}'
  )
  print(f'\n{text}')
  if _MARKDOWN.value:
    disk.write_text(Path(_MARKDOWN.value), text)


if __name__ == '__main__':
  run(main)
