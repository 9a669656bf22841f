"""The same on paper: what a layout sends, multiplies and keeps, from letters and sizes alone.

Every weight says by its letters how it is cut (`sharding.RULES`), so what is gathered before it multiplies
and over what its gradient is summed; activations say it by theirs. Nothing is compiled:
`tests/plan_scaling_test.py` holds these sums against programs that were.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zhlm import checkpoint, metrics, sharding, stages, train
from zhlm.errors import InputError
from zhlm.plan import collectives, compiled, hlo, roofline, topologies

BATCH = ('data', 'fsdp', 'expert', 'sequence')  # axes that cut tokens: gradients are summed over them


ASSUMPTIONS = (
  'the layout as in the config while there are chips, `data` takes the rest; batch.B grows where it must',
  'memory: weights and state as often as they are used, no activations; nor does `state` hold any',
  "what the optimizer itself sends (Muon's products of cut matrices) is not on paper, only in the compiled",
)


class Sent(NamedTuple):
  """What is sent and why, over which mesh axes, in bytes a device and a step."""

  why: str
  axes: tuple
  bytes: float


class Weight(NamedTuple):
  """A weight as the mesh cuts it: elements on a device, the axes over which it is gathered before a product
  (those of D), those over which only its gradient is summed, and its last names."""

  local: float
  gathered: tuple
  summed: tuple
  names: tuple


def cut(boxed, sizes):
  """[Weight] of a tree of boxed shapes on a mesh of `sizes` (name -> size)."""
  found = []
  for path, box in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=compiled.is_box):
    shape, by = box.value.shape, sharding.mesh_axes(box.names)
    parts = [math.prod(sizes[a] for a in axes) for axes in by]
    by = [axes if n % m == 0 else () for axes, n, m in zip(by, shape, parts, strict=True)]
    taken = {a for axes in by for a in axes}
    local = math.prod(shape) / math.prod(sizes[a] for a in taken)
    gathered = tuple(a for axes, letter in zip(by, box.names, strict=True) if letter == 'D' for a in axes)
    summed = tuple(a for a in BATCH if a not in taken)
    names = tuple(k.key for k in path if isinstance(k, jax.tree_util.DictKey))
    found.append(Weight(local, gathered, summed, names))
  return found


def _uses(names, c):
  """How often a weight is gathered for one microbatch: forward, for the gradient of what it multiplied, and
  where its product is made again; `down`'s is not, for nothing in the block reads it."""
  if names[-1] == 'embed':
    return 1 + 3 * c.tied  # the lookup; the head is made again in any case
  if names[-1] == 'head':
    return 3
  if 'layers' not in names or names[-2].startswith('norm') or names[-1] == 'b':
    return 1
  return 3 if c.remat == 'full' and names[-2] != 'down' else 2


def of_weights(boxed, config, sizes):
  """[Sent] in a step for weights and gradients, both in the type of the products."""
  c, found = config.model, []
  size = lambda axes: math.prod(sizes[a] for a in axes)  # noqa: E731
  width = jnp.dtype(c.dtype).itemsize
  for w in cut(boxed, sizes):
    n, m = size(w.gathered), size(w.summed)
    bytes_each = w.local * width * config.batch.microbatches
    found.append(Sent('weights gathered', w.gathered, _uses(w.names, c) * bytes_each * (n - 1)))
    found.append(Sent('gradients summed and cut', w.gathered, bytes_each * (n - 1)))
    found.append(Sent('gradients summed', w.summed, 2 * bytes_each * (m - 1) / m))
  return found


