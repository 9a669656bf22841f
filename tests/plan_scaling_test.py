"""What a layout sends on paper: by hand, against the compiler, and for pods of all sizes."""

import time

import jax
import pytest

from tests import tiny
from zhlm import sharding, stages
from zhlm.errors import InputError
from zhlm.plan import compiled, report, scaling, topologies

EIGHT = topologies.find('cpu-8')


def config(**fields):
  return tiny.config('pretrain', '/nowhere', batch__B=16, optimizer__name='adamw', **fields)


def sizes(**axes):
  return {**dict.fromkeys(sharding.MESH_AXES, 1), **axes}


def boxed(c):
  return jax.eval_shape(stages.make(c).init, jax.random.key(0))


@pytest.mark.parametrize(
  'mesh, fields',
  [
    ({'data': 2, 'tensor': 4}, {}),
    ({'data': 2, 'fsdp': 2, 'sequence': 2}, {}),
    ({'fsdp': 2, 'expert': 4}, dict(model__E=8, model__top=2, model__capacity=1.25)),
  ],
)
def test_bytes_on_paper_are_within_a_factor_of_two_of_the_compiled_program(mesh, fields):
  """As a whole; what is summed over several axes may go over one after the other, so an axis within 2.5."""
  plan = compiled.make(config(**{f'mesh__{a}': n for a, n in mesh.items()}, **fields), EIGHT)
  told = report.record(plan, 'update')
  paper, real = {tuple(axes): n for axes, n in told['paper']}, {}
  for _, axes, _, n in told['collectives']:
    real[tuple(axes)] = real.get(tuple(axes), 0.0) + n
  assert 0.5 < sum(real.values()) / sum(paper.values()) < 2, (paper, real)
  for axis in mesh:
    share = [sum(n / len(axes) for axes, n in x.items() if axis in axes) for x in (paper, real)]
    assert 0.4 < share[1] / share[0] < 2.5, (axis, paper, real)


def test_what_one_weight_sends_is_what_a_hand_counts():
  """`q` of a layer, [D, H, K]: 4-byte elements, an eighth on each of fsdp=8, gathered for the forward pass
  and for the gradient of its input; its own gradient is summed and cut, and summed over data=2."""
  c = config()
  cut = {w.names[-2:]: w for w in scaling.cut(boxed(c), sizes(data=2, fsdp=8)) if w.names[-2] == 'q'}
  q = cut['q', 'w']
  assert q.local == c.model.N * 32 * 8 * 4 / 8 and q.gathered == ('fsdp', 'expert')
  sent = scaling.of_weights(
    {'layers': {'q': {'w': boxed(c)['policy']['layers']['q']['w']}}}, c, sizes(data=2, fsdp=8)
  )
  assert {x.why: x.bytes for x in sent} == {
    'weights gathered': 2 * 7 * 4 * q.local,
    'gradients summed and cut': 7 * 4 * q.local,
    'gradients summed': 2 * 1 / 2 * 4 * q.local,
  }


def test_microbatches_gather_weights_again_and_send_the_same_activations():
  one, four = (config(batch__microbatches=n) for n in (1, 4))
  cut = sizes(fsdp=4, tensor=2)
  sent = [scaling.sent(boxed(c), c, cut, 16, 64) for c in (one, four)]
  assert sent[1]['fsdp',] == pytest.approx(4 * sent[0]['fsdp',])
  assert sent[1]['tensor',] == pytest.approx(sent[0]['tensor',])


def test_slices_send_only_sums_of_gradients_between_each_other_and_those_cut():
  c = config()
  cut = sizes(data=4, fsdp=2)
  whole, two = (scaling.sent(boxed(c), c, cut, 16, 64, slices) for slices in (1, 2))
  assert two['fsdp',] == whole['fsdp',] and set(two) - set(whole) == {('dcn',)}
  # Of 2·(3/4) of the gradient over four: 2·(1/2) inside a slice, 2·(1/2)·(1/2) of it between them.
  assert two['data',] / whole['data',] == pytest.approx(1 / 1.5)
  assert 0.3 < two['dcn',] / whole['data',] < 0.4


def test_a_layout_grows_by_its_own_axes_first_and_then_by_data():
  c = config(mesh__fsdp=8, mesh__tensor=2)
  grown = {n: {a: k for a, k in scaling.layout(c, n).items() if k > 1} for n in (1, 2, 4, 16, 64)}
  assert grown == {
    1: {},
    2: {'tensor': 2},
    4: {'fsdp': 2, 'tensor': 2},
    16: {'fsdp': 8, 'tensor': 2},
    64: {'data': 4, 'fsdp': 8, 'tensor': 2},
  }


def test_a_pod_is_predicted_from_1_to_1024_chips_without_a_compiler():
  from configs import pretrain

  c = pretrain.get_config('size=7b,mesh=v5p_256')
  since = time.process_time()
  told = scaling.on_paper(c, topologies.find('v5p-256'))
  assert time.process_time() - since < 30  # tracing; compiling it takes minutes
  assert [row['devices'] for row in told] == [2**i for i in range(11)]
  for row, more in zip(told, told[1:], strict=False):
    assert more['tokens'] / more['best'] > row['tokens'] / row['best']  # more chips are never slower
    assert more['state'] <= row['state'] and 0 < more['mfu'][0] <= more['mfu'][1] < 1
  pod = next(row for row in told if row['devices'] == 128)
  assert pod['mesh'] == sizes(data=4, fsdp=32)
  # 6.9 B parameters, gathered in bf16 two or three times and their gradients summed and cut, 31/32 of each.
  assert 3 * 2 * 6.9e9 < pod['sent'] < 4.2 * 2 * 6.9e9


def test_simulated_devices_have_no_speed():
  with pytest.raises(InputError, match='published bandwidths, not cpu-8'):
    scaling.on_paper(config(), EIGHT)
