"""A plan told: one record of numbers a program, and the tables that launch.compile prints of it."""

import math
import time
from pathlib import Path

import jax
from rich import table

from zhlm import disk, metrics
from zhlm.plan import collectives, compiled, flops, hlo, roofline, scaling

GIB = compiled.GIB


def parameters(plan):
  """(all, those that a token meets): with experts it meets only the best `top`."""
  c, total = plan.config.model, metrics.count(plan.state.params)
  idle = 3 * c.D * c.F * c.N * (c.E - c.top) * len(plan.boxed) if c.E else 0
  return total, total - idle


def _tokens(plan, name):
  """(tokens of an execution, of a row): of a batch, or the answers that a rollout writes."""
  args = plan.programs[name][1]
  shapes = {k: x for arg in args if isinstance(arg, dict) for k, x in arg.items() if k == 'tokens'}
  if name == 'update':
    shape = args[1]['tokens'].shape
    return math.prod(shape), shape[-1]
  new = plan.config.rollout.new_tokens
  return shapes['tokens'].shape[0] * new, shapes['tokens'].shape[1] + new


def record(plan, name, folder=None):
  """Compiles one program and reads it: plain numbers, bytes a device and seconds an execution.

  Raises DoesNotFit. `mfu` and `model_flops` are those of an update. folder: where to write its text (HLO).
  """
  config, topology = plan.config, plan.topology
  since = time.time()
  program, memory = compiled.compile(plan, name)
  took = time.time() - since
  text = program.as_text()
  if folder:
    disk.write_text(Path(folder) / f'{name}.hlo', text)
  module = hlo.parse(text)
  found = collectives.table(collectives.read(module, dict(plan.mesh.shape), topology.slices))
  _, unsure = hlo.executions(module)
  function, args = plan.programs[name]
  tokens, T = _tokens(plan, name)
  with jax.set_mesh(plan.mesh):
    executed = flops.count(function, *args)
  model = None
  if name == 'update':
    heads = ['scalar' if 'score' in x else 'lm' for x in plan.boxed.values() if 'layers' in x]
    model = tokens * sum(metrics.flops_per_token(config.model, T, head) for head in heads)
  total, active = parameters(plan)
  told = {
    'program': name,
    'topology': topology.name,
    'slices': topology.slices,
    'devices': topology.size,
    'mesh': {a: n for a, n in plan.mesh.shape.items() if n > 1},
    'parameters': total,
    'active': active,
    'tokens': tokens,
    'model_flops': model,
    'executed_flops': executed,
    'memory': {**memory._asdict(), 'needed': memory.needed},
    'usable': topology.chip.usable if topology.chip else None,
    'collectives': [[kind, list(axes), count, sent] for (kind, axes), (count, sent) in found.items()],
    'paper': [],
    'traffic': hlo.traffic(module),
    'loops_unsure': unsure,
    'kernels': text.count('custom_call_target="tpu_custom_call"'),
    'compile_seconds': took,
  }
  if name == 'update':
    paper = scaling.sent(plan.boxed, config, plan.mesh.shape, tokens // T, T, topology.slices)
    told['paper'] = [[list(axes), sent] for axes, sent in paper.items()]
  if topology.chip:
    sent = {}
    for (_, axes), (_, n) in found.items():
      sent[axes] = sent.get(axes, 0.0) + n
    where = roofline.places_of(plan.mesh, topology)
    e = roofline.estimate(
      topology,
      where,
      executed=executed,
      traffic=told['traffic'],
      sent=sent,
      tokens=tokens,
      flops=model or executed,
    )
    told |= {
      'compute': e.compute,
      'hbm': e.memory,
      'network': [[list(axes), x] for axes, x in e.network.items()],
      'best': e.best,
      'worst': e.worst,
      'mfu': [e.mfu(e.worst), e.mfu(e.best)] if model else None,
    }
  return told


def quantity(x, unit):
  """2_500_000, 'B' -> '2.50 MB'."""
  power = next((p for p in range(5) if abs(x) < 1_000 ** (p + 1)), 5)
  return f'{x / 1_000**power:.2f} {"kMGTP"[power - 1]}{unit}' if power else f'{x:.0f} {unit}'


def gib(x):
  """Bytes as GiB, smaller ones as MiB."""
  return f'{x / GIB:.2f} GiB' if x >= GIB / 100 else f'{x / 2**20:.2f} MiB'


def seconds(x):
  """0.0123 -> '12.3 ms'."""
  if x == 0:
    return '–'
  scale, unit = next((s, u) for s, u in ((1, 's'), (1e-3, 'ms'), (1e-6, 'µs')) if x >= s or s == 1e-6)
  return f'{x / scale:.3g} {unit}' if x / scale < 100 else f'{x / scale:,.0f} {unit}'


def over(axes):
  """['data', 'fsdp'] -> 'data × fsdp'; the network between slices by its name."""
  return 'DCN' if list(axes) == [collectives.DCN] else ' × '.join(axes) or 'one device'


def rows(told):
  """[(what, value)] of a record, in the order in which they are told."""
  m, found = told['memory'], []
  put = lambda what, value: found.append((what, value))  # noqa: E731
  mesh = ' × '.join(f'{a} {n}' for a, n in told['mesh'].items()) or 'one device'
  slices = f' × {told["slices"]} slices' if told['slices'] > 1 else ''
  put('devices', f'{told["topology"]}{slices}: {told["devices"]}; mesh {mesh}')
  total, active = (quantity(told[k], '').strip() for k in ('parameters', 'active'))
  put('parameters', total + (f', of which a token meets {active}' if active != total else ''))
  if told['usable']:
    put('memory a device', f'{gib(m["needed"])} of {gib(told["usable"])}: fits')
    put('  to spare', gib(told['usable'] - m['needed']))
  else:
    put('memory a device', f'{gib(m["needed"])} (simulated devices have no limit)')
  put('  arguments', gib(m['arguments']))
  put('  temporaries', gib(m['temporaries']))
  put('  output beyond what is donated', f'{gib(m["output"] - m["alias"])} ({gib(m["alias"])} donated)')
  put('  program', gib(m['code']))
  put('  beside it (frozen networks, …)', gib(m['beside']))
  if told['model_flops']:
    put('model FLOPs', f'{quantity(told["model_flops"], "FLOP")} for {told["tokens"]:,} tokens')
  put('products with recomputation', quantity(told['executed_flops'], 'FLOP'))
  put('kernels of Pallas (attention)', str(told['kernels']))
  if told['loops_unsure']:
    put('loops that turn at most so often', ', '.join(told['loops_unsure']))
  if 'best' in told:
    put('arithmetic', seconds(told['compute']))
    put('memory', f'{seconds(told["hbm"])} ({quantity(told["traffic"], "B")})')
    for axes, x in told['network']:
      put(f'network, {over(axes)}', seconds(x))
    put('estimate: at best … at worst', f'{seconds(told["best"])} … {seconds(told["worst"])}')
    speed = [told['tokens'] / told[k] for k in ('worst', 'best')]
    put('tokens/s', f'{speed[0]:,.0f} … {speed[1]:,.0f}')
    if told['mfu']:
      put('MFU', f'{told["mfu"][0]:.1%} … {told["mfu"][1]:.1%}')
  return found


def sends(told):
  """[(kind, axes, count, bytes, bytes on paper)] as text, the last on the first row of its axes."""
  paper = {tuple(axes): n for axes, n in told['paper']}
  out = []
  for kind, axes, count, sent in told['collectives']:
    beside = quantity(paper.pop(tuple(axes)), 'B') if tuple(axes) in paper else ''
    out.append((kind, over(axes), f'{count:,.0f}', quantity(sent, 'B'), beside))
  return out + [('', over(axes), '', '', quantity(n, 'B')) for axes, n in paper.items()]


def tables(told):
  """The rich tables of a record."""
  first = table.Table(f'{told["program"]}, compiled ahead of time', 'a device, a step')
  for what, value in rows(told):
    first.add_row(what, value)
  second = table.Table('collective', 'over', 'a step', 'sent a device', 'on paper, all kinds')
  for row in sends(told):
    second.add_row(*row)
  return [first, second] if told['collectives'] or told['paper'] else [first]


def scaling_table(told):
  """The rich table of `scaling.on_paper`."""
  grid = table.Table()
  names = ('chips', 'mesh', 'batch.B', 'state', 'products', 'network', 'sent', 'compiled', 'step', 'MFU')
  for name in names:
    grid.add_column(name, no_wrap=name != 'mesh')
  for row in told:
    mesh = ' × '.join(f'{a} {n}' for a, n in row['mesh'].items() if n > 1) or 'one'
    slices = f'{row["slices"]} slices, ' if row['slices'] > 1 else ''
    compiled_bytes = (
      quantity(sum(n for _, n in row['compiled']), 'B') if row['compiled'] is not None else ''
    )
    grid.add_row(
      f'{row["devices"]:,}',
      slices + mesh,
      f'{row["B"]:,}',
      gib(row['state']) + (' !' if row['state'] > row['usable'] else ''),
      seconds(row['compute']),
      seconds(sum(x for _, x in row['network'])),
      quantity(row['sent'], 'B'),
      compiled_bytes,
      f'{seconds(row["best"])} … {seconds(row["worst"])}',
      f'{row["mfu"][0]:.0%} … {row["mfu"][1]:.0%}',
    )
  return grid


def assumptions(topology, on_paper=False):
  """What the estimates rest on, a line each."""
  chip = topology.chip
  if chip is None:
    return ['simulated devices: no bandwidths, so no times']
  peak = metrics.PEAK_FLOPS[chip.device_kind]
  facts = (
    f'{chip.device_kind}: {peak / 1e12:.0f} TFLOP/s, memory {chip.bandwidth / 1e9:,.0f} GB/s and '
    f'{gib(chip.usable)} for a program, a link {chip.link / 1e9:.0f} GB/s each way, '
    f'between slices {chip.dcn / 1e9:.2f} GB/s a chip; published, not measured'
  )
  return [facts, *(scaling.ASSUMPTIONS if on_paper else ()), *roofline.ASSUMPTIONS]
