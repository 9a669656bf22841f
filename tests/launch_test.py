"""The programs as a person meets them: one line for what is wrong, and runs that go on after any end."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import launch
from benchmarks import disturb
from tests import tiny
from zhlm import checkpoint, disk, train

ROOT = Path(__file__).parent.parent


def overrides(name, /, *args, **fields):
  """`tiny.config` as a command line: what differs from configs/STAGE.py."""
  before, after = (
    disk.flat(json.loads(c.to_json())) for c in (tiny.plain(name), tiny.config(name, *args, **fields))
  )
  changed = [f'--config.{k}={v}' for k, v in after.items() if v != before[k]]
  return [f'--config=configs/{name}.py:size=tiny', *changed]


def settings():
  """The environment of a program on one device."""
  return {
    'XLA_FLAGS': os.environ['XLA_FLAGS'].replace('device_count=8', 'device_count=1'),
    'NPROC': str(os.cpu_count()),
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }


def start(program, *args, **env):
  """Starts `python -m launch.PROGRAM` on one device."""
  return subprocess.Popen(
    [sys.executable, '-m', f'launch.{program}', *map(str, args)],
    cwd=ROOT,
    env={**os.environ, **settings(), **env},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def one_line(stderr):
  """What stands behind `error: ` in the only line of stderr."""
  assert re.fullmatch(r'error: [^\n]+\n', stderr) and 'Traceback' not in stderr, stderr
  return stderr.removeprefix('error: ').strip()


# -- Any end of a run -------------------------------------------------------------------------------------


STEPS, PERIOD = 60, 6  # updates, and those between checkpoints
ENDS = {
  'pretrain': ['SIGKILL', 'SIGKILL in a save', 'a full disk', 'a flipped bit', 'SIGTERM', 'Ctrl-C'],
  'ppo': ['SIGKILL in a save', 'SIGTERM', 'SIGKILL', 'a truncated file'],  # it takes longer to start
}


@pytest.mark.parametrize('stage', ENDS)
def test_a_run_ended_in_any_way_goes_on_bit_for_bit(stage, toy, runs, tmp_path):
  """Ten of the two hundred of docs/kills.md."""
  args = overrides(stage, toy, runs, steps=STEPS, save_every=PERIOD, keep=100)
  env = tuple(settings().items())
  calm, rough = (disturb.Program(args, tmp_path / name, 1, env) for name in ('calm', 'rough'))
  calm.finish()
  assert calm.said() == ''
  draw, damaged = random.Random(0), set()
  for i, how in enumerate(ENDS[stage]):
    step = 8 + i * STEPS // (len(ENDS[stage]) + 1)
    processes = rough.start()
    assert disturb.until(lambda step=step: disturb.reached(rough.folder, step), processes), rough.said()
    time.sleep(draw.random() * 0.1)
    seen, ok = disturb.disturb(how, processes, rough, draw)
    assert ok, (how, seen)
    newest = max(disturb.whole(rough.folder), default=0)  # the first save, too, may have been killed
    if how == 'a full disk':
      assert f'checkpoint {newest} is whole' in one_line(rough.said().splitlines(True)[-1])
    elif how in disturb.SIGNALS:
      assert seen == f'saved at {newest}'
    if how in ('a flipped bit', 'a truncated file'):
      damaged.add(newest)
    elif newest and newest % PERIOD == 0 and newest not in damaged:
      assert disturb.arrays(rough.folder, newest) == disturb.arrays(calm.folder, newest)
  rough.finish()
  assert re.fullmatch(r'([^\n]* is damaged [^\n]*\n)?', rough.said())
  assert disturb.arrays(rough.folder, STEPS) == disturb.arrays(calm.folder, STEPS)
  assert not disturb.saving(rough.folder)
  assert disturb.losses(rough.folder) == disturb.losses(calm.folder)
  assert [step for step, _ in disturb.losses(rough.folder)] == list(range(1, STEPS + 1))


# -- Bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  'args, said',
  [
    (['--config=configs/pretrain.py:size=tin'], r"unknown size 'tin'.*Did you mean 'tiny'.*demo.*110m"),
    (['--config=configs/pretrain.py:mesh=on'], r"unknown mesh 'on'.*Did you mean 'one'.*v4_32"),
    (['--config=configs/pretrain.py:sise=tiny'], r"'sise'.*Did you mean 'size'.*mesh"),
    (['--config=configs/pretrain.py', '--config.modle.D=3'], r"'modle.D'.*did you mean 'model.D'.*stage"),
    (['--config=configs/pretrain.py', '--config.model.Q=3'], r"'model.Q'.*There are.*model.D"),
    (['--config=configs/pretrain.py', '--config.steps=many'], r'config.steps=many.*int'),
    (['--config=configs/none.py'], r"No such file.*'configs/none.py'"),
    (['--config=configs/none.py', '--config.steps=3'], r"No such file.*'configs/none.py'"),
    (['--config=README.md'], r'README.md'),
    ([], r'--config'),
    (['--config=configs/pretrain.py', '--wrkdir=x'], r"'wrkdir'.*workdir"),
  ],
)
def test_a_wrong_command_line_is_told_in_one_line(args, said, tmp_path):
  process = start('train', *args, f'--workdir={tmp_path / "run"}')
  stdout, stderr = process.communicate()
  assert process.returncode == 2 and stdout == ''
  assert re.search(said, one_line(stderr)), stderr
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'program, args, said',
  [
    ('train', ['--config=configs/pretrain.py'], '--workdir'),
    ('train', ['--config=configs/pretrain.py', '--workdir=gs://mine/run'], 'mount the bucket'),
    ('evaluate', [], '--workdir'),
    ('prepare', ['--config=configs/data.py', '--config.sed=3'], r"'sed'.*did you mean 'seed'"),
    ('prepare', ['--config=configs/data.py:sorce=demo'], r'sorce.*source'),
  ],
)
def test_a_missing_or_unknown_flag_is_told_in_one_line(program, args, said):
  process = start(program, *args)
  _, stderr = process.communicate()
  assert process.returncode == 2
  assert re.search(said, one_line(stderr)), stderr


@pytest.fixture
def refused(capfd, monkeypatch):
  """`refused(config, folder)`: the line with which training under `launch.run` ends, with status 2."""
  monkeypatch.setattr(sys, 'argv', ['train'])

  def run(config, folder):
    capfd.readouterr()
    with pytest.raises(SystemExit) as e:
      launch.run(lambda _: train.train(config, folder))
    assert e.value.code == 2
    return one_line(capfd.readouterr().err)

  return run


@pytest.mark.parametrize(
  'fields, said',
  [
    ({'stage': 'pretrian'}, r"unknown stage 'pretrian'.*pretrain"),
    ({'stage': 'no.such.module'}, r'no.such.*PYTHONPATH'),
    ({'mesh__data': 3}, r'mesh data=3.*divides 8'),
    ({'mesh__data': 0}, r'mesh data=0'),
    ({'mesh__data': 8, 'batch__B': 12}, r'batch.B=12.*multiple of 8'),
    ({'mesh__data': 8, 'batch__microbatches': 2}, r'batch.microbatches=2; choose a multiple of 16'),
    ({'batch__microbatches': 3}, r'batch.B=8 .*batch.microbatches=3'),
    ({'mesh__fsdp': 8, 'model__D': 36}, r'model.D=36'),
    ({'optimizer__name': 'sgd'}, r"'sgd'.*adamw, adamw_tf, muon"),
    ({'optimizer__decay': 'step'}, r"'step'.*linear, cosine"),
    ({'batch__B': 4_000}, r'fewer than a batch of 4000'),
    ({'model__V': 64}, r'pieces, more than model.V=64'),
    ({'data': '/nowhere'}, r'/nowhere.*launch.prepare'),
    ({'init_from': '/nowhere'}, r'/nowhere holds no run'),
  ],
)
def test_what_cannot_train_is_told_in_one_line(fields, said, refused, toy, tmp_path):
  assert re.search(said, refused(tiny.config('pretrain', toy, **fields), tmp_path / 'run'))
  # Nothing is taken: the right command works in the same folder.
  assert checkpoint.Run(tmp_path / 'run', tiny.config('pretrain', toy))


def test_ppo_says_what_it_must_start_from(refused, runs, toy, tmp_path):
  said = refused(tiny.config('ppo', toy), tmp_path / 'run')
  assert '--config.rollout.reward=run:FOLDER' in said
  fields = {'init_from': str(runs('sft')), 'rollout__reward': f'run:{runs("sft")}'}
  assert "networks ['policy'], not 'reward'" in refused(tiny.config('ppo', toy, **fields), tmp_path / 'run')
  said = refused(tiny.config('ppo', toy, runs, rollout__prompt_tokens=2), tmp_path / 'run')
  assert 'no train prompt within rollout.prompt_tokens=2' in said


def test_a_folder_of_another_run_is_left_as_it_is(refused, runs, toy, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(runs('pretrain'), folder)
  before = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
  said = refused(tiny.config('pretrain', toy, seed=1, model__F=32), folder)
  assert 'model.F=64 (now 32)' in said and 'seed=0 (now 1)' in said
  assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == before


def test_another_tokenizer_is_refused(refused, runs, toy, tmp_path):
  other = tmp_path / 'data'
  shutil.copytree(toy, other)
  path = other / 'data' / 'manifest.json'
  manifest = json.loads(path.read_text())
  about = json.loads((runs('pretrain') / 'config.json').read_text())
  assert manifest['tokenizer_sha256'] == about['tokenizer_sha256']
  path.write_text(json.dumps({**manifest, 'tokenizer_sha256': '0' * 64}))
  said = refused(tiny.config('pretrain', other), tmp_path / 'run')
  assert 'is not the tokenizer that wrote the tokens' in said
  # A run of another tokenizer is no start.
  old = tmp_path / 'old'
  shutil.copytree(runs('pretrain'), old)
  disk.write_json(old / 'config.json', {**about, 'tokenizer_sha256': '0' * 64})
  assert 'another tokenizer' in refused(tiny.config('pretrain', toy, init_from=str(old)), tmp_path / 'run')


@pytest.mark.parametrize('rate', [1e30, 1e12])
def test_a_loss_that_is_no_number_stops_before_it_is_saved(rate, refused, toy, tmp_path):
  fields = dict(optimizer__learning_rate=rate, optimizer__warmup_steps=0, save_every=1, steps=8)
  said = refused(tiny.config('pretrain', toy, **fields), tmp_path / 'run')
  assert re.search(r'loss is .* at step \d', said) and 'optimizer.learning_rate' in said
  for step in disturb.whole(tmp_path / 'run'):
    for name, b in disturb.arrays(tmp_path / 'run', step).items():
      assert "['policy']" not in name or np.isfinite(np.frombuffer(b, np.float32)).all()


# -- A stage of one's own ---------------------------------------------------------------------------------

SIXTH = '''
"""Unlikelihood: the pretraining loss, plus that of being sure (one file is a stage)."""
from zhlm import losses, model
from zhlm.stages import pretrain


def make(config):
  net, stage = model.make(config), pretrain.make(config)

  def loss(params, batch, rng):
    value, info = stage.loss(params, batch, rng)
    (_, entropy_BT), _ = net.apply(
      {'params': params['policy']}, batch['tokens'], targets_BT=batch['targets']
    )
    entropy = losses.total(entropy_BT, batch['weights'])
    return value - 0.1 * entropy, {**info, 'entropy': entropy}

  return stage._replace(loss=loss)
'''
SIXTH_CONFIG = """
from configs import pretrain


def get_config(arg=''):
  c = pretrain.get_config(arg)
  c.stage = 'mystages.sixth'
  return c
"""


def test_a_stage_of_ones_own_is_one_file_and_one_config(toy, tmp_path):
  assert len(SIXTH.strip().splitlines()) <= 20
  (tmp_path / 'mystages').mkdir()
  (tmp_path / 'mystages' / 'sixth.py').write_text(SIXTH)
  (tmp_path / 'sixth.py').write_text(SIXTH_CONFIG)
  fields = overrides('pretrain', toy)[1:]
  config = f'--config={tmp_path}/sixth.py:size=tiny'
  process = start('train', config, *fields, f'--workdir={tmp_path}/run', PYTHONPATH=str(tmp_path))
  _, stderr = process.communicate()
  assert process.returncode == 0 and stderr == '', stderr
  lines = tiny.lines(tmp_path / 'run')
  assert [x['step'] for x in lines] == [1, 2, 3, 4, 5]
  assert all(5 < x['entropy'] <= np.log(352) + 1e-5 for x in lines)
