"""Compiled text is read rightly: loops turned, groups in all spellings, bytes as theory has them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from zhlm import devices
from zhlm.plan import collectives, hlo

LOOPS = """HloModule hand, is_scheduled=true, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%inner.cond (p: (s32[], f32[16])) -> pred[] {
  %p = (s32[], f32[16]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %three = s32[] constant(3)
  ROOT %lt = pred[] compare(%i, %three), direction=LT
}

%inner.body (p: (s32[], f32[16])) -> (s32[], f32[16]) {
  %p.1 = (s32[], /*index=1*/f32[16]{0}) parameter(0)
  %x = f32[16]{0} get-tuple-element(%p.1), index=1
  %k = f32[16]{0} custom-call(%x), custom_call_target="tpu_custom_call", frontend_attributes={about={
"lines": "%not = one"
}}, metadata={op_name="kernel"}
  %ar = f32[16]{0} all-reduce(%x), channel_id=1, replica_groups=[2,4]<=[8], to_apply=%add
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  ROOT %t = (s32[], f32[16]{0}) tuple(%i.1, %ar)
}

%outer.cond (p: (s32[], f32[16])) -> pred[] {
  %p.2 = (s32[], f32[16]{0}) parameter(0)
  ROOT %flag = pred[] constant(true)
}

%outer.body (p: (s32[], f32[16])) -> (s32[], f32[16]) {
  %p.3 = (s32[], f32[16]{0}) parameter(0)
  ROOT %w.1 = (s32[], f32[16]{0}) while(%p.3), condition=%inner.cond, body=%inner.body
}

ENTRY %main (x: f32[16], y: bf16[8,4]) -> f32[16] {
  %x.9 = f32[16]{0} parameter(0)
  %y.9 = bf16[8,4]{1,0} parameter(1)
  %g = bf16[64,4]{1,0} all-gather(%y.9), channel_id=2, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %zero = s32[] constant(0)
  %t.9 = (s32[], f32[16]{0}) tuple(%zero, %x.9)
  %w.2 = (s32[], f32[16]{0}) while(%t.9), condition=%outer.cond, body=%outer.body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %r = f32[16]{0} get-tuple-element(%w.2), index=1
}
"""  # noqa: E501


def test_a_loop_in_a_loop_counts_its_body_as_often_as_both_turn():
  module = hlo.parse(LOOPS)
  times, unsure = hlo.executions(module)
  assert module.entry == 'main' and times['inner.body'] == 15 and unsure == []
  found = collectives.read(module, {'data': 2, 'fsdp': 4})
  assert collectives.table(found) == {
    ('all-reduce', ('fsdp',)): (15, 15 * 2 * 3 / 4 * 64),
    ('all-gather', ('data', 'fsdp')): (1, 7 * 64),
  }


def test_of_branches_the_last_is_counted():
  x, widths = jnp.ones((64, 64)), (8, 16, 64)
  branches = [lambda x, w=w: jnp.zeros((64, 64)).at[:w].set(jnp.sin(x[:w] @ x)) for w in widths]
  text = jax.jit(lambda i: jax.lax.switch(i, branches, x + i)).lower(0).compile().as_text()
  module = hlo.parse(text)
  times, _ = hlo.executions(module)
  (one,) = (x for body in module.computations.values() for x in body.values() if x.op == 'conditional')
  assert [times[name] for name in hlo.called(one)] == [0, 0, 1]


def test_a_loop_that_nothing_bounds_is_told():
  module = hlo.parse(LOOPS.replace(', backend_config={"known_trip_count":{"n":"5"}}', ''))
  times, unsure = hlo.executions(module)
  assert times['inner.body'] == 3 and unsure == ['w.2 × 1']


def test_groups_are_the_same_in_every_spelling():
  """Axis 1 of a mesh 2 x 2 x 2: devices 0 and 2, 1 and 3, …"""
  want = [{0, 2}, {1, 3}, {4, 6}, {5, 7}]
  for text in (
    'replica_groups={{0,2},{4,6},{1,3},{5,7}}, dimensions={0}',
    'replica_groups=[4,2]<=[2,2,2]T(0,2,1), use_global_device_ids=true',
    "replica_groups=mesh['a'=2,'b'=2,'c'=2] {'b'}, dimensions={1}",
    "replica_groups=mesh['a'=8] {'a':(2)2}, dimensions={1}",
    "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,2,2]T(0,2,1)) {'b'}, dimensions={1}",
    "replica_groups=mesh['a'=4,'b'=2], device_ids=(0,2,1,3,4,6,5,7) {'b'}, dimensions={1}",
  ):
    got = collectives.groups(text, 8)
    assert sorted(map(sorted, got)) == sorted(map(sorted, want)), text
    assert collectives.axes(got, {'data': 2, 'fsdp': 2, 'tensor': 2}) == ('fsdp',)
  assert collectives.groups('replica_groups={}, dimensions={0}', 4).tolist() == [[0, 1, 2, 3]]
  pairs = collectives.groups('source_target_pairs={{0,1},{1,0},{2,3},{3,2}}, channel_id=1', 4)
  assert collectives.axes(pairs, {'data': 2, 'tensor': 2}) == ('tensor',)


PIECES = """HloModule pieces, num_partitions=4

%start (p: bf16[4]) -> (bf16[4], bf16[16]) {
  %p = bf16[4]{0} parameter(0)
  %ag.1 = bf16[16]{0} all-gather(%p), channel_id=1, replica_groups={{0,1,2,3}}, frontend_attributes={chain_id="0"}
  ROOT %c = (bf16[4]{0}, bf16[16]{0}) custom-call(%ag.1), custom_call_target="AsyncCollectiveStart"
}

%middle (p: bf16[4]) -> bf16[16] {
  %p.1 = bf16[4]{0} parameter(0)
  ROOT %ag.2 = bf16[16]{0} all-gather(%p.1), channel_id=1, replica_groups={{0,1,2,3}}, frontend_attributes={chain_id="0"}
}

%done (p: bf16[4]) -> bf16[16] {
  %p.2 = bf16[4]{0} parameter(0)
  %ag.3 = bf16[16]{0} all-gather(%p.2), channel_id=1, replica_groups={{0,1,2,3}}, frontend_attributes={chain_id="0"}
  ROOT %c.2 = bf16[16]{0} custom-call(%ag.3), custom_call_target="AsyncCollectiveDone"
}

%both (p: f32[8]) -> f32[2] {
  %p.3 = f32[8]{0} parameter(0)
  %ar = f32[8]{0} all-reduce(%p.3), channel_id=2, replica_groups={}, to_apply=%add
  %at = s32[] constant(0)
  ROOT %ds = f32[2]{0} dynamic-slice(%ar, %at), dynamic_slice_sizes={2}
}

ENTRY %main (x: bf16[4], y: f32[8]) -> f32[2] {
  %x = bf16[4]{0} parameter(0)
  %y = f32[8]{0} parameter(1)
  %f.1 = (bf16[4]{0}, bf16[16]{0}) fusion(%x), kind=kCustom, calls=%start
  %f.2 = bf16[16]{0} fusion(%x), kind=kCustom, calls=%middle
  %f.3 = bf16[16]{0} fusion(%x), kind=kCustom, calls=%done
  %token = token[] after-all()
  %s = (f32[8]{0}, u32[], token[]) send(%y, %token), is_host_transfer=true, frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %f.4 = f32[2]{0} fusion(%y), kind=kCustom, calls=%both
}
"""  # noqa: E501


def test_what_a_tpu_compiler_takes_apart_or_together_is_counted_once_as_what_it_is():
  """An all-gather in three pieces, an all-reduce whose result is cut, and a sum between slices."""
  found = collectives.read(hlo.parse(PIECES), {'data': 2, 'fsdp': 4}, slices=2)
  assert collectives.table(found) == {
    ('all-reduce', (collectives.DCN,)): (1, 2 * 1 / 2 * 32),
    ('all-gather', ('fsdp',)): (1, 3 * 8),
    ('reduce-scatter', ('fsdp',)): (1, 3 / 4 * 32),
  }


def test_bytes_of_shapes_count_tuples_and_leave_out_near_memory():
  assert hlo.size('(s32[], bf16[4,8]{1,0:T(8,128)(2,1)}, pred[3])') == 4 + 64 + 3
  near = '(f32[2,64]{1,0:T(8,128)S(1)}, f32[2,64]{1,0:T(8,128)}, u32[]{:S(2)})'
  assert hlo.size(near) == 1_028 and hlo.size(near, near=False) == 512


@pytest.fixture(scope='module')
def mesh():
  return devices.make_mesh({'data': 2, 'fsdp': 4})


def compiled(mesh, f, *args):
  """args: (shape, spec)."""
  shapes = [jax.ShapeDtypeStruct(s, jnp.float32, sharding=NamedSharding(mesh, spec)) for s, spec in args]
  with jax.set_mesh(mesh):
    return jax.jit(f).lower(*shapes).compile()


@pytest.mark.parametrize('layers', [1, 5])
def test_weights_cut_by_fsdp_are_gathered_once_a_layer(mesh, layers):
  """x @ w for each of the layers: (n-1)/n of every weight comes from the others."""

  def f(x_BD, w_NDD):
    def layer(x_BD, w_DD):
      w_DD = jax.lax.with_sharding_constraint(w_DD, P(None, None))
      return jax.lax.with_sharding_constraint(x_BD @ w_DD, P(('data', 'fsdp'))), None

    return jax.lax.scan(layer, x_BD, w_NDD)[0]

  D = 32
  program = compiled(mesh, f, ((64, D), P(('data', 'fsdp'))), ((layers, D, D), P(None, 'fsdp')))
  got = collectives.table(collectives.read(hlo.parse(program.as_text()), dict(mesh.shape)))
  assert {k: sent for k, (_, sent) in got.items()} == {
    ('all-gather', ('fsdp',)): layers * D * D * 4 * 3 / 4
  }


def test_a_sum_over_one_axis_is_an_all_reduce_over_it(mesh):
  def f(x_BD):
    return jnp.sum(x_BD, 0)

  program = compiled(mesh, f, ((8, 64), P('data', 'fsdp')))
  got = collectives.table(collectives.read(hlo.parse(program.as_text()), dict(mesh.shape)))
  assert got == {('all-reduce', ('data',)): (1, 2 * 1 / 2 * 16 * 4)}


def test_traffic_is_that_of_xla_where_nothing_loops_and_grows_with_the_turns():
  one = devices.make_mesh({}, jax.devices()[:1])
  n, D = 7, 64
  weights = ((n, D, D), P())

  def unrolled(x, w):
    for i in range(n):
      x = jnp.tanh(x @ w[i])
    return x

  def rolled(x, w):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

  flat, loop = (compiled(one, f, ((D, D), P()), weights) for f in (unrolled, rolled))
  xla = flat.cost_analysis()['bytes accessed']
  assert hlo.traffic(hlo.parse(flat.as_text())) == pytest.approx(xla, rel=0.25)
  once = loop.cost_analysis()['bytes accessed']
  got = hlo.traffic(hlo.parse(loop.as_text()))
  assert xla == pytest.approx(got, rel=0.5) and got > 2 * once


def test_sending_costs_what_the_best_algorithms_cost():
  """A ring, step by step: shards go round n-1 times; a sum does so twice, with pieces."""
  n, size = 5, 1_000
  rounds = range(n - 1)
  assert collectives.SENT['all-gather'](n) * (size / n) == sum(size / n for _ in rounds)
  assert collectives.SENT['reduce-scatter'](n) * size == pytest.approx(sum(size / n for _ in rounds))
  assert collectives.SENT['all-reduce'](n) * size == pytest.approx(2 * sum(size / n for _ in rounds))
  assert math.isclose(collectives.SENT['all-to-all'](n) * size, size - size / n)
  assert np.isclose(collectives.SENT['collective-permute'](2), 1)
