"""An update of PPO: its parts, samples a second, and the same update by TRL, in turns.

  make bench-ppo                           into benchmarks/ppo.md: nine minutes on two idle cores
  python -m benchmarks.ppo --turns=1       a quick look

Both sides train a policy and a value network of one shape (Qwen3's, 7 M parameters) on the answers to
random prompts, against a reference and a reward model of that shape, in float32, on as many cores: ours in
this process, TRL in another, which waits meanwhile. Weights are random. `full`: no answer ends before its
last token; `early`: the stop token has one chance in eight at each, by the embeddings (`taste`) of both
sides. What compiles and warms up is not timed. Ratios mean something only on a machine that is idle.
Over 250 lines: both sides are told what to do in one place, or they would do different things.
"""

import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from absl import flags

from launch import run

SHAPE = dict(V=8_192, D=256, F=768, N=6, H=4, G=4, K=64)  # letters as in zhlm/sharding.py
ROWS = dict(B=32, P=32, new=32, epochs=4, learning_rate=1e-6)  # P: of a prompt; so slow that lengths stay
MEAN = 8  # tokens of an early answer, were there no limit
MODES = {'full': 1.5, 'early': 3.0}  # and how much faster than TRL ours is to be
_MICROBATCHES = 4  # of ours: rows of like length are computed together
_PROMPTS, _LOW = 1_024, 300  # of random tokens from the latter on: none of them ends an answer
_SCRIPT = Path(__file__).with_name('trl_ppo.py')

_PYTHON = flags.DEFINE_string(
  'trl', '.venv/trl/bin/python', "The python of TRL's venv; '' measures ours alone."
)
_THREADS = flags.DEFINE_integer('threads', 2, 'Cores for each side.', 1)
_TURNS = flags.DEFINE_integer('turns', 4, 'Updates of each side, in turns, after one that is not timed.', 1)
_MODES = flags.DEFINE_multi_enum('mode', list(MODES), list(MODES), 'Repeatable.')
_INTO = flags.DEFINE_string('into', None, 'A Markdown file whose part between the marks is replaced.')


def taste(V, early, deviation=0.02):
  """(what every row of the embeddings holds in its first column, what the stop token's row holds there),
  such that the first token after any other is the stop token with chance 1/MEAN, or as good as never.

  Fresh blocks are the identity and the head is the embeddings: a logit is the product of two rows, the one
  of the token read scaled to norm √D. Rows of N(0, deviation) with a first entry 16·deviation (at D=256)
  come out with 16/√2 there; a stop row larger by ln(odds·V)·√2/16 is as likely as odds times all others.
  """
  common = 16 * deviation
  gap = math.log(V / (MEAN - 1)) * 2**0.5 / 16
  return common, common + gap if early else -2.0


def write_prompts(folder, V, P, low):
  """A prepared folder of random prompts, and a tokenizer, which here says only what ends an answer."""
  import numpy as np

  from zhlm.data import manifest, records, tokenizer

  words = Path(folder, 'tokenizer')
  tokenizer.train(['天地玄黄宇宙洪荒' * 9] * 9, str(words / 'tokenizer.model'), 280, 1.0)
  rng = np.random.default_rng(0)
  made = ({'tokens': rng.integers(low, V, P), 'text': ''} for _ in range(_PROMPTS))
  shard = records.write_shard(str(Path(folder, 'prompts.array_record')), 'ppo', made)
  Path(folder, 'data').mkdir()
  records.write_dataset(str(Path(folder, 'data', 'ppo')), 'ppo', {'train': [shard]})
  about = {'tokenizer_sha256': tokenizer.fingerprint(str(words))}
  Path(manifest.path(folder)).write_text(json.dumps(about), 'utf-8')
  return str(folder)


def configured(folder):
  """configs/ppo.py at this shape."""
  from configs import ppo

  c = ppo.get_config('size=tiny')
  with c.unlocked():
    c.model.update(SHAPE, unroll=SHAPE['N'])
    c.data, c.rollout.reward, c.init_from = folder, 'run:none', 'none'
    c.batch.update(B=ROWS['B'], T=ROWS['P'] + ROWS['new'], microbatches=_MICROBATCHES)
    c.rollout.update(prompt_tokens=ROWS['P'], new_tokens=ROWS['new'], minibatches=1, epochs=ROWS['epochs'])
    c.optimizer.update(learning_rate=ROWS['learning_rate'], warmup_steps=0, decay='constant')
  return c


