"""What a run writes: whole lines, each step once, and numbers that can be believed."""

import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from zhlm import devices, metrics
from zhlm.errors import InputError

TOKENS = 8 * 64  # of a batch


@pytest.fixture
def clock(monkeypatch):
  """Time that passes only when a test says so: `clock.now += 2`."""
  it = types.SimpleNamespace(now=1_000.0)
  monkeypatch.setattr(metrics.time, 'time', lambda: it.now)
  return it


def log(folder, toy, start=0, **fields):
  config = tiny.config('pretrain', toy, steps=10, **fields)
  params = {'policy': {'w': jnp.zeros((1_000, 20))}}
  return metrics.Log(folder, config, params, start, devices.make_mesh(config.mesh))


def numbers(loss=2.0, **more):
  usual = {'loss': loss, 'grad_norm': 1.0, 'param_norm': 5.0, 'skipped': 0, 'skipped_in_a_row': 0}
  return {k: jnp.array(v) for k, v in {**usual, **more}.items()}


def test_truncate_drops_later_steps_and_half_a_line(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(
    ''.join(json.dumps({'step': s, 'loss': s / 2}) + '\n' for s in range(1, 9)) + '{"step": 9, "lo'
  )
  metrics.truncate(path, 4)
  assert [json.loads(line)['step'] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
  metrics.truncate(tmp_path / 'none.jsonl', 4)
  assert not (tmp_path / 'none.jsonl').exists()


def test_truncate_keeps_what_is_of_no_step_and_cuts_at_newlines_alone(tmp_path):
  path = tmp_path / 'samples.jsonl'
  rows = [
    {'completion': '上\u2028下'},
    {'step': 0, 'completion': '一\x85二'},
    {'step': 4, 'completion': '三'},
  ]
  path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows), 'utf-8')
  metrics.truncate(path, 3)
  assert [json.loads(line) for line in path.read_text('utf-8').split('\n')[:-1]] == rows[:2]
  metrics.truncate(path, 0)  # a run that has saved nothing begins anew
  assert path.read_text('utf-8') == ''


def test_the_progress_line_has_step_time_left_loss_and_speed(tmp_path, toy, clock, capsys):
  run = log(tmp_path, toy, log_every=2)
  for step in range(1, 6):
    run.step(step, numbers(2.5), {'kl': 0.25}, TOKENS)
    clock.now += 4
  run.flush()
  run.close()
  out = capsys.readouterr().out.splitlines()
  assert '0.02 M parameters' in out[0] and 'batch 8 × 64 |' in out[0] and 'steps 0 → 10' in out[0]
  assert '| 1 × cpu, mesh of one | attention xla, float32 |' in out[0]
  assert (
    out[1].startswith('pretrain 1/10 | loss 2.5') and 'ETA' not in out[1]
  )  # the compiler's time is no measure
  assert out[-1].startswith('pretrain 4/10 | ETA 0:24 | loss 2.5')  # six steps of four seconds
  assert 'kl 0.25' in out[-1] and 'tokens/s 128' in out[-1]
  lines = tiny.lines(tmp_path)
  assert [x['step'] for x in lines] == [1, 2, 4]
  assert lines[-1]['tokens_per_second'] == pytest.approx(8 * 64 / 4)


def test_pauses_are_no_part_of_the_speed(tmp_path, toy, clock):
  run = log(tmp_path, toy)
  for step in (1, 2, 3):
    run.step(step, numbers(), {}, TOKENS)
    run.flush()
    clock.now += 2
    if step == 2:
      clock.now += 100
      run.pause(100)
  run.close()
  assert [x.get('tokens_per_second') for x in tiny.lines(tmp_path)] == [None, 256, 256]


def test_mfu_is_told_where_the_peak_is_known(tmp_path, toy, clock, monkeypatch):
  def last():
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    run = log(folder, toy)
    for step in (1, 2):
      run.step(step, numbers(), {}, TOKENS)
      run.flush()
      clock.now += 1
    run.close()
    return tiny.lines(folder)[-1]

  assert 'mfu' not in last()
  monkeypatch.setitem(metrics.PEAK_FLOPS, jax.devices()[0].device_kind, 1e9)
  c = tiny.plain('pretrain').model
  assert last()['mfu'] == pytest.approx(512 * metrics.flops_per_token(c, 64) / 1e9)


