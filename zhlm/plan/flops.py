"""The multiplications and additions that a traced program really does, recomputation included.

Counted in the jaxpr, before XLA cuts it over devices: loops turned, both halves of every product. What is
no product (softmax, norms, the optimizer) is not counted: a matrix unit does not do it.
"""

import math

import jax
from jax.extend import core


def _product(one):
  """2·(size of the result)·(what is summed over)."""
  (over, _), _ = one.params['dimension_numbers']
  left = one.invars[0].aval.shape
  return 2 * math.prod(one.outvars[0].aval.shape) * math.prod(left[i] for i in over)


def _inner(value):
  """The jaxprs in a parameter of an equation."""
  if isinstance(value, core.ClosedJaxpr):
    return [value.jaxpr]
  if isinstance(value, core.Jaxpr):
    return [value]
  if isinstance(value, (tuple, list)):
    return [x for part in value for x in _inner(part)]
  return []


def _turns(one):
  """How often a `while` loop turns at most: the constant with which its condition compares a counter."""
  compared = [x for x in one.params['cond_jaxpr'].jaxpr.eqns if x.primitive.name in ('lt', 'gt')]
  bounds = [int(v.val) for x in compared for v in x.invars if isinstance(v, core.Literal)]
  return max(bounds, default=1)


def of_jaxpr(jaxpr):
  """FLOPs of one execution, over all devices."""
  total = 0
  for one in jaxpr.eqns:
    name = one.primitive.name
    if name == 'dot_general':
      total += _product(one)
    elif name == 'pallas_call':
      grid = math.prod(n for n in one.params['grid_mapping'].grid if isinstance(n, int))
      total += grid * of_jaxpr(one.params['jaxpr'])
    elif name == 'cond':
      total += max(of_jaxpr(x) for x in _inner(one.params['branches']))
    else:
      times = 1
      if name == 'scan':
        times = one.params['length']
      elif name == 'while':
        times = _turns(one)
      elif name == 'shard_map':  # its shapes are one device's
        times = one.params['mesh'].size
      total += times * sum(of_jaxpr(x) for value in one.params.values() for x in _inner(value))
  return total


def count(f, *args):
  """FLOPs of the products of f(*args), over all devices; args may be abstract."""
  return of_jaxpr(jax.make_jaxpr(f)(*args).jaxpr)