def of_activations(config, sizes, B, T, networks=1):
  """[Sent] in a step for activations: sums over `tensor`, keys and values over `sequence`, tokens on their
  way to experts and back; forward, backward, and once more where blocks are recomputed."""
  c, again = config.model, config.model.remat == 'full'
  width = jnp.dtype(c.dtype).itemsize
  tokens = B * T / math.prod(sizes[a] for a in BATCH)  # on a device
  t, s, e = sizes['tensor'], sizes['sequence'], sizes['expert']
  x = tokens * c.D * width
  sums = c.N * (4 + again) + 2  # of o and down, of their inputs' gradients; the embedding's and the head's
  kv = 2 * tokens * c.G * c.K / (t if c.G % t == 0 else 1) * width
  slots = tokens * (c.top * c.capacity if c.capacity else c.E) if c.E else 0.0
  found = [
    Sent('activations summed', ('tensor',), networks * sums * x * 2 * (t - 1) / t),
    Sent('keys and values gathered', ('sequence',), networks * c.N * (1 + again) * kv * (s - 1)),
    Sent("keys' gradients summed and cut", ('sequence',), networks * c.N * kv * (s - 1)),
  ]
  if c.E:
    moved = slots * c.D * width * (e - 1) / e
    found.append(Sent('tokens to experts and back', ('expert',), networks * c.N * (4 + 2 * again) * moved))
  return found


def sent(boxed, config, sizes, B, T, slices=1):
  """{mesh axes: bytes a device and a step}. What is summed over slices is first summed and cut inside."""
  total = {}
  for _, axes, n in of_weights(boxed, config, sizes) + of_activations(config, sizes, B, T, len(boxed)):
    axes = tuple(a for a in axes if sizes[a] > 1)
    if not n or not axes:
      continue
    if slices > 1 and 'data' in axes:
      whole = math.prod(sizes[a] for a in axes)
      inside = whole // slices
      payload = n * whole / (2 * (whole - 1))
      axes = tuple(a for a in axes if a != 'data' or sizes['data'] > slices)
      n = 2 * payload * (inside - 1) / inside
      outside = 2 * payload / inside * (slices - 1) / slices
      total[collectives.DCN,] = total.get((collectives.DCN,), 0.0) + outside
    if n:
      total[axes] = total.get(axes, 0.0) + n
  return total


def executed(config, T, head='lm'):
  """FLOPs of a token, with what is made again: blocks where remat is full, the head always."""
  c = config.model
  whole = metrics.flops_per_token(c, T, head)
  of_head = 6.0 * c.V * c.D if head == 'lm' else 0.0
  slots = 1.0
  if c.E:  # experts work on all their slots
    slots = (c.capacity or c.E / c.top) if c.capacity != 1 else 1.0
  experts = 18.0 * c.N * c.D * c.F * c.top if c.E else 0.0
  blocks = whole - of_head + experts * (slots - 1)
  return blocks * (4 / 3 if c.remat == 'full' else 1) + of_head * 4 / 3


def traffic(boxed, config, sizes, optimizer_bytes):
  """Bytes of the memory a device and a step: weights as often as they are used, and the state. Activations
  are left out, so this is less than what a program moves."""
  width = jnp.dtype(config.model.dtype).itemsize
  total = 0.0
  for w in cut(boxed, sizes):
    n = math.prod(sizes[a] for a in w.gathered)
    total += w.local * n * width * (_uses(w.names, config.model) + 1) * config.batch.microbatches
    total += w.local * 4 * 4  # weights and gradients, read and written
  return total + 2 * optimizer_bytes


def layout(config, n):
  """Sizes of the config's mesh on n devices: `tensor`, `expert`, `sequence` and `fsdp` as they are while
  there are devices, in that order; `data` takes the rest. An axis of -1 takes all."""
  sizes, left = dict.fromkeys(sharding.MESH_AXES, 1), n
  for axis in reversed(sharding.MESH_AXES[1:]):
    wanted = config.mesh[axis]
    sizes[axis] = left if wanted == -1 else math.gcd(wanted, left)
    left //= sizes[axis]
  return sizes | {'data': left}


