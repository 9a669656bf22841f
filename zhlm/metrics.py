"""What a run tells: metrics.jsonl, TensorBoard, one progress line; and it stops a run whose loss is NaN.

A little over 250 lines: what is counted, how it is timed and where it is told belong to one Log.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import jax
from rich import progress
from rich.table import Column

from zhlm import attention, disk, monitor
from zhlm.errors import InputError

# Peak dense bfloat16 FLOP/s of one device, from the makers' data sheets; MFU is told where it is known.
PEAK_FLOPS = {
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5': 459e12,
  'TPU v5p': 459e12,
  'TPU v6 lite': 918e12,
  'NVIDIA A100-SXM4-80GB': 312e12,
  'NVIDIA H100 80GB HBM3': 989e12,
  'NVIDIA H200': 989e12,
}


class Stopped(Exception):
  """A signal ended the run, which is saved; `.status` is the exit status, 128 + the signal's number."""

  def __init__(self, number, step, workdir):
    super().__init__(
      f'stopped by signal {number}: saved at step {step} in {workdir}; run the same command to go on'
    )
    self.status = 128 + number


def count(params):
  """The number of parameters."""
  return sum(x.size for x in jax.tree.leaves(params))


def flops_per_token(c, T, head='lm'):
  """Of a training step, forward and backward: 6 a weight that multiplies, 12·N·H·K·T for attention's two
  products over T keys, or those in the window (Chowdhery et al. 2022, app. B; the causal half is not
  deducted). Of experts, only the `top` that a token goes to; a frozen weight beside an adapter costs 4, for
  its gradient is not taken. Recomputation is not counted, nor are slots of experts that stay empty."""
  sizes = {'q': (c.D, c.H * c.K), 'k': (c.D, c.G * c.K), 'v': (c.D, c.G * c.K), 'o': (c.H * c.K, c.D)}
  if not c.E:
    sizes |= {'gate': (c.D, c.F), 'up': (c.D, c.F), 'down': (c.F, c.D)}
  block = sum(a * b for a, b in sizes.values())
  if c.E:
    block += 3 * c.D * c.F * c.top + c.D * c.E
  low = sum(c.lora_rank * sum(sizes[name]) for name in c.lora_on if name in sizes)
  weights = c.N * block + (c.V * c.D if head == 'lm' else 0)
  keys = min(T, c.window) if c.window else T
  return (4.0 if c.lora_rank else 6.0) * weights + 6.0 * c.N * low + 12.0 * c.N * c.H * c.K * keys


def clock(seconds):
  """75 -> '1:15'."""
  minutes, seconds = divmod(int(max(seconds, 0)), 60)
  return f'{minutes // 60}:{minutes % 60:02}:{seconds:02}' if minutes >= 60 else f'{minutes}:{seconds:02}'


def truncate(path, step):
  """Drops the lines of a file after `step`, written by a run that was killed later than it saved: all where
  it had saved nothing. Lines of no step, which are not the run's own, stay."""
  if path.exists():
    kept = disk.whole_lines(path, lambda record: record.get('step', step) <= step and step)
    disk.write_text(path, b''.join(kept).decode())


def memory():
  """Gigabytes (2**30) of device memory that were in use at most, and in all, on the fullest device of this
  process; {} where the backend does not count them, as on CPUs."""
  stats = [s for d in jax.local_devices() if (s := d.memory_stats()) and 'peak_bytes_in_use' in s]
  if not stats:
    return {}
  fullest = max(stats, key=lambda s: s['peak_bytes_in_use'])
  names = {'memory_peak': 'peak_bytes_in_use', 'memory_limit': 'bytes_limit'}
  return {name: fullest[key] / 2**30 for name, key in names.items() if key in fullest}


def window(text):
  """'10:15' -> (10, 15), steps; '' -> (0, 0). Raises InputError for anything else."""
  first, _, last = (text or '0:0').partition(':')
  if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
    raise InputError(f'--profile_steps={text}: give the first and the last step, as in 10:15')
  return int(first), int(last)