def test_skipped_updates_are_told_and_too_many_in_a_row_stop_the_run(tmp_path, toy, capsys):
  run = log(tmp_path, toy, guard__patience=3)
  nan = float('nan')
  for step, row in enumerate([0, 1, 2, 0, 1, 2], 1):
    run.step(step, numbers(nan if row else 2.0, skipped=step, skipped_in_a_row=row), {}, TOKENS)
    run.flush()
    assert run.skipping == (row > 0)
  run.step(7, numbers(nan, grad_norm=nan, skipped_in_a_row=3), {}, TOKENS)
  said = 'loss is nan at step 7 .*the last of 3 updates in a row .*lower optimizer.learning_rate'
  with pytest.raises(InputError, match=said):
    run.flush()
  run.close()
  lines = tiny.lines(tmp_path)
  assert [(x['step'], x['skipped']) for x in lines] == [(i, i) for i in range(1, 7)]
  assert 'skipped_in_a_row' not in lines[0]
  out = capsys.readouterr().out
  assert out.count('update skipped: loss is nan at step') == 4
  assert '| skipped 4' in out


def test_memory_is_told_where_the_devices_count_it(tmp_path, toy, monkeypatch):
  assert metrics.memory() == {}  # CPUs do not
  used = {'peak_bytes_in_use': 3 * 2**30, 'bytes_limit': 8 * 2**30, 'num_allocs': 1}
  devices = [
    types.SimpleNamespace(memory_stats=lambda s=s: s)
    for s in (None, {**used, 'peak_bytes_in_use': 1}, used)
  ]
  monkeypatch.setattr(jax, 'local_devices', lambda: devices)
  assert metrics.memory() == {'memory_peak': 3, 'memory_limit': 8}


def test_a_window_of_steps_is_traced(tmp_path):
  """Also when the run ends in the window, and when it begins there."""
  step = jax.jit(lambda x: x + 1)
  for name, window, steps in (('whole', (2, 3), (1, 5)), ('cut', (4, 9), (1, 5)), ('late', (1, 3), (2, 5))):
    with metrics.profiler(tmp_path / name, *window) as profiled:
      for i in range(*steps):
        with profiled(i):
          step(jnp.float32(i))
    assert list((tmp_path / name / 'profile').rglob('*.xplane.pb'))
    assert (tmp_path / name / 'profile' / 'memory.prof').stat().st_size > 0
  with metrics.profiler(tmp_path / 'none', 0, 0) as profiled, profiled(1):
    pass
  assert not (tmp_path / 'none').exists()


def test_a_window_is_two_steps():
  assert metrics.window('10:15') == (10, 15) and metrics.window('') == (0, 0)
  for text in ('10', '15:10', 'a:b', '-1:3'):
    with pytest.raises(InputError, match='as in 10:15'):
      metrics.window(text)


def test_a_run_that_goes_on_appends_after_what_was_saved(tmp_path, toy):
  first = log(tmp_path, toy)
  for step in range(1, 7):
    first.step(step, numbers(), {}, TOKENS)
  first.close()  # step 6 may still run: nobody has looked at it
  assert [x['step'] for x in tiny.lines(tmp_path)] == [1, 2, 3, 4, 5]
  second = log(tmp_path, toy, start=4)
  second.step(5, numbers(3.0), {}, TOKENS)
  second.flush()
  second.close()
  assert [(x['step'], x['loss']) for x in tiny.lines(tmp_path)][3:] == [(4, 2.0), (5, 3.0)]
  assert list((tmp_path / 'tensorboard').glob('events*'))


@pytest.mark.parametrize('seconds, text', [(0, '0:00'), (75, '1:15'), (3_675, '1:01:15'), (-1, '0:00')])
def test_the_clock_is_read_by_people(seconds, text):
  assert metrics.clock(seconds) == text


def test_stopped_says_how_to_go_on():
  stopped = metrics.Stopped(15, 7, 'runs/x')
  assert stopped.status == 143 and 'saved at step 7 in runs/x' in str(stopped)


def test_a_run_imports_no_torch(tmp_path):
  """Which takes longer to import than all that a run needs."""
  code = 'import sys; from zhlm import metrics, train; metrics.tensorboard(sys.argv[1], 0).close()'
  subprocess.run([sys.executable, '-c', f'{code}; assert "torch" not in sys.modules', tmp_path], check=True)
