"""What a layout sends on paper, held against what the compiler made of the real step."""

import pytest

from tests import tiny
from zhlm import sharding
from zhlm.errors import InputError
from zhlm.plan import collectives, compiled, hlo, report, scaling, topologies

EIGHT = topologies.find('cpu-8')


def config(**fields):
  return tiny.config('pretrain', '/nowhere', batch__B=16, optimizer__name='adamw', **fields)


@pytest.mark.parametrize(
  'mesh',
  [
    {'fsdp': 8},
    {'data': 2, 'tensor': 4},
    {'data': 2, 'fsdp': 2, 'sequence': 2},
  ],
)
def test_bytes_on_paper_are_within_a_factor_of_two_of_the_compiled_program(mesh):
  """The whole and what each axis carries, gradients over several axes counted with the first of them."""
  plan = compiled.make(config(**{f'mesh__{a}': n for a, n in mesh.items()}), EIGHT)
  told = report.record(plan, 'update')
  paper = {tuple(axes): n for axes, n in told['paper']}
  real = {}
  for _, axes, _, n in told['collectives']:
    real[tuple(axes)] = real.get(tuple(axes), 0.0) + n
  print(mesh, paper, real)
  assert 0.5 < sum(real.values()) / sum(paper.values()) < 2
  for axis in mesh:
    share = [sum(n / len(axes) for axes, n in x.items() if axis in axes) for x in (paper, real)]
    assert 0.4 < share[1] / share[0] < 2.5, axis