@contextlib.contextmanager
def profiler(workdir, first, last):
  """Yields `profiled(step)`, a context for the update of a step. From step `first` (0: never) to `last`,
  a trace of what the devices do is written into workdir/profile, and then what is in their memory, as
  memory.prof for pprof."""
  folder, running = Path(workdir) / 'profile', []

  def end():
    running.clear()
    jax.profiler.stop_trace()
    jax.profiler.save_device_memory_profile(str(folder / 'memory.prof'))

  @contextlib.contextmanager
  def profiled(step):
    if first <= step <= last and not running:
      jax.profiler.start_trace(str(folder))
      running.append(step)
    with jax.profiler.StepTraceAnnotation('update', step_num=step):
      yield
    if running and step >= last:
      jax.block_until_ready(jax.live_arrays())
      end()

  try:
    yield profiled
  finally:
    if running:
      end()


def tensorboard(folder, start):
  """A writer of TensorBoard's events after step `start`. tensorboardX would import a torch that is
  there, two seconds and more for nothing that is used here: it is shown none."""
  torch = sys.modules.get('torch')
  sys.modules['torch'] = torch  # None is an ImportError
  from tensorboardX import SummaryWriter

  if torch is None:
    del sys.modules['torch']
  return SummaryWriter(str(folder), purge_step=start)


