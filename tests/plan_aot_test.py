"""The real step, compiled for TPUs that are not there."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests import tiny
from zhlm.plan import compiled, report, scaling, topologies

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
  topologies.libtpu() is None, reason='the TPU compiler is not here: make extras'
)


@pytest.fixture(scope='module', autouse=True)
def like_a_run():
  """The tests' float32 products are nothing that the attention kernel knows, and a program for a TPU that
  is not there cannot be read back from the cache of compiled programs."""
  folder = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  compilation_cache.reset_cache()
  with jax.default_matmul_precision('default'):
    yield
  jax.config.update('jax_compilation_cache_dir', folder)
  compilation_cache.reset_cache()


def plan(name, slices=1, **fields):
  topology = topologies.find(name, slices)
  topologies.prepare(topology)
  config = tiny.config('pretrain', '/nowhere', mesh__slices=slices, **fields)
  return compiled.make(config, topology)


@pytest.fixture(scope='module')
def told(like_a_run):
  """Eight chips of v5e, cut three ways; heads of 128 and rows of 256 as the attention kernel wants them."""
  shape = dict(model__D=256, model__F=512, model__K=128, model__H=2, model__G=2, batch__T=256, batch__B=8)
  cut = dict(mesh__data=2, mesh__fsdp=2, mesh__tensor=2, optimizer__name='adamw')
  how = dict(model__dtype='bfloat16', model__remat='full')
  return report.record(plan('v5e-8', **shape, **cut, **how), 'update')


def test_a_tiny_step_fits_and_its_state_is_donated(told):
  m = told['memory']
  assert told['usable'] == 15.75 * 2**30 and 0 < m['needed'] < 2**28
  assert m['alias'] >= 0.95 * m['output']
  state = 3 * 4 * told['parameters'] / 4  # cut by fsdp and tensor, the norms whole
  batch = 5 * 4 * told['tokens'] / 4
  assert state + batch < m['arguments'] < 1.15 * (state + batch)


def test_the_attention_kernel_is_in_the_step(told):
  assert told['kernels'] >= 3  # forward, and backward for queries and for keys


def test_bytes_on_paper_are_those_of_the_compiled_program(told):
  """To a few per cent what goes over `tensor`; where the compiler may sum and cut at once, or not, and hold
  a gathered weight or not, within a factor of two."""
  paper, real = {tuple(axes): n for axes, n in told['paper']}, {}
  for _, axes, _, n in told['collectives']:
    real[tuple(axes)] = real.get(tuple(axes), 0.0) + n
  assert real['tensor',] == pytest.approx(paper['tensor',], rel=0.05)
  assert real['fsdp',] == pytest.approx(paper['fsdp',], rel=0.6)
  assert sum(real.values()) == pytest.approx(sum(paper.values()), rel=0.5)


def test_estimates_are_bounds_in_order(told):
  assert 0 < told['best'] <= told['worst'] and 0 < told['mfu'][0] <= told['mfu'][1] < 1
  assert told['loops_unsure'] == []


def test_two_slices_send_gradients_over_the_network_between_them():
  got = report.record(plan('v5e-4', 2, mesh__data=2, mesh__fsdp=4, optimizer__name='adamw'), 'update')
  between = sum(n for _, axes, _, n in got['collectives'] if axes == ['dcn'])
  on_paper = dict((tuple(axes), n) for axes, n in got['paper'])['dcn',]
  assert got['devices'] == 8 and 0.5 < between / on_paper < 2


def test_scaling_on_paper_stands_beside_what_was_compiled():
  config = tiny.config('pretrain', '/nowhere', mesh__fsdp=8, batch__B=8, optimizer__name='adamw')
  told = scaling.on_paper(config, topologies.find('v5e-8'), [8], most=8)
  assert [row['compiled'] is not None for row in told] == [False, False, False, True]
  real = sum(n for _, n in told[-1]['compiled'])
  assert 0.5 < real / told[-1]['sent'] < 2
  assert report.scaling_table(told).row_count == 4


def test_what_the_compiler_refuses_is_told_with_the_shortfall():
  fields = dict(model__dtype='bfloat16', model__D=1_024, model__F=65_536, batch__T=4_096, batch__B=256)
  wanted = plan('v5e-4', mesh__fsdp=4, optimizer__name='adamw', **fields)
  compiled.check(wanted)
  with pytest.raises(
    compiled.DoesNotFit, match=r'update needs [\d.]+ GiB of 15.75 GiB .*microbatches=2'
  ) as e:
    compiled.compile(wanted, 'update')
  needed, too_much = (float(x) for x in re.findall(r'([\d.]+) GiB (?:of|too)', str(e.value)))
  assert too_much == pytest.approx(needed - 15.75, abs=0.02) and too_much > 0


def test_what_is_certain_is_counted_before_anything_is_compiled():
  """Inputs of 64 blocks, 4,096 rows of 4,096 tokens a device; or the float32 sums of gradients."""
  wanted = plan('v5e-4', mesh__fsdp=4, batch__B=2**14, batch__T=4_096, model__N=64)
  inputs = 64 * 2**12 * 4_096 * 32 * 4
  assert compiled.at_least(wanted) == compiled.resident(wanted) + inputs
  with pytest.raises(compiled.DoesNotFit, match='at the least'):
    compiled.check(wanted)
  two = plan('v5e-4', mesh__fsdp=4, batch__B=8, batch__microbatches=2)
  elements = sum(x.size / x.sharding.num_devices for x in jax.tree.leaves(two.state.params) if x.ndim > 1)
  assert compiled.at_least(two) > compiled.resident(two) + 4 * elements


def test_a_plan_that_cannot_fit_ends_with_status_3_before_anything_is_compiled():
  command = [sys.executable, '-m', 'launch.compile', '--topology=v5e-4']
  command += ['--config=configs/pretrain.py:size=7b,mesh=fsdp', '--config.optimizer.name=adamw']
  command += ['--config.batch.B=8']
  run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert run.returncode == 3 and run.stdout == ''
  said = run.stderr.strip()
  assert '\n' not in said and re.search(r'of 15.75 GiB per device .*GiB too much; try mesh.fsdp=16', said)


@pytest.mark.parametrize('name', [n for n in topologies.names() if int(n.split('-')[1]) <= 2_048])
def test_every_slice_has_as_many_devices_of_the_kind_as_the_table_says(name):
  topology = topologies.find(name)
  topologies.prepare(topology)
  devices = topologies.devices(topology)
  assert len(devices) == topology.size
  assert {d.device_kind for d in devices} == {topology.chip.device_kind}
  assert tuple(max(d.coords[i] for d in devices) + 1 for i in range(3)) == topology.grid
  assert jax.default_backend() == 'cpu'
