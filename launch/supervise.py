"""Starts a program again when it dies: a parent that imports no jax, and so outlives what kills jax.

It gives way to what is final: an end (status 0), an input to mend (2), and a signal to itself, which it
passes on. A host of many is started again too when another host was the one that died.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FINAL = (0, 2)  # finished; an InputError, which would come again
BACKOFF = (1.0, 60.0)  # seconds before the first restart and at most, doubled each time in between


def newest(workdir):
  """The step of the newest finished checkpoint of a run, 0 without one; reads names only."""
  return max((int(p.name) for p in Path(workdir).glob('checkpoints/*') if p.name.isdigit()), default=0)


def supervise(restarts, workdir, command=None, backoff=BACKOFF):
  """Runs a command (this program's own, by default) until it ends, and returns its exit status.

  It is started again at most `restarts` times in a row without a newer checkpoint in `workdir`.
  """
  if command is None:  # the last of a flag counts
    command = [sys.executable, '-m', sys.modules['__main__'].__spec__.name, *sys.argv[1:], '--restarts=0']
  told, failed = [], 0
  before = {n: signal.signal(n, lambda n, _: told.append(n)) for n in (signal.SIGTERM, signal.SIGINT)}
  try:
    while True:
      since = newest(workdir)
      status = _run(command, told)
      if told or status in FINAL:
        return status if status >= 0 else 128 - status
      step = newest(workdir)
      failed = 1 if step > since else failed + 1
      what = f'{_why(status)} at checkpoint {step}'
      if failed > restarts:
        _say(f'{what}; no newer one after {restarts} restarts: giving up')
        return status if status >= 0 else 128 - status
      seconds = min(backoff[0] * 2 ** (failed - 1), backoff[1])
      _say(f'{what}; restart {failed} of {restarts} in {seconds:g} s')
      end = time.monotonic() + seconds
      while time.monotonic() < end:
        if told:
          return 128 + told[0]
        time.sleep(0.1)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _run(command, told):
  """Runs a command to its end, and passes on the signals that come to `told`; its status, as Popen's."""
  # In a group of its own: Ctrl-C on a terminal reaches it once, through here.
  child = subprocess.Popen(command, process_group=0, preexec_fn=_die_with_parent)
  passed = 0
  while (status := child.poll()) is None:
    for number in told[passed:]:
      child.send_signal(number)
      passed += 1
    time.sleep(0.1)
  return status


def _why(status):
  """What an exit status says."""
  if status > 128 and status - 128 in (signal.SIGTERM, signal.SIGINT):
    return f'stopped by {signal.Signals(status - 128).name}, here or on another host,'
  if status == os.EX_TEMPFAIL:
    return 'a host did not come'
  number = -status if status < 0 else status - 128
  if number in set(signal.Signals):
    return f'killed by {signal.Signals(number).name}'
  return f'failed with status {status}'


def _die_with_parent():
  """Linux only: a supervisor that is killed outright takes its child along, which saves first."""
  if sys.platform == 'linux':
    pr_set_pdeathsig = 1  # prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _say(text):
  print(f'supervisor: {text}', file=sys.stderr, flush=True)
