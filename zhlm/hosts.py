"""Many hosts as one machine: all are there before jax waits for them, any one's signal stops all at the
same step, and when one dies the others end within a bound.

A host is one process of jax: a VM of a TPU pod, a task of a SLURM job, or what the flags say. A little over
250 lines: meeting, signals and dying are one protocol, which two files would tell by halves.
"""

import atexit
import contextlib
import itertools
import os
import re
import selectors
import signal
import socket
import sys
import time

import jax
import numpy as np
from jax._src import distributed  # its listener for signals
from jax._src.clusters import ClusterEnv  # jax finds pods and SLURM, but aborts when a host is missing
from jax.experimental import multihost_utils

from zhlm.errors import InputError

# Seconds without a sign of life after which a host counts as dead. jax checks at about this interval too,
# so the others end within twice as long, 60 s (measured: docs/hosts.md); its own default is 100.
HEARTBEAT = 30
GRACE = 5  # seconds that host 0 has, after the time for all to come, to tell the others who did not


class Absent(InputError):
  """A host that did not come. Trying again may help, so it has a status of its own."""

  status = os.EX_TEMPFAIL


def first():
  """Whether this is process 0, the one that writes what is written once."""
  return jax.process_index() == 0


def barrier(name):
  """Waits until all hosts are at the barrier of this name; does nothing where there is one."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def agree(number, what):
  """Raises InputError on every host when they do not all hold the same number: `what` says of what."""
  if jax.process_count() > 1:
    numbers = multihost_utils.process_allgather(np.int64(number)).ravel().tolist()
    if len(set(numbers)) > 1:
      said = ', '.join(f'host {i}: {x}' for i, x in enumerate(numbers[:8]))
      raise InputError(f'{what} ({said}{", …" if len(numbers) > 8 else ""})')


def shared(path, wait=60):
  """Waits until a file that host 0 has written is there for every host; InputError on all when it is not
  within `wait` seconds (a network folder may remember for a while that it was not)."""
  barrier('shared')
  end = time.monotonic() + wait
  while not path.exists() and time.monotonic() < end:
    time.sleep(0.5)
  agree(path.exists(), f'{path.parent} is not one folder that all hosts share: {path.name} is there or not')


@contextlib.contextmanager
def joined(coordinator='', hosts=0, host=-1, wait=300):
  """Inside, jax spans all hosts. Whoever leaves with an exception leaves at once: jax's own way out is a
  barrier, at which the others, who wait for this host's part of a sum, never arrive.

  coordinator: 'address:port' of host 0, with `hosts` in all of which this is `host`; without it, jax asks
    the TPU pod's metadata or SLURM. wait: seconds for all to come.
  Raises InputError for flags that do not fit, and Absent that says which host did not come.
  """
  join(coordinator, hosts, host, wait)
  try:
    yield
  except SystemExit:
    raise
  except BaseException as e:
    if jax.distributed.is_initialized():
      # The last one registered runs first: after the message is printed, before jax's barrier.
      atexit.register(_leave, e.status if isinstance(e, InputError) else 2 if isinstance(e, OSError) else 1)
    raise


def _leave(status):
  sys.stdout.flush()
  sys.stderr.flush()
  if first():  # whose end ends the others: those that failed of the same cause can say so before
    time.sleep(3)
  os._exit(status)


def join(coordinator='', hosts=0, host=-1, wait=300):
  """As `joined`, for a program that ends by itself."""
  if coordinator:
    address, _, port = coordinator.rpartition(':')
    if not (address and port.isdigit() and hosts > 0 and 0 <= host < hosts):
      raise InputError(
        f'--coordinator={coordinator} --hosts={hosts} --host={host}: give the address:port of host 0, how '
        f'many hosts there are, and which one this is (0 … hosts - 1)'
      )
    devices = None
  elif hosts or host >= 0:
    raise InputError('--hosts and --host need --coordinator=ADDRESS:PORT, the same on every host')
  else:
    coordinator, hosts, host, devices = _detect(wait)
  if hosts == 1:
    return
  _roll_call(coordinator, hosts, host, wait)
  jax.distributed.initialize(
    coordinator,
    hosts,
    host,
    devices,
    cluster_detection_method='deactivate',
    initialization_timeout=60,  # all are there: this is for the service to start
    heartbeat_timeout_seconds=HEARTBEAT,
    shutdown_timeout_seconds=HEARTBEAT,
  )


def _detect(wait):
  """(coordinator, hosts, host, local devices or None for all) of the cluster that this process is in."""
  try:
    found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, wait)
  except Exception as e:  # the metadata server, a name that does not resolve, a variable that is no number
    raise InputError(f'--distributed: cannot read the cluster: {" ".join(str(e).split())}') from e
  coordinator, hosts, host, devices = found
  if None in (coordinator, hosts, host):
    raise InputError(
      '--distributed finds neither a TPU pod nor a SLURM step (start tasks with srun); elsewhere give '
      '--coordinator=ADDRESS:PORT --hosts=N --host=I'
    )
  # jax gives each SLURM task the one device of its number; a task that has its node alone takes all.
  if re.fullmatch(r'1(\(x\d+\))?', os.environ.get('SLURM_STEP_TASKS_PER_NODE', '')):
    devices = None
  return coordinator, hosts, host, devices


# -- The roll call ----------------------------------------------------------------------------------------


def _roll_call(coordinator, hosts, host, wait):
  """Returns when all hosts are there. They meet at the coordinator's port, before jax's service takes it,
  and all hear the same verdict; raises Absent or InputError."""
  address, _, port = coordinator.rpartition(':')
  deadline = time.monotonic() + wait
  if host:
    verdict = _answer((address.strip('[]'), int(port)), f'{host} {hosts}\n'.encode(), deadline, wait)
  else:
    verdict = _call(int(port), hosts, deadline, wait)
  kind, _, text = verdict.partition(' ')
  if kind != 'go':
    raise (Absent if kind == 'absent' else InputError)(text)


def _call(port, hosts, deadline, wait):
  """Host 0's part: takes down who comes, and tells them all what it returns."""
  here, verdict = {}, ''  # host: its connection
  with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
    server = stack.enter_context(_listen(port))
    selector.register(server, selectors.EVENT_READ)
    while not verdict:
      for key, _ in selector.select(max(deadline - time.monotonic(), 0)):
        if key.fileobj is not server:  # nobody speaks twice: this one is gone, and may come again
          selector.unregister(key.fileobj)
          here = {k: x for k, x in here.items() if x is not key.fileobj}
          continue
        other, _ = server.accept()
        stack.enter_context(other)
        said = _line(other, 2.0).split()
        if len(said) != 2 or not all(x.isdigit() for x in said):
          continue  # a stranger
        host, count = map(int, said)
        if count != hosts or not 0 < host < hosts:
          verdict = f'wrong one host was started as {host} of {count}, host 0 as 0 of {hosts}'
        elif host in here:
          verdict = f'wrong two processes say that they are host {host}; give each its own --host'
        here[host] = other
        selector.register(other, selectors.EVENT_READ)  # a twin, too, hears the verdict
      if not verdict and len(here) == hosts - 1:
        verdict = 'go'
      elif not verdict and time.monotonic() >= deadline:
        gone = [str(i) for i in range(1, hosts) if i not in here]
        names = ', '.join(gone[:8]) + (', …' if len(gone) > 8 else '')
        verdict = (
          f'absent of {hosts} hosts these did not come within {wait} s: {names}; look at their '
          f'logs, and whether they reach port {port} of host 0'
        )
    for key in selector.get_map().values():
      with contextlib.suppress(OSError):  # the server itself, and who is gone
        key.fileobj.sendall(f'{verdict}\n'.encode())
  return verdict


