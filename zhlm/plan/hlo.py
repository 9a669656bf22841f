"""The text of a compiled program (HLO), read: instructions, how often each runs, what memory it touches.

XLA's own cost analysis counts the body of a loop once, and a model scans over its layers: here a body
counts as often as the loop turns. Knows no model.
"""

import math
import re
from typing import NamedTuple

BITS = {'pred': 8, 's2': 2, 'u2': 2, 's4': 4, 'u4': 4, 's8': 8, 'u8': 8, 's16': 16, 'u16': 16, 's32': 32}
BITS |= {
  'u32': 32,
  's64': 64,
  'u64': 64,
  'bf16': 16,
  'f16': 16,
  'f32': 32,
  'f64': 64,
  'c64': 64,
  'c128': 128,
}
BITS |= {'f8e4m3fn': 8, 'f8e5m2': 8, 'f8e4m3': 8, 'f8e4m3b11fnuz': 8, 'f8e4m3fnuz': 8, 'f8e5m2fnuz': 8}

_LINE = re.compile(r'\s+(?:ROOT )?%[\w.\-]+ = ')
_ARRAY = re.compile(r'\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?')
_NEAR = re.compile(r'S\([1-9]\d*\)')  # a memory space beside the main memory: VMEM, SMEM, semaphores
_CALLED = re.compile(
  r'\b(?:calls|body|condition|true_computation|false_computation|branch_computations|called_computations|'
  r'async_execution_thread_computation)=(\{[^}]*\}|%[\w.\-]+)'
)
# Instructions that move no data of their own.
_FREE = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while', 'conditional', 'call'}
_FREE |= {'after-all', 'partition-id', 'replica-id', 'add-dependency', 'opt-barrier', 'domain'}


class Instruction(NamedTuple):
  """One line: its name, the text of its shape, its opcode, the names it reads, and the rest of the line."""

  name: str
  shape: str
  op: str
  operands: tuple
  rest: str
  root: bool


class Module(NamedTuple):
  """computations: {name: {name of an instruction: Instruction}} in the text's order; entry: runs first."""

  computations: dict
  entry: str


def _balanced(text, start):
  """The index after the parenthesis that closes the one at `start`."""
  depth = 0
  for i in range(start, len(text)):
    if text[i] == '(':
      depth += 1
    elif text[i] == ')':
      depth -= 1
      if depth == 0:
        return i + 1
  return len(text)


def _instruction(line):
  left, _, right = line.partition(' = ')
  end = _balanced(right, 0) if right.startswith('(') else right.index(' ')
  op, _, _ = right[end:].partition('(')
  start = end + len(op)
  close = _balanced(right, start)
  left = left.split()
  operands = tuple(re.findall(r'%([\w.\-]+)', right[start:close]))
  # A constant's or a parameter's number stands where operands do.
  rest = right[start:] if op.strip() in ('constant', 'parameter') else right[close:]
  name = left[-1].lstrip('%')
  return Instruction(name, right[:end].strip(), op.strip(), operands, rest, left[0] == 'ROOT')


def parse(text):
  """The Module of what `compiled.as_text()` returned."""
  computations, entry, current = {}, '', None
  for line in re.sub(r'/\*.*?\*/', '', text).splitlines():
    if line.endswith('{') and not line.startswith((' ', 'HloModule')):
      head = line.split('(')[0].split()
      name = head[-1].lstrip('%')
      current = computations.setdefault(name, {})
      entry = name if head[0] == 'ENTRY' else entry
    elif line == '}' or line.startswith('}, execution_thread='):  # an attribute's text may have lines, too
      current = None
    elif current is not None and _LINE.match(line):
      one = _instruction(line.strip())
      current[one.name] = one
  return Module(computations, entry)


def size(shape, near=True):
  """The bytes of a shape's text, tuples summed; near=False leaves out what is not in the main memory."""
  bits = 0
  for kind, dims, layout in _ARRAY.findall(shape):
    if kind in BITS and (near or not _NEAR.search(layout)):
      bits += BITS[kind] * math.prod(int(n) for n in dims.split(',') if n)
  return bits // 8


def called(one):
  """The names of the computations that an instruction runs; not the adders of a reduction."""
  found = [name for text in _CALLED.findall(one.rest) for name in re.findall(r'%([\w.\-]+)', text)]
  if one.op == 'call':
    found += re.findall(r'to_apply=%([\w.\-]+)', one.rest)
  return found