class Log:
  """The numbers of one run, in the order of its steps; only process 0 writes. On a terminal the progress
  line is rewritten in place; elsewhere each report is a line."""

  def __init__(self, workdir, config, params, start, mesh):
    self.config, self.start, self.workdir = config, start, Path(workdir)
    self.mine = jax.process_index() == 0
    kind, peak = jax.devices()[0].device_kind, PEAK_FLOPS.get(jax.devices()[0].device_kind)
    flops = flops_per_token(config.model, config.batch.T)
    self.peak = peak * mesh.size / flops if peak else None  # tokens/s at an MFU of one
    self.pending = None  # (step, numbers, info) of a step that may still be running on the device
    self.since, self.paused = (time.time(), start), 0.0
    self.patience = config.guard.patience
    self.skipping = False  # whether the last update that was looked at was skipped
    if not self.mine:
      return
    for name in ('metrics', 'samples'):
      truncate(self.workdir / f'{name}.jsonl', start)
    self.file = open(self.workdir / 'metrics.jsonl', 'a', buffering=1)  # noqa: SIM115
    self.board = tensorboard(self.workdir / 'tensorboard', start)
    self.bar = progress.Progress(
      progress.TextColumn('{task.description}', table_column=Column(min_width=len(config.stage))),
      progress.BarColumn(10),
      progress.MofNCompleteColumn(table_column=Column(min_width=2 * len(str(config.steps)) + 1)),
      progress.TextColumn('{task.fields[text]}', table_column=Column(no_wrap=True, ratio=1)),
      disable=not sys.stdout.isatty(),
      expand=True,
    )
    self.bar.start()
    self.task = self.bar.add_task(config.stage, total=config.steps, completed=start, text='compiling')
    sizes = ', '.join(f'{k} {count(x) / 1e6:.2f} M' for k, x in params.items())
    axes = ' × '.join(f'{a} {n}' for a, n in mesh.shape.items() if n > 1) or 'of one'
    of = f' of {limit:.3g} GiB' if (limit := memory().get('memory_limit')) else ''
    m, T = config.model, config.batch.T
    way = attention.choose(m.attention, *attention.here(), m.dtype, T, m.K)
    self.say(
      f'{config.stage}: {sizes} parameters | {mesh.size} × {kind}{of}, mesh {axes} | attention {way}, '
      f'{m.dtype} | batch {config.batch.B} × {T} | steps {start} → {config.steps} | {workdir}'
    )
    if start >= config.steps:
      self.say(f'{config.stage}: finished before, at step {start}')

  def say(self, line):
    """A line of its own, above the progress line; of process 0."""
    if self.mine:
      self.bar.console.print(line, highlight=False, soft_wrap=True)

  def step(self, step, numbers, info, tokens):
    """Takes the device's numbers of `step`, and looks at those of the step before."""
    self.flush()
    self.pending, self.tokens = (step, numbers, info), tokens  # tokens: of a batch, padding included

  def flush(self):
    """Waits for the last step. Raises InputError when it is the last of `guard.patience` skipped ones."""
    if self.pending is None:
      return
    step, numbers, info = self.pending
    self.pending = None
    row = int(numbers['skipped_in_a_row'])
    self.skipping = row > 0
    if row:
      loss, grad, param = (float(numbers[k]) for k in ('loss', 'grad_norm', 'param_norm'))
      what = (
        f'loss is {loss:.4g} at step {step} (norm of the gradient {grad:.3g}, of the weights it would have '
        f'led to {param:.3g})'
      )
      if row >= self.patience:
        raise InputError(
          f'{what}: the last of {row} updates in a row that were not made (guard.patience); no checkpoint '
          f'of {self.workdir} holds this: lower optimizer.learning_rate or set optimizer.clip'
        )
      self.say(f'{self.config.stage} {step}/{self.config.steps} | update skipped: {what}')
    numbers = {k: x for k, x in numbers.items() if k != 'skipped_in_a_row'}
    first = step == self.start + 1
    if not (first or step % self.config.log_every == 0 or step == self.config.steps):
      return
    numbers = {k: float(x) for k, x in jax.device_get({**info, **numbers}).items()} | memory()
    now, (then, before) = time.time(), self.since
    eta = None
    if not first:  # the first step's time is the compiler's
      seconds = max(now - then - self.paused, 1e-9) / (step - before)
      numbers['tokens_per_second'] = self.tokens / seconds
      eta = (self.config.steps - step) * seconds
      if self.peak:
        numbers['mfu'] = numbers['tokens_per_second'] / self.peak
    self.since, self.paused = (now, step), 0.0
    self.write(step, numbers, eta)

  def write(self, step, numbers, eta=None):
    """One line of metrics.jsonl, TensorBoard's points, and the progress line."""
    if not self.mine:
      return
    self.file.write(json.dumps({'step': step, 'time': round(time.time(), 2), **numbers}) + '\n')
    for name, x in numbers.items():
      self.board.add_scalar(name, x, step)
    first = ('loss', 'tokens_per_second', 'mfu', 'score', 'kl', 'accuracy')
    told = [k for k in numbers if k != 'skipped' or numbers[k]]
    order = sorted(told, key=lambda k: (first.index(k) if k in first else len(first), k))
    text = ' | '.join(f'{k.replace("tokens_per_second", "tokens/s")} {numbers[k]:.4g}' for k in order)
    if eta is not None:
      text = f'ETA {clock(eta)} | {text}'
    self.bar.update(self.task, completed=step, text=text)
    if self.bar.disable:
      print(f'{self.config.stage} {step}/{self.config.steps} | {text}', flush=True)

  def validation(self, step, numbers, samples):
    """What a validation found: its numbers, its samples in samples.jsonl, and what there is to warn of."""
    self.write(step, numbers)
    if not self.mine:
      return
    rows = [json.dumps({'step': step, **row}, ensure_ascii=False) + '\n' for row in samples]
    if rows:
      with open(self.workdir / 'samples.jsonl', 'a', encoding='utf-8') as file:
        file.write(''.join(rows))
    lines = (self.workdir / 'metrics.jsonl').read_text('utf-8').splitlines()
    for found in monitor.warnings(monitor.history(map(json.loads, lines))):
      self.say(f'{self.config.stage} {step}/{self.config.steps} | WARNING: {found.en}')

  def pause(self, seconds):
    """Time that went into something else than updates: validation, saving."""
    self.paused += seconds

  def close(self):
    if self.mine:
      self.bar.stop()
      self.file.close()
      self.board.close()
