"""How letters become shardings, and what is said of sizes that do not divide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from zhlm import devices, sharding
from zhlm.errors import InputError


def mesh(data=1, fsdp=1, tensor=1, **more):
  return devices.make_mesh({'data': data, 'fsdp': fsdp, 'tensor': tensor, **more})


@pytest.mark.parametrize(
  'letters, spec',
  [
    ('DF', P(('fsdp', 'expert'), 'tensor')),
    ('FD', P('tensor', ('fsdp', 'expert'))),
    ('NDHK', P(None, ('fsdp', 'expert'), 'tensor', None)),
    ('NEDF', P(None, 'expert', 'fsdp', 'tensor')),  # E has taken expert
    ('BTD', P(('data', 'fsdp', 'expert'), 'sequence', None)),  # the batch has taken fsdp
    ('BTF', P(('data', 'fsdp', 'expert'), 'sequence', 'tensor')),
    ('EBLD', P('expert', ('data', 'fsdp'), None, None)),
    ('BSGK', P(('data', 'fsdp', 'expert'), None, 'tensor', None)),  # keys are gathered over T
    ('V_', P('tensor', None)),
    ('FH', P('tensor', None)),  # an axis of the mesh is used once
  ],
)
def test_letters_make_the_spec(letters, spec):
  assert sharding.spec(letters) == spec


@pytest.mark.parametrize(
  'sizes, shape',
  [((1, 1, 1), (1, 1, 1)), ((-1, 1, 1), (8, 1, 1)), ((2, -1, 2), (2, 2, 2)), ((2, 1, 2), (2, 1, 2))],
)
def test_a_mesh_takes_the_first_devices_it_needs(sizes, shape):
  m = mesh(*sizes)
  assert tuple(m.shape[a] for a in ('data', 'fsdp', 'tensor')) == shape
  assert m.axis_types == (AxisType.Auto,) * 5 and m.size == np.prod(shape)
  assert list(m.devices.flat) == jax.devices()[: np.prod(shape)]


@pytest.mark.parametrize('sizes', [(3, 1, 1), (16, 1, 1), (3, -1, 1), (0, 1, 1), (-2, 1, 1), (-1, -1, 1)])
def test_a_mesh_that_does_not_divide_the_devices_is_refused(sizes):
  with pytest.raises(InputError, match=f'data={sizes[0]}'):
    mesh(*sizes)


def test_a_batch_that_does_not_divide_the_mesh_is_refused():
  devices.check_batch(mesh(2, 2, 2), 12, 7, 3)
  with pytest.raises(InputError, match='batch.B=10 .* 4 devices .*; choose a multiple of 4'):
    devices.check_batch(mesh(2, 2, 2), 10, 8, 1)
  with pytest.raises(InputError, match='batch.microbatches=2; choose a multiple of 8'):
    devices.check_batch(mesh(2, 2, 2), 12, 8, 2)
  with pytest.raises(InputError, match='batch.B=12 .* 8 devices'):
    devices.check_batch(mesh(2, 2, expert=2), 12, 8, 1)
  with pytest.raises(InputError, match='batch.T=7 does not divide over mesh.sequence=2'):
    devices.check_batch(mesh(sequence=2), 8, 7, 1)


def test_slices_that_are_not_there_are_refused():
  with pytest.raises(InputError, match='not of so many slices'):
    mesh(data=2, slices=2)
  with pytest.raises(InputError, match='data=1 is not a multiple of mesh.slices=2'):
    mesh(fsdp=2, slices=2)


def test_an_activation_that_an_axis_does_not_divide_stays_whole_there():
  x = jnp.ones((8, 1, 4))  # one token of a decoding step
  with jax.set_mesh(mesh(data=2, sequence=4)):
    y = jax.jit(lambda x: sharding.constrain(x * 1, 'BTD'))(x)
  assert y.addressable_shards[0].data.shape == (4, 1, 4)


def test_an_axis_that_does_not_divide_is_refused_but_few_kv_heads_are_copied():
  m = mesh(1, 2, 4)
  assert sharding.sharding(m, 'NDGK', (2, 32, 4, 8)).spec == P(None, ('fsdp', 'expert'), 'tensor', None)
  few = sharding.sharding(m, 'NDGK', (2, 32, 2, 8)).spec
  assert few == P(None, ('fsdp', 'expert'), None, None)
  with pytest.raises(InputError, match='model.H=6 does not divide over tensor = 4'):
    sharding.sharding(m, 'NDHK', (2, 32, 6, 8))
  with pytest.raises(InputError, match='model.D=33 does not divide over fsdp x expert = 2'):
    sharding.sharding(m, 'DF', (33, 4))


def test_constrain_cuts_under_a_mesh_and_is_nothing_without_one():
  x = jnp.arange(64.0).reshape(8, 2, 4)
  assert sharding.constrain(x, 'BTF') is x
  with jax.set_mesh(mesh(2, 2, 2)):
    y = jax.jit(lambda x: sharding.constrain(x * 1, 'BTF'))(x)
  assert y.addressable_shards[0].data.shape == (2, 2, 2)
  np.testing.assert_array_equal(x, y)


def test_put_batch_cuts_host_rows_and_leaves_device_arrays():
  m = mesh(2, 2, 2)
  there = jnp.ones(3)
  out = devices.put_batch(m, {'tokens': np.arange(16).reshape(8, 2), 'there': there})
  assert out['there'] is there
  assert out['tokens'].sharding.spec == P(('data', 'fsdp', 'expert'))
  assert {s.data.shape for s in out['tokens'].addressable_shards} == {(2, 2)}
  np.testing.assert_array_equal(out['tokens'], np.arange(16).reshape(8, 2))
