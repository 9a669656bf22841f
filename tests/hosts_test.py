"""Two hosts are one: the same batches, losses and checkpoints; and what ends one ends both, in time."""

import json
import os
import re
import shutil
import signal
import socket
import threading
import time

import jax
import numpy as np
import pytest

from benchmarks.disturb import whole
from tests import tiny, two
from tests.launch_test import overrides
from tests.train_test import Killed, dies_at
from zhlm import checkpoint, devices, hosts, monitor, store
from zhlm.errors import InputError

# What both hosts run: RUNS is [[stage, folder, fields, whether host 1 gets SIGTERM before], …].
BOTH = """
import json, os, signal, time
import jax
import numpy as np
import launch
from launch import hosts as flags
from jax.sharding import AxisType, Mesh

HERE, BASE, TOY, RUNS = json.loads({plan!r})


def rows_are_where_they_belong():
  from zhlm import devices, sharding

  full = np.arange(48).reshape(16, 3)
  # In the order of hosts, and mixed as on a torus: each host holds some shards, or all.
  for order in ([0, 1, 2, 3, 4, 5, 6, 7], [0, 4, 5, 1, 2, 6, 7, 3], [7, 6, 5, 4, 3, 2, 1, 0]):
    for shape in ((2, 2, 1, 1, 2), (1, 8, 1, 1, 1), (1, 1, 1, 1, 8), (2, 1, 4, 1, 1)):
      grid = np.array(jax.devices())[order].reshape(shape)
      mesh = Mesh(grid, sharding.MESH_AXES, axis_types=(AxisType.Auto,) * 5)
      here = devices.host_rows(mesh, 16)
      x = devices.put_batch(mesh, {{'x': full[here]}})['x']
      assert x.shape == full.shape
      for shard in x.addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data), full[shard.index])


def main(_):
  from tests import tiny, two
  from zhlm import errors, hosts, metrics

  two.cache_on_each_host()

  with flags.joined():
    me = jax.process_index()
    rows_are_where_they_belong()
    try:
      hosts.agree(me, 'they differ')
    except errors.InputError as e:
      told = [str(e)]
    for stage, folder, fields, stops in RUNS:
      if stops and me == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2)  # jax looks once a second
      try:
        tiny.train(stage, TOY, folder, lambda s: f'{{BASE}}/{{s}}', **fields)
      except metrics.Stopped as e:
        told.append([e.status, str(e)])
  with open(f'{{HERE}}/told{{me}}.json', 'w') as file:  # gloo, too, writes to stdout
    json.dump(told, file)


launch.run(main)
"""
MESH = dict(mesh__data=2, mesh__fsdp=2, mesh__tensor=2)
PRETRAIN = dict(steps=24, save_every=4, keep=100, **MESH)
PPO = dict(steps=4, save_every=4, eval_every=4, rollout__gold='text.distinct:1', **MESH)


@pytest.fixture(scope='module')
def both(made, toy, runs):
  """The folder of what one process made (one/…) and of what two hosts made of it (two/…)."""

  def make(folder):
    for stage in ('sft', 'reward'):
      base = runs(stage).parent
    (folder / 'two').mkdir(parents=True)
    tiny.train('pretrain', toy, folder / 'one' / 'pretrain', **PRETRAIN)
    tiny.train('ppo', toy, folder / 'one' / 'ppo', runs, **PPO)
    with pytest.MonkeyPatch.context() as patch:
      dies_at(7, patch)
      with pytest.raises(Killed):
        tiny.train('pretrain', toy, folder / 'two' / 'half', **PRETRAIN)
    plan = [
      ['pretrain', f'{folder}/two/calm', PRETRAIN, False],
      ['ppo', f'{folder}/two/ppo', PPO, False],
      ['pretrain', f'{folder}/two/half', PRETRAIN, True],
      ['pretrain', f'{folder}/two/half', PRETRAIN, False],
    ]
    script = folder / 'both.py'
    script.write_text(BOTH.format(plan=json.dumps([str(folder), str(base), str(toy), plan])))
    for status, _, stderr in two.run(script):
      assert status == 0, stderr

  return made('both', make)


def losses(folder):
  names = ('loss', 'score', 'validation')
  return {(x['step'], k): x[k] for x in tiny.lines(folder) for k in x if any(name in k for name in names)}


@pytest.mark.parametrize('run, like', [('calm', 'pretrain'), ('half', 'pretrain'), ('ppo', 'ppo')])
def test_two_hosts_train_as_one(run, like, both):
  """`half` was begun by one process, which died; PPO also samples the same answers."""
  here, there = losses(both / 'two' / run), losses(both / 'one' / like)
  assert here.keys() == there.keys() and len(here) >= 4
  for key, x in there.items():
    assert here[key] == pytest.approx(x, rel=2e-5, abs=2e-6), key


