"""What a compiled program sends: its collectives by kind and by mesh axis, in bytes a device and a step.

Bytes are those that a device must send with the best known algorithm over a group of n: an all-gather
n-1 times its shard, a reduce-scatter (n-1)/n of its input, an all-reduce twice that, an all-to-all
(n-1)/n (Thakur et al. 2005); a permute its operand.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from zhlm.plan import hlo

KINDS = ('all-gather', 'reduce-scatter', 'all-reduce', 'all-to-all', 'collective-permute')
SENT = {
  'all-gather': lambda n: n - 1,
  'reduce-scatter': lambda n: (n - 1) / n,
  'all-reduce': lambda n: 2 * (n - 1) / n,
  'all-to-all': lambda n: (n - 1) / n,
  'collective-permute': lambda n: 1,
}
# What libtpu calls a transfer between slices, over the hosts' network.
_MEGASCALE = {'ALL_REDUCE': 'all-reduce', 'ALL_GATHER': 'all-gather', 'REDUCE_SCATTER': 'reduce-scatter'}
_MEGASCALE |= {'ALL_TO_ALL': 'all-to-all', 'ONE_TO_ONE': 'collective-permute'}
DCN = 'dcn'
_NAMED = re.compile(r'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^)]*\)?)\))? ?\{([^}]*)\}')


class Collective(NamedTuple):
  """One instruction: its kind, the mesh axes it runs over (or `dcn`), the bytes that a device sends each
  time, how often it runs in a step, where it comes from."""

  kind: str
  axes: tuple
  sent: float
  count: int
  source: str


def _iota(text):
  """`[4,2]<=[2,4]T(1,0)` -> an array [4, 2] of positions."""
  shape, dims, order = re.match(r'\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?', text).groups()
  ints = [[int(n) for n in part.split(',')] if part else None for part in (shape, dims, order)]
  ids = np.arange(math.prod(ints[0])).reshape(ints[1] or ints[0])
  return (ids.transpose(ints[2]) if ints[2] else ids).reshape(ints[0])


def _named(axes_text, ids_text, over_text):
  """`mesh['a'=4,'b'=2] {'a'}` -> an array [groups, members]: along `a`, for each place in `b`."""
  sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", axes_text)}
  total = math.prod(sizes.values())
  if not ids_text:
    ids = np.arange(total)
  elif ids_text.startswith('['):
    ids = _iota(f'[{total}]<={ids_text}')
  else:
    ids = np.array([int(n) for n in ids_text.split(',')])
  # An axis may be taken in part: 'a':(2)4 are the 4 in the middle of 2 x 4 x the rest.
  over = {name: part for name, *part in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", over_text)}
  shape, taken = [], []
  for name, n in sizes.items():
    before, part = (int(x) if x else None for x in over.get(name, ('1', '1')))
    before, part = before or 1, part or n
    shape += [before, part, n // (before * part)]
    taken += [False, name in over, False]
  order = sorted(range(len(shape)), key=lambda i: taken[i])  # stable: those taken come last
  members = math.prod(n for n, x in zip(shape, taken, strict=True) if x)
  return ids.reshape(shape).transpose(order).reshape(-1, members)


def groups(rest, devices):
  """The groups of a collective from the text after its operands, as an array [groups, members]: pairs of a
  permute, a list of lists, an iota with a transposition, or a mesh with the names of axes."""
  if pairs := re.search(r'source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}', rest):
    return np.array([[int(a), int(b)] for a, b in re.findall(r'\{(\d+),(\d+)\}', pairs[1])]).reshape(-1, 2)
  if named := _NAMED.search(rest):
    return _named(*named.groups())
  if iota := re.search(r'replica_groups=(\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?)', rest):
    return _iota(iota[1])
  listed = re.search(r'replica_groups=\{((?:\{[\d,]*\},?)*)\}', rest)
  found = [[int(n) for n in g.split(',')] for g in re.findall(r'\{([\d,]+)\}', listed[1])] if listed else []
  return np.array(found or [list(range(devices))])


def axes(found, mesh):
  """The axes of `mesh` (name -> size, positions row-major) along which the members of a group differ."""
  where = np.stack(np.unravel_index(found, tuple(mesh.values())))  # [axis, group, member]
  differs = (where != where[:, :, :1]).any((1, 2))
  return tuple(name for name, d in zip(mesh, differs, strict=True) if d)


def _operands(body, one):
  return sum(hlo.size(body[x].shape) for x in one.operands if x in body)


def _skipped(body, one):
  """Whether this is a later piece of a collective that is counted where it starts. XLA:TPU spreads one over
  the products it hides behind: each piece repeats the instruction, the first with AsyncCollectiveStart."""
  marks = ''.join(x.rest for x in body.values() if x.op == 'custom-call')
  return 'AsyncCollectiveDone' in marks or ('chain_id' in one.rest and 'AsyncCollectiveStart' not in marks)


def read(module, mesh, slices=1):
  """[Collective] of a parsed program on `mesh` (name -> size); `data` goes over the slices first.

  A program for several slices is that of one slice, with what it sends to the others beside.
  """
  mesh = {name: n // (slices if name == 'data' else 1) for name, n in mesh.items()}
  devices = math.prod(mesh.values())
  times, _ = hlo.executions(module)
  inner, found = hlo.fused(module), []
  for name, body in module.computations.items():
    if not times[name]:
      continue
    for one in body.values():
      kind = one.op.removesuffix('-start').removeprefix('ragged-')
      source = re.search(r'op_name="([^"]*)"', one.rest)
      source = source[1] if source else ''
      if one.op == 'send' and (sent := re.search(r'_xla_megascale_transfer_type="(\w+)"', one.rest)):
        kind = _MEGASCALE.get(sent[1], 'collective-permute')
        payload = hlo.size(body[one.operands[0]].shape)
        n = max(slices, 2)
        found.append(Collective(kind, (DCN,), payload * SENT[kind](n), times[name], source))
        continue
      if kind not in KINDS or (name in inner and _skipped(body, one)):
        continue
      if kind == 'all-reduce' and name in inner and any(x.op == 'dynamic-slice' for x in body.values()):
        kind = 'reduce-scatter'  # XLA:TPU writes it as the fusion of both
      members = groups(one.rest, devices)
      if members.shape[1] < 2 or (kind == 'collective-permute' and not len(members)):
        continue
      sent = _operands(body, one) * SENT[kind](members.shape[1])
      found.append(Collective(kind, axes(members, mesh), sent, times[name], source))
  return found


def table(found):
  """{(kind, axes): (how many run in a step, bytes that a device sends in a step)}, the largest first."""
  total = {}
  for one in found:
    count, sent = total.get((one.kind, one.axes), (0, 0))
    total[one.kind, one.axes] = (count + one.count, sent + one.sent * one.count)
  return dict(sorted(total.items(), key=lambda x: -x[1][1]))
