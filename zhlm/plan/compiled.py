"""The programs of a config, compiled ahead of time for devices that nobody holds, and the memory they take.

What is compiled is what trains, `train.update`: the state donated and cut as `checkpoint` cuts it, the
batch cut as `put_batch` cuts it. Nothing is allocated.
"""

import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import NamedSharding

from zhlm import checkpoint, devices, layout, optim, sharding, stages, train
from zhlm.errors import InputError
from zhlm.plan import topologies

GIB = topologies.GIB


class Plan(NamedTuple):
  """A config on a topology. boxed: the trained networks' shapes with their letters; state: a train.State of
  shapes with shardings; frozen: those of networks that lie beside it; programs: {name: (jitted function,
  arguments with shardings)}, the update first."""

  config: object
  topology: topologies.Topology
  mesh: jax.sharding.Mesh
  boxed: dict
  state: train.State
  frozen: dict
  programs: dict


class DoesNotFit(Exception):
  """The one line that says by how much, and what to try."""

  def __init__(self, plan, name, needed, who):
    usable = plan.topology.chip.usable
    super().__init__(
      f'does not fit: {name} needs {needed / GIB:.2f} GiB of {usable / GIB:.2f} GiB per device ({who}): '
      f'{(needed - usable) / GIB:.2f} GiB too much; try {advice(plan)}'
    )


class Memory(NamedTuple):
  """Bytes a device: what a compiled program takes, and `beside`, what else must stay while it runs."""

  arguments: int
  output: int
  alias: int  # of the output, written over donated arguments
  temporaries: int
  code: int
  beside: int

  @property
  def needed(self):
    return self.arguments + self.output - self.alias + self.temporaries + self.code + self.beside


def _bytes(leaf):
  return jnp.dtype(leaf.dtype).itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))


def bytes_each(tree):
  """The bytes that a tree of shapes with shardings has on one device."""
  return sum(_bytes(x) for x in jax.tree.leaves(tree))


def is_box(x):
  """Whether x is a weight's shape with its letters."""
  return isinstance(x, nn.LogicallyPartitioned)


def _cut(boxed):
  """Shapes with shardings on the current mesh: weights by their letters, the rest whole."""
  of = checkpoint.shardings(boxed)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), checkpoint.unbox(boxed), of
  )


def _rows(tree):
  by_row = NamedSharding(jax.sharding.get_mesh(), sharding.spec('B'))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_row), tree)


def _argument(tree):
  """Of a stage's program: networks are boxed, a batch of data has rows, a key or a number is whole."""
  networks = any(map(is_box, jax.tree.leaves(tree, is_leaf=is_box)))
  return _rows(tree) if not networks and isinstance(tree, dict) else _cut(tree)


def make(config, topology):
  """The Plan. Raises InputError for a mesh that is not the topology's, or a batch that does not divide."""
  mesh = devices.make_mesh(config.mesh, topologies.devices(topology))
  if mesh.size != topology.size:
    raise InputError(
      f'the mesh has {mesh.size} devices, {topology.name}{f" x {topology.slices}" * (topology.slices > 1)} '
      f'has {topology.size}: choose sizes with that product, such as --config.mesh.fsdp=-1'
    )
  devices.check_batch(mesh, **config.batch)
  # Shapes are traced before the mesh is set: on devices that are not there, not even a zero can be made.
  stage = stages.make(config)
  step, fresh = train.update(config, stage)
  params = jax.eval_shape(stage.init, jax.random.key(config.seed))
  batch, others = stage.shapes(), stage.programs()
  with jax.set_mesh(mesh):
    rest = layout.made_from(fresh, _cut(params))
    state = train.State(_cut(jax.ShapeDtypeStruct((), jnp.int32)), _cut(params), **rest)
    programs = {'update': (step, (state, _rows(batch)))}
    programs |= {k: (function, tuple(map(_argument, args))) for k, (function, args) in others.items()}
  given = [x for _, args in programs.values() for x in args if isinstance(x, dict)]
  frozen = {k: v for networks in given for k, v in networks.items() if k in stage.frozen}
  return Plan(config, topology, mesh, params, state, frozen, programs)


def resident(plan):
  """Bytes a device of what lives through the whole run: the state and the frozen networks."""
  return bytes_each(plan.state) + bytes_each(plan.frozen)


