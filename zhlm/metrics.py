"""What a run tells: metrics.jsonl, TensorBoard, one progress line; and it stops a run whose loss is NaN."""

import json
import math
import os
import sys
import time
from pathlib import Path

import jax
from tensorboardX import SummaryWriter

from zhlm import model
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


def clock(seconds):
  """75 -> '1:15'."""
  seconds = int(max(seconds, 0))
  hours, rest = divmod(seconds, 3600)
  return f'{hours}:{rest // 60:02}:{rest % 60:02}' if hours else f'{rest // 60}:{rest % 60:02}'


def short(x):
  """Four significant digits."""
  return f'{x:.4g}'


def truncate(path, step):
  """Drops the lines of metrics.jsonl after `step`, written by a run that was killed later than it saved."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      record = json.loads(line)
    except json.JSONDecodeError:  # the line at which it was killed
      continue
    if record['step'] <= step:
      kept.append(line + '\n')
  part = path.with_suffix('.part')
  part.write_text(''.join(kept))
  os.replace(part, path)


class Log:
  """The numbers of one run, in the order of its steps. Only process 0 writes."""

  def __init__(self, workdir, config, params, start, mesh):
    self.config, self.start, self.workdir = config, start, Path(workdir)
    self.writes = jax.process_index() == 0
    self.tokens = config.batch.B * config.batch.T
    shape = {k: v for k, v in config.model.items()}
    flops = model.flops_per_token(model.Config(**shape), config.batch.T)
    kind = jax.devices()[0].device_kind
    peak = PEAK_FLOPS.get(kind)
    self.peak_tokens = peak * mesh.size / flops if peak else None  # tokens/s at an MFU of one
    self.pending = None  # numbers of a step that may still be running on the device
    self.window = (time.time(), start)
    self.numbers = {}
    if not self.writes:
      return
    truncate(self.workdir / 'metrics.jsonl', start)
    self.file = open(self.workdir / 'metrics.jsonl', 'a', buffering=1)
    self.board = SummaryWriter(str(self.workdir / 'tensorboard'), purge_step=start)
    parts = ', '.join(f'{k} {model.count(x) / 1e6:.2f} M' for k, x in params.items())
    self.say(f'{config.stage}: {parts} parameters | {kind} × {mesh.size}, mesh '
             f'{" × ".join(f"{a} {n}" for a, n in mesh.shape.items())} | '
             f'batch {config.batch.B} × {config.batch.T} tokens | steps {start} → {config.steps} | {workdir}')

  def say(self, text):
    print(text, flush=True)

  def write(self, step, numbers):
    if self.writes:
      self.file.write(json.dumps({'step': step, 'time': round(time.time(), 2), **numbers}) + '\n')
      for name, x in numbers.items():
        self.board.add_scalar(name, x, step)

  def step(self, step, numbers, info):
    """Takes the device's numbers of `step`, and looks at those of the step before."""
    self.flush()
    self.pending = (step, numbers, info)

  def flush(self):
    """Waits for the last step. Raises InputError when its loss is not a finite number."""
    if self.pending is None:
      return
    step, numbers, info = self.pending
    self.pending = None
    numbers = {k: float(x) for k, x in {**jax.device_get(numbers), **info}.items()}
    if not math.isfinite(numbers['loss']):
      raise InputError(
        f'loss is {numbers["loss"]} at step {step} (gradient norm {numbers["grad_norm"]:.3g}); the last '
        f'checkpoint in {self.workdir} is sound: lower optimizer.learning_rate or set optimizer.clip'
      )
    if step % self.config.log_every and step not in (self.config.steps, self.start + 1):
      return
    now = time.time()
    since, first = self.window
    if step > self.start + 1:  # the first step's time is the compiler's
      speed = (step - first) * self.tokens / max(now - since, 1e-9)
      numbers['tokens_per_second'] = speed
      numbers['eta'] = (self.config.steps - step) * (now - since) / (step - first)
      if self.peak_tokens:
        numbers['mfu'] = speed / self.peak_tokens
    self.window = (now, step)
    self.numbers |= numbers
    eta = numbers.pop('eta', None)
    self.write(step, numbers)
    self.progress(step, numbers, eta)

  def progress(self, step, numbers, eta):
    """One line: rewritten in place on a terminal, a new one elsewhere."""
    if not self.writes:
      return
    left = f'ETA {clock(eta)}' if eta is not None else 'compiled'
    text = ' | '.join([f'{self.config.stage} {step}/{self.config.steps}', left] + [
      f'{k.replace("tokens_per_second", "tokens/s")} {short(x)}' for k, x in numbers.items()
    ])
    self.say(text)

  def validation(self, step, numbers):
    """Writes the means over the validation split."""
    since = self.window
    self.flush()
    self.write(step, numbers)
    self.say(f'{self.config.stage} {step}/{self.config.steps} | ' +
             ' | '.join(f'{k} {short(x)}' for k, x in numbers.items()))
    self.window = (time.time(), max(self.window[1], since[1]))

  def close(self):
    if self.writes:
      self.file.close()
      self.board.close()
