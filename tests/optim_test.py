"""The schedule by value, what decays, and what Muon does to the matrices of a layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, optim
from zhlm.errors import InputError


def config(**fields):
  c = tiny.plain('pretrain').optimizer.copy_and_resolve_references()
  c.update(fields)
  return c


@pytest.fixture(scope='module')
def params():
  """Arrays shaped as a Transformer's weights, without its compile."""
  c = tiny.plain('pretrain')
  shapes = checkpoint.unbox(checkpoint.transformer_shapes(c, 'scalar'))
  rng = np.random.default_rng(0)
  return {'policy': jax.tree.map(lambda x: jnp.array(rng.normal(size=x.shape), jnp.float32), shapes)}


@pytest.mark.parametrize(
  'decay, values',
  [
    ('constant', {0: 0.2, 3: 0.8, 4: 1.0, 9: 1.0, 14: 1.0}),
    ('linear', {0: 0.2, 4: 1.0, 9: 0.55, 14: 0.1, 20: 0.1}),
    ('cosine', {0: 0.2, 4: 1.0, 9: 0.55, 14: 0.1}),
  ],
)
def test_the_rate_warms_up_then_decays_to_its_fraction(decay, values):
  c = config(learning_rate=2.0, warmup_steps=4, decay=decay, final_fraction=0.1)
  rate = optim.schedule(c, steps=14)
  for step, share in values.items():
    assert float(rate(step)) == pytest.approx(2.0 * share, rel=1e-5), step


def test_without_warm_up_the_first_rate_is_the_peak():
  assert float(optim.schedule(config(learning_rate=1.0, warmup_steps=0, decay='linear'), 10)(0)) == 1.0


def names(tree):
  return {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def test_only_matrices_of_layers_decay(params):
  flags = names(optim.decayed(params))
  decayed = {k.split("']['")[2] for k, flag in flags.items() if flag}
  assert decayed == {'q', 'k', 'v', 'o', 'gate', 'up', 'down'}


@pytest.mark.parametrize('name', ['adamw', 'muon'])
def test_weight_decay_pulls_matrices_and_nothing_else(name, params):
  c = config(name=name, learning_rate=0.5, warmup_steps=0, decay='constant', weight_decay=0.1, clip=0.0)
  tx = optim.make(c, 10)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(zeros, tx.init(params), params)
  for k, u in names(updates).items():
    w = names(params)[k]
    pulled = any(f"'{m}'" in k for m in optim.MATRICES)
    np.testing.assert_allclose(u, -0.05 * w if pulled else 0 * w, atol=1e-6, err_msg=k)


def test_muon_makes_the_update_of_each_layer_orthogonal(params):
  c = config(name='muon', learning_rate=1.0, warmup_steps=0, decay='constant', weight_decay=0.0, clip=0.0)
  tx = optim.make(c, 10)
  updates, _ = tx.update(params, tx.init(params), params)
  layers = updates['policy']['layers']
  for name, rows in {'q': 32, 'k': 32, 'v': 32, 'o': 8 * 4, 'gate': 32, 'up': 32, 'down': 64}.items():
    for layer in np.asarray(layers[name]['w']):
      s = np.linalg.svd(layer.reshape(rows, -1), compute_uv=False)
      # Of a random square it would be above 5; the few smallest take more rounds than Muon makes.
      assert s.max() / np.quantile(s, 0.1) < 2, name


def test_the_first_update_of_adam_is_the_sign_times_the_rate(params):
  c = config(name='adamw', learning_rate=0.5, warmup_steps=0, decay='constant', weight_decay=0.0, clip=0.0)
  tx = optim.make(c, 10)
  updates, _ = tx.update(params, tx.init(params), params)
  for k, u in names(updates).items():
    np.testing.assert_allclose(u, -0.5 * np.sign(names(params)[k]), atol=1e-3, err_msg=k)


def test_gradients_are_clipped_by_their_global_norm():
  c = config(
    name='adamw', learning_rate=1.0, warmup_steps=0, decay='constant', eps=1.0, clip=1.0, weight_decay=0.0
  )
  grads = {
    'w': jnp.array([30.0, 40.0])
  }  # norm 50, so 0.6 and 0.8 go in; with eps 1 Adam makes g / (|g| + 1)
  tx = optim.make(c, 10)
  updates, _ = tx.update(grads, tx.init(grads), grads)
  np.testing.assert_allclose(updates['w'], [-0.6 / 1.6, -0.8 / 1.8], rtol=1e-4)


@pytest.mark.parametrize('field', ['name', 'decay'])
def test_an_unknown_name_lists_the_choices(field):
  with pytest.raises(InputError, match=f"optimizer.{field}='what'; choose from"):
    optim.make(config(**{field: 'what'}), 10)


def test_every_matrix_of_a_layer_is_named(params):
  layers = params['policy']['layers']
  assert {k for k in layers if not k.startswith('norm')} == set(optim.MATRICES)
