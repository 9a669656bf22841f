"""A pool gives what one process gives, and leaves nobody behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from configs.data import get_config
from zhlm.corpus import engine
from zhlm.errors import InputError

SLEEPERS = """
import sys
sys.path[:0] = ['.']
from tests.corpus_engine_test import sleep
from zhlm.corpus import engine
if __name__ == '__main__':
  with engine.pool(2) as spread:
    print('begun', flush=True)
    list(spread(sleep, [60, 60, 60]))
"""


def double(number):
  return 2 * number


def sleep(seconds):
  time.sleep(seconds)


def die(number):
  os.kill(os.getpid(), signal.SIGKILL)


def test_a_pool_gives_what_one_process_gives():
  with engine.pool(2) as spread:
    found = {index: result for index, (result, _, _) in spread(double, [1, 2, 3])}
    again = {index: result for index, (result, _, _) in spread(double, [5])}
  assert (
    found
    == {index: result for index, (result, _, _) in engine.here(double, [1, 2, 3])}
    == {0: 2, 1: 4, 2: 6}
  )
  assert again == {0: 10}


def test_a_worker_that_dies_is_told_with_what_to_do():
  with engine.pool(2) as spread, pytest.raises(InputError, match='worker process died in die.*run again'):
    list(spread(die, [1, 2]))


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_they_work_for(tmp_path, number):
  script = tmp_path / 'sleepers.py'
  script.write_text(SLEEPERS)
  restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
  process = subprocess.Popen(
    [sys.executable, str(script)],
    env={**os.environ, 'PYTHONPATH': '.'},
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    start_new_session=True,
    preexec_fn=restore,
  )
  process.stdout.readline()
  children = f'/proc/{process.pid}/task/{process.pid}/children'
  while len(found := open(children).read().split()) < 3:  # noqa: SIM115 (two workers, and their tracker)
    time.sleep(0.05)
  time.sleep(1.0)  # they import what they need
  if number == signal.SIGKILL:
    process.kill()
  else:
    os.killpg(process.pid, number)
  process.wait(10)
  end = time.time() + 10
  while alive := [pid for pid in found if os.path.exists(f'/proc/{pid}') and not zombie(pid)]:
    assert time.time() < end, alive
    time.sleep(0.05)


def zombie(pid):
  try:
    with open(f'/proc/{pid}/stat') as file:
      return file.read().rpartition(')')[2].split()[0] == 'Z'
  except FileNotFoundError:
    return True


def test_processes_are_as_many_as_asked_for_or_one_a_cpu():
  assert engine.processes(3) == 3
  assert engine.processes(0) == len(os.sched_getaffinity(0))


def test_an_engine_that_is_none_lists_those_that_are():
  config = get_config()
  config.engine = 'spark'
  with pytest.raises(InputError, match='local, beam'), engine.engine(config):
    pass
