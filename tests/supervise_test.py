"""Who is started again, how often, and who is left alone: by small programs in place of a training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUPERVISOR = """
import sys
from launch import supervise
restarts, folder, code = sys.argv[1:]
sys.exit(supervise.supervise(int(restarts), folder, [sys.executable, '-c', code], (0.02, 0.05)))
"""
# A program's n-th start writes a line; then it does what `then` says.
CHILD = """
import os, pathlib, signal, sys, time
folder = pathlib.Path({folder!r})
with open(folder / 'starts', 'a') as file:
  print(os.getpid(), file=file)
n = len((folder / 'starts').read_text().splitlines())
{then}
"""


def start(folder, then, restarts=3):
  code = CHILD.format(folder=str(folder), then=then)
  args = [sys.executable, '-c', SUPERVISOR, str(restarts), str(folder), code]
  return subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
  """(status, lines of stderr)."""
  _, stderr = process.communicate(timeout=30)
  return process.returncode, stderr.splitlines()


def starts(folder):
  path = folder / 'starts'
  return path.read_text().splitlines() if path.exists() else []


def wait(ready):
  end = time.monotonic() + 20
  while not ready():
    assert time.monotonic() < end
    time.sleep(0.01)


@pytest.mark.parametrize('status', [0, 2])
def test_what_is_final_is_not_started_again(status, tmp_path):
  assert end(start(tmp_path, f'sys.exit({status})')) == (status, [])
  assert len(starts(tmp_path)) == 1


@pytest.mark.parametrize(
  'then, said',
  [
    ('os.kill(os.getpid(), signal.SIGKILL)', 'killed by SIGKILL'),
    ('os.abort()', 'killed by SIGABRT'),
    ('os._exit(137)', 'killed by SIGKILL'),  # a shell's word for it
    ('sys.exit(1)', 'failed with status 1'),
    ('sys.exit(143)', 'stopped by SIGTERM, here or on another host,'),
    ('sys.exit(os.EX_TEMPFAIL)', 'a host did not come'),
  ],
)
def test_what_dies_is_started_again_with_a_line_that_says_why(then, said, tmp_path):
  status, lines = end(start(tmp_path, f'if n < 3: {then}'))
  assert status == 0 and len(starts(tmp_path)) == 3
  assert lines == [
    f'supervisor: {said} at checkpoint 0; restart 1 of 3 in 0.02 s',
    f'supervisor: {said} at checkpoint 0; restart 2 of 3 in 0.04 s',
  ]


def test_it_gives_up_after_so_many_restarts_without_a_checkpoint(tmp_path):
  status, lines = end(start(tmp_path, 'os.kill(os.getpid(), signal.SIGKILL)', restarts=2))
  assert status == 128 + signal.SIGKILL and len(starts(tmp_path)) == 3
  assert lines[-1].endswith('at checkpoint 0; no newer one after 2 restarts: giving up')


def test_a_newer_checkpoint_begins_the_count_anew(tmp_path):
  """Every second start makes progress: twice the restarts are not too many."""
  then = 'if n % 2: (folder / "checkpoints" / str(n)).mkdir(parents=True)\nif n < 7: os.abort()'
  status, lines = end(start(tmp_path, then, restarts=2))
  assert status == 0 and len(starts(tmp_path)) == 7
  assert [line.split('restart ')[1].split()[0] for line in lines] == ['1', '2', '1', '2', '1', '2']
  # An unfinished checkpoint is none.
  other = tmp_path / 'other'
  (other / 'checkpoints' / '9.orbax-checkpoint-tmp').mkdir(parents=True)
  assert end(start(other, 'os.abort()', restarts=1))[1][-1].endswith(
    'no newer one after 1 restarts: giving up'
  )


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_it_is_passed_on_once_and_ends_both(number, tmp_path):
  then = f"""
def stop(*_):
  with open(folder / 'signals', 'a') as file:
    print('got one', file=file)
  time.sleep(0.3)
  sys.exit({128 + number})
signal.signal({int(number)}, stop)
(folder / 'ready').touch()
time.sleep(30)
"""
  process = start(tmp_path, then)
  wait((tmp_path / 'ready').exists)
  process.send_signal(number)
  assert end(process) == (128 + number, [])
  assert len(starts(tmp_path)) == 1 and (tmp_path / 'signals').read_text() == 'got one\n'


def test_a_signal_between_two_starts_ends_it(tmp_path):
  code = SUPERVISOR.replace('(0.02, 0.05)', '(30, 30)')
  child = CHILD.format(folder=str(tmp_path), then='os.abort()')
  args = [sys.executable, '-c', code, '3', str(tmp_path), child]
  process = subprocess.Popen(args, cwd=ROOT, stderr=subprocess.PIPE, text=True)
  assert 'restart 1 of 3 in 30 s' in process.stderr.readline()
  process.terminate()
  assert end(process)[0] == 128 + signal.SIGTERM and len(starts(tmp_path)) == 1


@pytest.mark.skipif(sys.platform != 'linux', reason='a parent-death signal is a thing of Linux')
def test_a_supervisor_killed_outright_takes_its_child_along(tmp_path):
  process = start(tmp_path, '(folder / "ready").touch()\ntime.sleep(60)')
  wait((tmp_path / 'ready').exists)
  process.kill()
  process.wait()

  def gone():
    try:
      os.kill(int(starts(tmp_path)[0]), 0)
    except ProcessLookupError:
      return True
    # An orphan that nobody waits for stays as a zombie.
    return Path(f'/proc/{starts(tmp_path)[0]}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'

  wait(gone)


def test_it_imports_no_jax(tmp_path):
  code = 'import launch.train, sys; print({"jax", "numpy"} & set(sys.modules))'
  run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert run.stdout == 'set()\n'