class Ours:
  """The update as `launch.train` makes it, of random weights; to be used under its mesh."""

  def __init__(self, config, early):
    import jax
    import jax.numpy as jnp

    from zhlm import checkpoint, stages, train
    from zhlm.data import batches

    self.config, self.stage = config, stages.make(config)
    self.stop = batches.end_of_turn(config)
    params = checkpoint.unbox(jax.jit(self.stage.init)(jax.random.key(0)))
    common, stop = taste(SHAPE['V'], early)
    embed, noise = params['policy']['embed'], jax.random.key(1)
    params['policy']['embed'] = embed.at[:, 0].set(common).at[self.stop, 0].set(stop)
    # A fresh block is the identity: scores would be of the last token alone, and that is often the same.
    full = lambda x: jnp.where(jnp.any(x), x, jax.random.normal(noise, x.shape) * 0.02)  # noqa: E731
    params['value'] = jax.tree.map(full, params['value'])
    self.frozen = jax.tree.map(jnp.copy, {'reference': params['policy'], 'reward': params['value']})
    self.step, fresh = train.update(config, self.stage)
    self.state = train.State(jnp.int32(0), params, **fresh(params))
    self.batches = self.stage.batches(self.networks, 0, 'train')

  def networks(self):
    return {**self.frozen, **self.state.params}

  def update(self, count=1):
    """So many rollouts with their epochs: {wall, cpu, length, parts: seconds of `rollout` and `update`}."""
    import jax

    parts, lengths = {'rollout': 0.0, 'update': 0.0}, []
    start, cpu = time.time(), time.process_time()
    for _ in range(count * ROWS['epochs']):
      since = time.time()
      batch, info, _ = jax.block_until_ready(next(self.batches))
      parts['rollout'] += time.time() - since
      since = time.time()
      self.state, _ = jax.block_until_ready(self.step(self.state, batch))
      parts['update'] += time.time() - since
      lengths.append(float(info['length']))
    spent = {'wall': time.time() - start, 'cpu': time.process_time() - cpu}
    return {**spent, 'length': statistics.mean(lengths), 'parts': parts}

  def shares(self, times=3):
    """Seconds of what a rollout is made of, each alone, compiled for itself: the best of some."""
    import jax
    import jax.numpy as jnp

    from zhlm import generate, model, online, rollout

    r, networks = self.config.rollout, self.networks()
    lm, scalar = model.make(self.config), model.make(self.config, 'scalar')
    prompts = jax.random.randint(jax.random.key(3), (ROWS['B'], r.prompt_tokens), _LOW, SHAPE['V'])
    lengths = jnp.full(ROWS['B'], r.prompt_tokens)
    keys = jax.random.split(jax.random.key(4), ROWS['B'])
    how = dict(new=r.new_tokens, stop=self.stop, temperature=r.temperature)
    sample = jax.jit(lambda p: generate.sample(lm, p, prompts, lengths, keys, **how))
    answers, count = sample(networks['policy'])
    tokens = rollout.join(prompts, lengths, answers, count)
    x = {'tokens': tokens, 'targets': jnp.pad(tokens[:, 1:], ((0, 0), (0, 1))), 'lengths': lengths + count}
    x['mask'] = rollout.answer_mask(tokens.shape[1], lengths, count)

    def logp(x, params):
      columns = rollout.window(x['mask'], r.prompt_tokens)
      return rollout.reads(lm, params, x['tokens'], x['targets'], r.temperature, columns)[0]

    def read(function):
      fit = online.parting(self.config)
      return jax.jit(lambda p: rollout.by_length(lambda x: function(x, p), x, P=r.prompt_tokens, **fit))

    value = read(lambda x, p: scalar.apply({'params': p}, x['tokens'])[0])
    score = read(lambda x, p: rollout.score(scalar, p, x['tokens'], x['lengths']))
    parts = {
      'sampling': (sample, 'policy'),
      'log π of the policy': (read(logp), 'policy'),
      'log π of the reference': (read(logp), 'reference'),
      'values': (value, 'value'),
      'reward': (score, 'reward'),
    }
    return {name: fastest(f, networks[network], times) for name, (f, network) in parts.items()}


def fastest(function, x, times):
  """Seconds of function(x), once it is compiled: the best of so many."""
  import jax

  best = math.inf
  for i in range(times + 1):
    start = time.time()
    jax.block_until_ready(function(x))
    best = min(best, time.time() - start) if i else best
  return best