def test_two_hosts_show_the_samples_of_one(both):
  here, there = ((both / name / 'ppo' / 'samples.jsonl').read_text('utf-8') for name in ('two', 'one'))
  assert here == there and len(here.splitlines()) == 2 * monitor.SHOWN


def test_one_process_goes_on_from_a_checkpoint_of_two_hosts(both, toy, tmp_path):
  shutil.copytree(both / 'two' / 'calm', tmp_path / 'run')
  for step in whole(tmp_path / 'run')[2:]:
    shutil.rmtree(tmp_path / 'run' / 'checkpoints' / str(step))
  tiny.train('pretrain', toy, tmp_path / 'run', **PRETRAIN)
  here, there = losses(tmp_path / 'run'), losses(both / 'one' / 'pretrain')
  assert here.keys() == there.keys()
  for key, x in there.items():
    assert here[key] == pytest.approx(x, rel=2e-5), key


def told(both):
  """What each host kept: that they do not agree, and how the stopped run ended."""
  return [json.loads((both / f'told{i}.json').read_text()) for i in range(2)]


def test_a_signal_to_one_host_stops_both_at_the_same_step(both):
  """Also one that comes before the first step of a run that goes on, here from step 4."""
  (_, mine), (_, others) = told(both)
  assert mine == others
  status, text = mine
  assert status == 143 and 5 <= int(re.search(r'saved at step (\d+) in', text)[1]) < 24


def test_hosts_that_do_not_agree_say_so_on_each(both):
  assert {said[0] for said in told(both)} == {'they differ (host 0: 0, host 1: 1)'}


def child_of(process):
  """The process that a supervisor runs."""
  for _ in range(1_000):
    with open(f'/proc/{process.pid}/task/{process.pid}/children') as file:
      if found := file.read().split():
        return int(found[0])
    time.sleep(0.01)
  raise AssertionError('no child')


def saved(folder):
  """Of the newest checkpoint: the fingerprint of every array, and the policy's bytes."""
  step, meta, _, damaged = store.newest(folder / 'checkpoints', lambda meta: {})
  with jax.set_mesh(devices.make_mesh({})):
    policy = jax.tree.leaves(checkpoint.load(folder, 'policy'))
  return step, meta['items'], damaged, [np.asarray(x).tobytes() for x in policy]


def wait(processes, ready):
  end = time.monotonic() + 120
  while not ready():
    for p in processes:
      assert p.poll() is None, p.communicate()
    assert time.monotonic() < end
    time.sleep(0.02)


@pytest.mark.skipif(not os.path.exists('/proc/self/task'), reason='finds children in /proc')
def test_a_killed_host_and_then_signals_change_nothing(both, toy, tmp_path):
  """Of two supervised hosts one is killed: both start again. Then both are told to stop, as a cluster does;
  and the same command goes on. In the end, what an undisturbed run of two hosts has."""
  folder = tmp_path / 'run'
  args = ['-m', 'tests.two', *overrides('pretrain', toy, **PRETRAIN), f'--workdir={folder}']
  port = two.free_port()
  pair = [two.start(i, port, *args, '--restarts=2') for i in range(2)]
  lines = lambda n: (folder / 'metrics.jsonl').exists() and len(tiny.lines(folder)) >= n  # noqa: E731
  wait(pair, lambda: whole(folder)[-1:] == [4] and lines(5))
  os.kill(child_of(pair[1]), signal.SIGKILL)
  wait(pair, lambda: not lines(5))  # it goes on from step 4
  wait(pair, lambda: lines(6))
  for p in pair:
    p.terminate()
  for i, (status, _, stderr) in enumerate(two.ends(pair)):
    assert status == 143, stderr
    assert len(re.findall('^supervisor: .*; restart 1 of 2 in 1 s$', stderr, re.M)) == 1, stderr
    assert i == 0 or 'supervisor: killed by SIGKILL at checkpoint 4' in stderr
    assert f'stopped by signal 15: saved at step {whole(folder)[-1]}' in stderr
  assert 4 < whole(folder)[-1] < 24
  for status, _, stderr in two.run(*args):
    assert status == 0, stderr
  assert saved(folder) == saved(both / 'two' / 'calm')


# -- The roll call, and where the hosts are said ----------------------------------------------------------