def _answer(address, me, deadline, wait):
  """Another host's part: comes to host 0 as often as it must, and returns its verdict."""
  why = 'it does not answer'
  while (left := deadline + GRACE - time.monotonic()) > 0:
    try:
      with socket.create_connection(address, min(left, 10)) as s:
        s.sendall(me)
        if verdict := _line(s, left):
          return verdict
    except OSError as e:
      why = e.strerror or str(e)
    time.sleep(0.2)
  return f'absent host 0 did not come to {address[0]}:{address[1]} within {wait} s: {why}'


def _line(connection, seconds):
  """The first line that comes in this time, or ''."""
  connection.settimeout(max(seconds, 0.1))
  try:
    with connection.makefile(encoding='utf-8', errors='replace') as file:
      line = file.readline(2_000)
  except OSError:
    return ''
  return line.rstrip('\n') if line.endswith('\n') else ''


def _listen(port):
  try:
    if socket.has_dualstack_ipv6():
      return socket.create_server(('', port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(('', port))
  except OSError as e:
    raise InputError(f'host 0 cannot listen on port {port} of --coordinator: {e.strerror}') from e


# -- Signals ----------------------------------------------------------------------------------------------


_CALLS = itertools.count(1)  # of a process, over all its runs


@contextlib.contextmanager
def signals():
  """Yields `stopped() -> number`: of the signal (SIGTERM, Ctrl-C) that asks this run to stop, or 0.

  It says so from the same step on, on every host, when any of them got one: call it once a step. Another
  Ctrl-C ends at once. The handlers of before are back afterwards.
  """
  got, all_stop = [], []  # what came to this host; what stops all
  alone = jax.process_count() == 1

  def handle(number, _):
    if got and number == signal.SIGINT:
      raise KeyboardInterrupt
    got.append(number)
    if not alone:
      signal.raise_signal(signal.SIGTERM)  # which jax listens for, and tells the other hosts

  # They then agree on a call of `reached_sync_point` that none has made, by the numbers that it is given.
  # Steps would not do: a signal that comes before the first call means call 1. And orbax, which gives its
  # own numbers, must not find it.
  state = distributed.global_state
  manager, state.preemption_sync_manager = state.preemption_sync_manager, None

  def stopped():
    if not all_stop and (got if alone else manager.reached_sync_point(next(_CALLS))):
      all_stop.append(got[0] if got else signal.SIGTERM)
    return all_stop[0] if all_stop else 0

  numbers = (signal.SIGTERM, signal.SIGINT) if alone else (signal.SIGINT,)
  before = {n: signal.signal(n, handle) for n in numbers}
  try:
    yield stopped
  finally:
    state.preemption_sync_manager = manager
    for number, handler in before.items():
      signal.signal(number, handler)
