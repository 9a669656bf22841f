"""Who computes: this process, a pool of processes, or Apache Beam; what is computed never depends on it.

An engine is `map(function, tasks) -> (index, result) as they finish`; function and tasks can be pickled.
"""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
import time

from zhlm.errors import InputError


def measured(call):
  """(result, CPU-seconds, peak bytes of this process) of `call = (function, task)`."""
  function, task = call
  start = time.process_time()
  result = function(task)
  return result, time.process_time() - start, peak()


def peak():
  """Bytes of memory that this process held at most. (ru_maxrss of a spawned one begins at its parent's.)"""
  try:
    with open('/proc/self/status', encoding='ascii') as file:
      return next(int(line.split()[1]) * 1024 for line in file if line.startswith('VmHWM'))
  except (OSError, StopIteration):
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def here(function, tasks):
  """One after another in this process."""
  for index, task in enumerate(tasks):
    yield index, measured((function, task))


def _worker():
  """A worker ends at once at Ctrl-C, and when the process that it works for is no more."""
  signal.signal(signal.SIGINT, signal.SIG_DFL)

  def watch():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def pool(processes):
  """The map of a pool of spawned processes, which starts when it is first used.

  A worker that dies (say, for want of memory) is an InputError that says so.
  """
  executor, others = None, multiprocessing.active_children()

  def spread(function, tasks):
    nonlocal executor
    if len(tasks) < 2:
      yield from here(function, tasks)
      return
    if executor is None:
      context = multiprocessing.get_context('spawn')
      executor = concurrent.futures.ProcessPoolExecutor(processes, context, initializer=_worker)
    waiting = {}
    try:
      for i, task in enumerate(tasks):
        waiting[executor.submit(measured, (function, task))] = i
      for done in concurrent.futures.as_completed(waiting):
        yield waiting[done], done.result()
    except concurrent.futures.process.BrokenProcessPool:
      # A worker that was being spawned while another died is waited for by the executor, and told nothing.
      for child in multiprocessing.active_children():
        if child not in others:
          child.kill()
      raise InputError(
        f'a worker process died in {function.__name__}, perhaps for want of memory; '
        'run again to go on, with fewer --config.processes'
      ) from None
    finally:
      for future in waiting:
        future.cancel()

  try:
    yield spread
  finally:
    if executor is not None:
      executor.shutdown(cancel_futures=True)


def processes(wanted):
  """The number of processes: as wanted, or one a CPU this process may use (0)."""
  there = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  return wanted or there


@contextlib.contextmanager
def engine(config):
  """The map that `config.engine` names: 'local' or 'beam'. Raises InputError for another name."""
  if config.engine == 'beam':
    from zhlm.corpus import beam

    yield beam.spread(config.beam_options)
  elif config.engine != 'local':
    raise InputError(f'engine={config.engine}: the engines are local, beam')
  elif processes(config.processes) == 1:
    yield here
  else:
    with pool(processes(config.processes)) as spread:
      yield spread