def call(hosts_and_waits, count=3, between=lambda port: None, port=None):
  """Each host's roll call in a thread of its own, in this order; {host: the error it raised, or None}."""
  port, said = port or two.free_port(), {}

  def one(host, count, wait):
    try:
      hosts._roll_call(f'127.0.0.1:{port}', count, host, wait)
      said[host] = None
    except InputError as e:
      said[host] = e

  threads = []
  for host, n, wait in hosts_and_waits:
    threads.append(threading.Thread(target=one, args=(host, n, wait)))
    threads[-1].start()
    time.sleep(0.05)
  between(port)
  for t in threads:
    t.join(20)
    assert not t.is_alive()
  return said


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_hosts_that_all_come_go_on_in_whatever_order(order):
  assert call([(i, 3, 10) for i in order]) == {0: None, 1: None, 2: None}


def test_every_host_hears_which_one_did_not_come():
  said = call([(0, 4, 0.5), (2, 4, 0.5)])
  for e in said.values():
    assert isinstance(e, hosts.Absent) and e.status == os.EX_TEMPFAIL
    assert 'of 4 hosts these did not come within 0.5 s: 1, 3;' in str(e)
  assert said.keys() == {0, 2}


def test_without_host_0_the_others_say_where_they_looked(monkeypatch):
  monkeypatch.setattr(hosts, 'GRACE', 0.1)
  said = call([(1, 2, 0.3)])
  assert re.search(r'host 0 did not come to 127.0.0.1:\d+ within 0.3 s: Connection refused', str(said[1]))


@pytest.mark.parametrize(
  'who, said',
  [
    ([(0, 3, 10), (1, 2, 10)], 'one host was started as 1 of 2, host 0 as 0 of 3'),
    ([(0, 2, 10), (5, 2, 10)], 'one host was started as 5 of 2'),
  ],
)
def test_hosts_that_were_told_different_things_stop(who, said):
  for e in call(who).values():
    assert said in str(e) and not isinstance(e, hosts.Absent)


def test_two_that_say_they_are_the_same_host_stop():
  said = []

  def twin(port):
    with socket.create_connection(('127.0.0.1', port)) as s:
      s.sendall(b'1 3\n')
      said.append(s.makefile().readline())

  errors = call([(0, 3, 10), (1, 3, 10)], between=twin)
  assert 'two processes say that they are host 1' in said[0]
  assert all('two processes' in str(e) for e in errors.values())


def test_a_stranger_and_one_that_died_while_waiting_do_no_harm():
  def disturb(port):
    for line in (b'GET / HTTP/1.1\n', b'1 2 3\n', b'', b'1 3\n'):  # the last is host 1, and dies
      with socket.create_connection(('127.0.0.1', port)) as s:
        s.sendall(line)
    time.sleep(0.2)
    later.append(call([(1, 3, 10), (2, 3, 10)], port=port))

  later = []
  assert call([(0, 3, 10)], between=disturb) == {0: None}
  assert later == [{1: None, 2: None}]


def test_a_port_that_is_taken_is_told():
  with socket.create_server(('', 0)) as s:
    said = call([(0, 2, 1)], port=s.getsockname()[1])
  assert 'cannot listen on port' in str(said[0]) and 'in use' in str(said[0])


@pytest.mark.parametrize(
  'flags, said',
  [
    (('', 2, 0), '--hosts and --host need --coordinator'),
    (('', 0, 1), '--hosts and --host need --coordinator'),
    (('here', 2, 0), 'give the address:port of host 0'),
    (('here:1', 0, 0), 'how many hosts there are'),
    (('here:1', 2, 2), 'which one this is'),
    ((), 'finds neither a TPU pod nor a SLURM step'),
  ],
)
def test_flags_that_do_not_fit_are_told(flags, said, monkeypatch):
  for name in [x for x in os.environ if x.startswith(('SLURM_', 'KUBERNETES_', 'OMPI_'))]:
    monkeypatch.delenv(name)
  with pytest.raises(InputError, match=said):
    hosts.join(*flags)


@pytest.mark.parametrize('per_node, devices', [('1(x3)', None), ('1', None), ('8(x3)', [5]), ('2,1', [5])])
def test_a_slurm_task_takes_all_devices_of_a_node_it_has_alone(per_node, devices, monkeypatch):
  step = {'JOB_ID': '7', 'STEP_NODELIST': 'n[03-05,9]', 'NTASKS': '24', 'PROCID': '13', 'LOCALID': '5'}
  for name, value in {**step, 'STEP_TASKS_PER_NODE': per_node}.items():
    monkeypatch.setenv(f'SLURM_{name}', value)
  assert hosts._detect(1) == ('n03:61447', 24, 13, devices)


def test_one_host_is_no_pod():
  hosts.join('127.0.0.1:1', 1, 0)
  assert jax.process_count() == 1 and not jax.distributed.is_initialized()
  hosts.barrier('alone')
  hosts.agree(3, 'never')
  assert hosts.first() and np.all(hosts.first())