def beside(plan, name):
  """Bytes a device of the state and the frozen networks that are no arguments of this program."""
  _, args = plan.programs[name]
  if name == 'update':
    return bytes_each(plan.frozen)
  given = {k for x in args if isinstance(x, dict) for k in x}
  params = {k: x for k, x in plan.state.params.items() if k not in given}
  frozen = {k: x for k, x in plan.frozen.items() if k not in given}
  return bytes_each((plan.state._replace(params=params), frozen))


def at_least(plan):
  """Bytes a device that an update takes at one of two moments, whichever is more, in any case:

  when all gradients are there, in the type of the products (their norm is taken before the first is used);
  and when the forward pass has ended, with the input of every block of every network, which not even full
  recomputation drops. Over microbatches the gradients' float32 sums are there all the time.
  """
  c, mesh = plan.config, plan.mesh.shape
  width, parts = jnp.dtype(c.model.dtype).itemsize, c.batch.microbatches
  trained, _ = optim.split(plan.state.params, c.model.lora_rank > 0)
  elements = sum(_bytes(x) // x.dtype.itemsize for x in jax.tree.leaves(trained))
  tokens = math.prod(plan.programs['update'][1][1]['tokens'].shape) // parts
  tokens //= math.prod(mesh[a] for letter in 'BT' for a in sharding.RULES[letter])
  inputs = len(plan.boxed) * c.model.N * tokens * c.model.D * width
  if parts > 1:
    return resident(plan) + 4 * elements + inputs
  return resident(plan) + max(width * elements, inputs)


def check(plan):
  """Raises DoesNotFit, before anything is compiled, when not even what is certain fits."""
  if plan.topology.chip and (needed := at_least(plan)) > plan.topology.chip.usable:
    raise DoesNotFit(plan, 'the update', needed, 'at the least: state, and gradients or inputs of blocks')


def advice(plan):
  """What makes a plan smaller, in the order in which it costs speed."""
  c, mesh, tips = plan.config, plan.mesh.shape, []
  usable, state = plan.topology.chip.usable, resident(plan)
  rows = c.batch.B // (math.prod(mesh[a] for a in sharding.RULES['B']) * c.batch.microbatches)
  if state > 0.5 * usable:
    cut = mesh['fsdp']
    wanted = cut * 2 ** max(1, math.ceil(math.log2(state / (0.5 * usable))))
    tips.append(f'mesh.fsdp={wanted} on more chips (the state alone is {state / GIB:.2f} GiB)')
    if c.optimizer.name == 'adamw':
      tips.append('optimizer.name=adafactor')
  if c.model.remat != 'full':
    tips.append('model.remat=full')
  if rows > 1:
    tips.append(f'batch.microbatches={2 * c.batch.microbatches} ({rows} rows a device at once now)')
  else:
    tips.append('mesh.tensor or mesh.sequence (a device has one row at a time), or a shorter batch.T')
  return ', '.join(tips)


def out_of_memory(message):
  """(bytes needed, whether with arguments) from XLA's message when memory runs out; None for others."""
  if 'RESOURCE_EXHAUSTED' not in message:
    return None
  units = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
  for pattern, whole in (
    (r'Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm', True),
    (r'HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds', False),
  ):
    if found := re.search(pattern, message):
      return float(found[1]) * units[found[2]], whole
  return math.inf, True


def chosen(plan, name):
  """The names of the programs that `name` asks for: one, or `all`. InputError lists them."""
  if name != 'all' and name not in plan.programs:
    raise InputError(
      f'{plan.config.stage} has no program {name!r}; choose from {", ".join(plan.programs)}, all'
    )
  return list(plan.programs) if name == 'all' else [name]


def compile(plan, name):  # noqa: A001
  """(the compiled program, its Memory). Raises DoesNotFit when the devices' memory does not hold it."""
  function, args = plan.programs[name]
  other = beside(plan, name)
  with jax.set_mesh(plan.mesh):
    lowered = function.lower(*args)
    try:
      program = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
      found = out_of_memory(str(e))
      if found is None:
        raise
      needed, whole = found
      needed += other + (0 if whole else bytes_each(args))
      raise DoesNotFit(plan, name, needed, 'by the compiler') from e
  m = program.memory_analysis()
  memory = Memory(
    m.argument_size_in_bytes,
    m.output_size_in_bytes,
    m.alias_size_in_bytes,
    m.temp_size_in_bytes,
    m.generated_code_size_in_bytes,
    other,
  )
  if plan.topology.chip and memory.needed > plan.topology.chip.usable:
    raise DoesNotFit(plan, name, memory.needed, 'compiled, with the networks beside it')
  return program, memory