def slice_of(family, n):
  """The Topology of n chips: a slice, slices of the largest size, or 1 or 2 chips, which are not rented."""
  cores, grids = topologies.CHIPS[family].cores, topologies.GRIDS[family]
  largest = max(grids)
  if n in grids:
    return topologies.find(f'{family}-{n * cores}')
  if n > largest and n % largest == 0:
    return topologies.find(f'{family}-{largest * cores}', n // largest)
  if n == 1 or n == 2:
    return topologies.Topology(f'{n} of {family}', topologies.CHIPS[family], (n, 1, 1), (False,) * 3, 1)
  raise InputError(f'no slice of {family} has {n} chips; choose from 1, 2, {", ".join(map(str, grids))}')


def predict(boxed, config, topology, sizes, optimizer_bytes):
  """(roofline.Estimate, sent, B) of an update on paper. B: the config's where it divides over the devices,
  else the next that does; optimizer_bytes: of the optimizer's state, over all devices."""
  c, T = config.model, config.batch.T
  parts = math.prod(sizes[a] for a in sharding.RULES['B']) * config.batch.microbatches
  B = -(-config.batch.B // parts) * parts
  model, real = 0.0, 0.0
  for network in boxed.values():
    if 'layers' not in network:  # a head on another's trunk
      continue
    head = 'scalar' if 'score' in network else 'lm'
    model += B * T * metrics.flops_per_token(c, T, head)
    real += B * T * executed(config, T, head)
  moved = sent(boxed, config, sizes, B, T, topology.slices)
  estimate = roofline.estimate(
    topology,
    roofline.places(topology, sizes),
    executed=real,
    traffic=traffic(boxed, config, sizes, optimizer_bytes / topology.size),
    sent=moved,
    tokens=B * T,
    flops=model,
  )
  return estimate, moved, B


def _compiled(config, topology, sizes, B):
  """{axes: bytes that a device sends in a step} of the compiled update. Raises DoesNotFit."""
  with config.unlocked():
    config.mesh.update(sizes, slices=topology.slices)
    config.batch.B = B
  plan = compiled.make(config, topology)
  program, _ = compiled.compile(plan, 'update')
  total = {}
  for one in collectives.read(hlo.parse(program.as_text()), dict(plan.mesh.shape), topology.slices):
    total[one.axes] = total.get(one.axes, 0.0) + one.sent * one.count
  return [[list(axes), n] for axes, n in total.items()]


def on_paper(config, topology, compile_for=(), most=1_024):
  """[row] for 1, 2, 4 … `most` chips of the topology's kind, the layout kept as `layout` says; a row is a
  dict of numbers, with the bytes of the compiled program for the numbers of chips in `compile_for`.

  Raises InputError for simulated devices, whose bandwidths nobody publishes.
  """
  if topology.chip is None:
    raise InputError(f'--scaling needs chips with published bandwidths, not {topology.name}')
  family = topology.name.split('-')[0]
  stage = stages.make(config)
  boxed = jax.eval_shape(stage.init, jax.random.key(0))
  count = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))  # noqa: E731
  opt = count(jax.eval_shape(train.update(config, stage)[1], checkpoint.unbox(boxed)))
  found, n = [], 1
  while n <= most:
    where = slice_of(family, n)
    sizes = layout(config, n)
    if sizes['data'] % where.slices == 0:
      e, moved, B = predict(boxed, config, where, sizes, opt)
      share = math.prod(sizes[a] for a in ('fsdp', 'expert', 'tensor'))
      row = {'devices': n, 'slices': where.slices, 'mesh': sizes, 'B': B, 'tokens': e.tokens}
      row |= {'state': (opt + count(boxed)) / share, 'usable': where.chip.usable}
      row |= {
        'compute': e.compute,
        'hbm': e.memory,
        'network': [[list(a), x] for a, x in e.network.items()],
      }
      row |= {'sent': sum(moved.values()), 'best': e.best, 'worst': e.worst}
      row |= {'mfu': [e.mfu(e.worst), e.mfu(e.best)], 'compiled': None}
      if n in compile_for:
        row['compiled'] = _compiled(config.copy_and_resolve_references(), where, sizes, B)
      found.append(row)
    n *= 2
  return found
