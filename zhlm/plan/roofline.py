"""How long a step takes at least: arithmetic, memory and network, each at its published peak.

Two bounds are told. At best all three happen at once, and so do the axes of the mesh; at worst nothing is
sent while anything else happens. Not in it: what runs on the vector unit, latencies, hosts, input. A real
run is slower than the first and, where XLA hides what it sends, faster than the second.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jax.experimental import mesh_utils

from zhlm import metrics, sharding
from zhlm.plan import collectives, topologies

ASSUMPTIONS = (
  'products at the peak bfloat16 rate of the data sheet; memory and links at their published bandwidths',
  'a group uses both links of each ring that it spans, one along an open line; axes do not share links',
  'best: arithmetic, memory and each axis at the same time; worst: nothing is sent meanwhile',
  'bytes of the memory: each instruction reads and writes its operands once, VMEM is free (an estimate)',
  'not in it: vector unit, latency, start-up of collectives, input, saving',
)


@dataclasses.dataclass(frozen=True)  # a tuple would be an axis to numpy
class Place:
  """As much of a TPU device as a mesh is laid out by, for chips that no library describes here."""

  id: int
  coords: tuple
  device_kind: str
  platform: str = 'tpu'
  core_on_chip: int = 0
  process_index: int = 0


def places(topology, sizes):
  """Where the chips of one slice stand in a mesh of `sizes` (name -> size, as `make_mesh` lays it out):
  x, y, z for each place, an array [*sizes, 3]. `data` goes over the slices first."""
  kind = topology.chip.device_kind
  x, y, z = topology.grid
  at = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
  chips = [Place(n, coords, kind) for n, coords in enumerate(at)]
  shape = [sizes[a] // (topology.slices if a == 'data' else 1) for a in sharding.MESH_AXES]
  mesh = mesh_utils.create_device_mesh(shape, chips, allow_split_physical_axes=True)
  return np.array([chip.coords for chip in mesh.flat]).reshape(*shape, 3)


def places_of(mesh, topology):
  """The same of a mesh of devices."""
  first = mesh.devices[: mesh.devices.shape[0] // topology.slices]
  return np.array([device.coords for device in first.flat]).reshape(*first.shape, 3)


def bandwidth(axes, where, topology):
  """Bytes/s that a chip can send into its group along these mesh axes, or to the other slices (`dcn`)."""
  if axes == (collectives.DCN,):
    return topology.chip.dcn
  index = tuple(slice(None) if a in axes else 0 for a in sharding.MESH_AXES)
  return topologies.bandwidth(where[index].reshape(-1, 3), topology)


class Estimate(NamedTuple):
  """Seconds a step: of arithmetic, of memory, and of the network by mesh axes. tokens: of the step;
  flops: the model's, of the step, over all devices (what MFU counts)."""

  compute: float
  memory: float
  network: dict
  tokens: int
  flops: float
  devices: int
  peak: float

  @property
  def best(self):
    return max(self.compute, self.memory, *self.network.values(), 0.0)

  @property
  def worst(self):
    return max(self.compute, self.memory) + sum(self.network.values())

  def mfu(self, seconds):
    return self.flops / (seconds * self.devices * self.peak)


def estimate(topology, where, *, executed, traffic, sent, tokens, flops):
  """The Estimate. executed: FLOPs over all devices, recomputation included; traffic: bytes of the memory a
  device; sent: {mesh axes: bytes a device}."""
  peak = metrics.PEAK_FLOPS[topology.chip.device_kind]
  network = {axes: n / bandwidth(axes, where, topology) for axes, n in sent.items() if n}
  return Estimate(
    executed / (topology.size * peak),
    traffic / topology.chip.bandwidth,
    network,
    tokens,
    flops,
    topology.size,
    peak,
  )