class Theirs:
  """TRL in a process of its own, which waits between turns."""

  def __init__(self, python, folder, early, stop):
    from zhlm.errors import InputError

    if not os.path.exists(python):
      raise InputError(f'{python}: no python with TRL here; make it with: make bench-ppo')
    common, odd = taste(SHAPE['V'], early)
    about = dict(pad=0, stop_token=stop, low=_LOW, threads=_THREADS.value, early=early)
    path = Path(folder, f'shape-{early}.json')
    path.write_text(json.dumps({**SHAPE, **ROWS, **about, 'taste': [[None, 0, common], [stop, 0, odd]]}))
    self.log = Path(folder, 'trl.log')
    self.process = subprocess.Popen(
      [python, str(_SCRIPT), str(path)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=open(self.log, 'w'),  # noqa: SIM115 (the process closes it)
      text=True,
      env={**os.environ, 'OMP_NUM_THREADS': str(_THREADS.value)},
    )
    self.answer()  # that it is ready

  def answer(self):
    from zhlm.errors import InputError

    line = self.process.stdout.readline()
    if not line:
      said = self.log.read_text('utf-8').strip().splitlines()
      raise InputError(f'{_SCRIPT.name} ended: {said[-1] if said else "it said nothing"}')
    return json.loads(line)

  def update(self, count=1):
    self.process.stdin.write(f'{count}\n')
    self.process.stdin.flush()
    return self.answer()

  def close(self):
    self.process.stdin.close()
    self.process.wait()


def compared(mode, folder, python, turns):
  """{ours, theirs: what `update` tells of each turn, shares}: of one mode."""
  early = mode == 'early'
  ours = Ours(configured(folder), early)
  told = {'ours': [], 'theirs': []}
  sides = {'ours': ours}
  if python:
    sides['theirs'] = Theirs(python, folder, early, ours.stop)
  try:
    for turn in range(turns + 1):  # the first warms up
      for side in list(sides) if turn % 2 else list(sides)[::-1]:
        told[side].append(sides[side].update())
        print(mode, side, turn or 'warm-up', json.dumps(told[side][-1]), flush=True)
  finally:
    if python:
      sides['theirs'].close()
  return {**{side: found[1:] for side, found in told.items()}, 'shares': ours.shares()}


def total(told, part=None):
  """Seconds of all turns, or of a part of them."""
  return sum(x['parts'][part] if part else x['wall'] for x in told)


def rows(mode, found):
  """The lines of a mode in the table: (name, number, what it must reach, note)."""
  ours, theirs, shares = found['ours'], found['theirs'], found['shares']
  n = len(ours)
  rate = lambda told: ROWS['B'] * len(told) / total(told)  # noqa: E731
  each = lambda told: ' '.join(f'{x["wall"]:.2f}' for x in told)  # noqa: E731
  length = lambda told: f'{statistics.mean(x["length"] for x in told):.1f}'  # noqa: E731
  yield f'{mode}: zhlm', f'{rate(ours):.2f}', '', f's: {each(ours)}; {length(ours)} 词元 tokens'
  if theirs:
    parts = {k for x in theirs for k in x['parts']}
    share = ', '.join(f'{k} {total(theirs, k) / total(theirs):.0%}' for k in sorted(parts))
    yield (
      f'{mode}: TRL',
      f'{rate(theirs):.2f}',
      '',
      f's: {each(theirs)}; {length(theirs)} 词元 tokens; {share}',
    )
    ratio = total(theirs) / total(ours)
    pairs = ' '.join(f'{b["wall"] / a["wall"]:.2f}' for a, b in zip(ours, theirs, strict=True))
    bar = MODES[mode]
    mark = '达到 met' if ratio >= bar else '**未达 missed**'
    yield f'{mode}: zhlm / TRL', f'{ratio:.2f}×', f'≥ {bar}×', f'{mark}; 逐对 in pairs {pairs}'
  whole = total(ours) / n
  for name, seconds in {**shares, 'update': total(ours, 'update') / n}.items():
    yield f'{mode}: {name}', f'{seconds / whole:.0%}', '', f'{seconds:.2f} s'


def main(_):
  """Measures, prints, and writes the table."""
  if hasattr(os, 'sched_setaffinity'):  # before jax counts them; TRL's process inherits it
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: _THREADS.value])
  import jax

  from benchmarks import data
  from zhlm import devices, disk

  start, lines = time.time(), []
  with tempfile.TemporaryDirectory() as folder:
    write_prompts(folder, SHAPE['V'], ROWS['P'], _LOW)
    with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
      for mode in _MODES.value:
        lines += rows(mode, compared(mode, folder, _PYTHON.value, _TURNS.value))
  table = [('', '测得 measured', '目标 target', '备注 note'), ('---',) * 4, *lines]
  text = '\n'.join(f'| {" | ".join(row)} |' for row in table) + '\n'
  where = f'{data.machine()}, {_THREADS.value} threads a side'
  text = (
    f'`python -m benchmarks.ppo --turns={_TURNS.value}`, {time.time() - start:.0f} s: {where}.\n\n{text}'
  )
  print(f'\n{text}')
  if _INTO.value:
    path = Path(_INTO.value)
    disk.write_text(path, data.put(path.read_text('utf-8'), text))


if __name__ == '__main__':
  run(main)
