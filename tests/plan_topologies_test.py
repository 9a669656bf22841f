"""Slices by the names under which they are booked, and how fast their chips can send."""

import math

import pytest

from zhlm import metrics
from zhlm.errors import InputError
from zhlm.plan import roofline, scaling, topologies


def test_names_count_cores_or_chips_as_those_who_rent_them_out_do():
  sizes = {
    'v4-32': 16,
    'v5p-256': 128,
    'v5p-8': 4,
    'v5e-16': 16,
    'v5litepod-256': 256,
    'v6e-8': 8,
    'cpu-8': 8,
  }
  assert {name: topologies.find(name).size for name in sizes} == sizes
  assert topologies.find('v5e-16', slices=4).size == 64
  for name in topologies.names():
    found = topologies.find(name)
    assert math.prod(found.grid) * found.chip.cores == int(name.split('-')[1])
    assert found.chip.device_kind in metrics.PEAK_FLOPS
    assert found.chip.usable < found.chip.memory


@pytest.mark.parametrize('name', ['v5p-257', 'v5p-2', 'v7-8', 'cpu-0', ''])
def test_an_unknown_name_lists_the_choices(name):
  with pytest.raises(InputError, match='v5p-256.*v6e-256.*cpu-N'):
    topologies.find(name)


def test_whole_cubes_close_to_rings():
  wraps = {
    name: topologies.find(name).wrap for name in ('v4-64', 'v5p-128', 'v5e-128', 'v6e-256', 'v5e-16')
  }
  assert wraps == {
    'v4-64': (False, False, False),
    'v5p-128': (True, True, True),
    'v5e-128': (False, True, False),
    'v6e-256': (True, True, False),
    'v5e-16': (False, False, False),
  }


def test_a_ring_sends_both_ways_and_a_line_is_bounded_by_its_end():
  cube, square = topologies.find('v5p-128'), topologies.find('v5e-16')
  line = lambda n, step=1: [(i * step, 0, 0) for i in range(n)]  # noqa: E731
  assert topologies.bandwidth(line(4), cube) == 2 * 100e9
  assert topologies.bandwidth(line(2), cube) == 100e9
  assert topologies.bandwidth(line(4), square) == 50e9
  plane = [(x, y, 0) for x in range(4) for y in range(4)]
  assert topologies.bandwidth(plane, cube) == 4 * 100e9
  # Every other chip of a ring: its links carry another group, too.
  assert topologies.bandwidth([(0, 0, 0), (2, 0, 0)], cube) == 2 * 100e9 / 2


def test_a_mesh_takes_whole_rings_of_the_torus():
  sizes = {'data': 4, 'fsdp': 32, 'sequence': 1, 'expert': 1, 'tensor': 1}
  pod = topologies.find('v5p-256')
  where = roofline.places(pod, sizes)
  assert where.shape == (4, 32, 1, 1, 1, 3)
  assert len({tuple(x) for x in where.reshape(-1, 3).tolist()}) == 128
  assert roofline.bandwidth(('data',), where, pod) == 200e9
  assert roofline.bandwidth(('fsdp',), where, pod) == 400e9
  assert roofline.bandwidth(('data', 'fsdp'), where, pod) == 600e9
  assert roofline.bandwidth(('dcn',), where, pod) == pod.chip.dcn


def test_chips_that_no_slice_has_are_slices_of_the_largest():
  assert scaling.slice_of('v5e', 1_024).slices == 4
  assert scaling.slice_of('v5p', 1_024).slices == 1 and scaling.slice_of('v5p', 2).size == 2
  with pytest.raises(InputError, match='no slice of v5e has 24 chips'):
    scaling.slice_of('v5e', 24)


def test_times_are_bytes_and_products_over_published_rates():
  sizes = {'data': 1, 'fsdp': 16, 'sequence': 1, 'expert': 1, 'tensor': 1}
  square = topologies.find('v5e-16')
  where = roofline.places(square, sizes)
  e = roofline.estimate(
    square,
    where,
    executed=16 * 197e12,
    traffic=819e9 / 2,
    sent={('fsdp',): 100e9 / 4},
    tokens=1,
    flops=8 * 197e12,
  )
  assert (e.compute, e.memory, e.network) == (1.0, 0.5, {('fsdp',): 0.25})
  assert e.best == 1.0 and e.worst == 1.25 and e.mfu(e.best) == 0.5