def turns(module, one):
  """(how often a while loop turns, whether that is certain).

  XLA:CPU writes it down; XLA:TPU does not, but a scan's condition compares a counter that begins at zero
  with a constant. A loop that may stop earlier turns at most so often. (1, False) where nothing is found.
  """
  if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', one.rest):
    return int(known[1]), True
  condition = re.search(r'condition=%([\w.\-]+)', one.rest)[1]
  names, bounds, plain = [condition], [], True
  for name in names:  # grows while it is walked
    body = module.computations[name]
    for x in body.values():
      names += [child for child in called(x) if child not in names]
      plain &= x.op not in ('and', 'or', 'not', 'fusion')
      if x.op == 'constant' and x.shape.startswith(('s32[]', 'u32[]', 's64[]', 'u64[]')):
        bounds += [int(n) for n in re.findall(r'^\((-?\d+)\)', x.rest)]
  return (max(bounds), plain) if bounds and max(bounds) > 0 else (1, False)


def executions(module):
  """({computation: how often it runs in one execution}, [loops whose number of turns is not certain]).
  Of branches the last runs: those of `zhlm.rollout.narrow` are ever wider, so it is the most there is."""
  times, unsure = dict.fromkeys(module.computations, 0), []

  def walk(name, n):
    times[name] += n
    for one in module.computations[name].values():
      repeats = 1
      if one.op == 'while':
        repeats, sure = turns(module, one)
        if not sure:
          unsure.append(f'{one.name} × {repeats}')
      for child in called(one)[-1:] if one.op == 'conditional' else called(one):
        walk(child, n * repeats)

  walk(module.entry, 1)
  return times, unsure


def fused(module):
  """The names of computations that are the inside of one instruction, where nothing reaches the memory."""
  return {
    child
    for body in module.computations.values()
    for x in body.values()
    if x.op == 'fusion'
    for child in called(x)
  }


def _sliced(module, one, i, whole):
  """The bytes of operand i that a fusion really reads: only the slices, when it does nothing but slice it;
  nothing, when it is the buffer that the result is written into."""
  inside = module.computations[called(one)[0]].values()
  names = {x.name for x in inside if x.op == 'parameter' and x.rest.startswith(f'({i})')}
  while True:  # a bitcast is another name
    more = names | {x.name for x in inside if x.op == 'bitcast' and x.operands and x.operands[0] in names}
    if more == names:
      break
    names = more
  users = [x for x in inside if names & set(x.operands) and x.name not in names]
  read = 0
  for x in users:
    if x.op in ('slice', 'dynamic-slice', 'gather') and x.operands[0] in names:
      read += size(x.shape)
    elif not (x.op == 'dynamic-update-slice' and x.operands[0] in names):
      return whole
  return min(read, whole)


def _written(module, one, whole):
  """The bytes that a fusion really writes: only the part, when it updates a slice of its operand."""
  inside = module.computations[called(one)[0]]
  updates = [x for x in inside.values() if x.op == 'dynamic-update-slice']
  if not updates:
    return whole
  saved = sum(size(x.shape) - size(inside[x.operands[1]].shape) for x in updates)
  return max(whole - saved, 0)


def _moved(module, body, one):
  """Bytes that one instruction outside fusions reads from and writes to the main memory."""
  if one.op in _FREE or one.op.endswith(('-done', '-update')):
    return 0
  out = size(one.shape, near=False)
  reads = [size(body[x].shape, near=False) if x in body else 0 for x in one.operands]
  if one.op == 'fusion':
    out = min(out, _written(module, one, out))
    reads = [n and _sliced(module, one, i, n) for i, n in enumerate(reads)]
  elif one.op.endswith('-start'):
    reads = []  # a start's result names its operands too
  elif one.op in ('slice', 'dynamic-slice', 'gather'):
    reads = [out, *reads[1:]]
  elif one.op in ('dynamic-update-slice', 'scatter'):
    part = size(body[one.operands[1]].shape, near=False) if one.operands[1] in body else out
    out, reads = part, [part]
  return out + sum(reads)


def traffic(module):
  """Bytes read from and written to the main memory in one execution, loops turned: an estimate.

  Each instruction outside a fusion reads its operands and writes its result once; what the compiler keeps
  in a nearer memory (VMEM) is free, and of a slice only the slice counts.
  """
  times, _ = executions(module)
  inner = fused(module)
  bodies = [(times[name], body) for name, body in module.computations.items() if name not in inner]
  return sum(n * _moved(module, body, one) for n, body in bodies if n for one in body.values())
