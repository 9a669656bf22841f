"""The schedule by value, what decays, what trains, each optimizer by its equations, its state on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from zhlm import checkpoint, devices, layout, lora, losses, optim, sharding, train
from zhlm.errors import InputError

NAMES = ['adamw', 'adamw_tf', 'muon', 'adafactor', 'lion', 'schedule_free']

# A network with all that one may have, by its axes' letters. R is a LoRA's rank; experts are in `down`.
LETTERS = {
  'embed': 'VD',
  'head': 'DV',
  'score': 'D',
  'score_bias': '_',
  'norm': {'w': '_'},
  'layers': {
    'norm_attention': {'w': 'N_'},
    'norm_q': {'w': 'N_'},
    'q': {'w': 'NDHK', 'b': 'NHK', 'lora_a': 'NDR', 'lora_b': 'NRHK'},
    'o': {'w': 'NHKD', 'b': 'ND', 'lora_a': 'NHKR', 'lora_b': 'NRD'},
    'experts': {
      'router': {'w': 'NDE'},
      'down': {'w': 'NEFD', 'lora_a': 'NEFR', 'lora_b': 'NERD'},
    },
  },
}
# D and F are large enough that Adafactor keeps rows and columns, and alike, so that it cannot be seen from
# a shape which of the two is gone.
SIZES = {'V': 32, 'D': 128, 'F': 128, 'N': 2, 'H': 8, 'K': 4, 'E': 8, 'R': 2, '_': 16}
MATRICES = {'q', 'o', 'router', 'down'}


def config(mup_D=0, **fields):
  """A small config: rate 0.5 from the first step, no clipping, no decay, unless `fields` say else."""
  c = tiny.plain('pretrain')
  c.steps = 10
  c.optimizer.update({'learning_rate': 0.5, 'warmup_steps': 0, 'decay': 'constant', 'clip': 0.0})
  c.optimizer.update({'weight_decay': 0.0, **fields})
  c.model.D, c.model.mup_D = SIZES['D'], mup_D
  return c


def tree(make):
  return {'policy': jax.tree.map(lambda letters: make([SIZES[x] for x in letters]), LETTERS)}


@pytest.fixture(scope='module')
def params():
  rng = np.random.default_rng(0)
  return tree(lambda shape: jnp.array(rng.normal(size=shape), jnp.float32))


def names(tree):
  return {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def is_matrix(name):
  return any(f"'{m}'" in name for m in MATRICES) and "['b']" not in name


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
  rate = optim.schedule(c.optimizer, steps=14)
  for step, share in values.items():
    assert float(rate(step)) == pytest.approx(2.0 * share, rel=1e-5), step


def test_without_warm_up_the_first_rate_is_the_peak():
  c = config(learning_rate=1.0, warmup_steps=0, decay='linear')
  assert float(optim.schedule(c.optimizer, 10)(0)) == 1.0


def test_a_rate_holds_for_the_updates_of_a_rollout():
  """Linear to 0 by rollout: 1 - (u - 1)/U in its u-th of U, as OpenAI's code of 2019 has it."""
  rate = optim.schedule(config(learning_rate=1.0, decay='linear', rate_every=4).optimizer, steps=12)
  assert [float(rate(i)) for i in range(12)] == pytest.approx([1] * 4 + [2 / 3] * 4 + [1 / 3] * 4)
  with pytest.raises(InputError, match='rate_every=0'):
    optim.schedule(config(rate_every=0).optimizer, steps=12)


def test_the_first_step_of_tensorflows_adam_is_smaller(params):
  """lr·√(1-b2)/(1-b1) · g(1-b1)/(|g|√(1-b2) + eps), and later steps by a plain loop."""
  b1, b2, eps = 0.9, 0.999, 1e-5
  tx = optim.make(config(name='adamw_tf', b1=b1, b2=b2, eps=eps, learning_rate=0.5))
  state, rng = tx.init(params), np.random.default_rng(1)
  m = v = 0.0
  for t in range(1, 4):
    grads = jax.tree.map(lambda x: jnp.array(1e-4 * rng.normal(size=x.shape), jnp.float32), params)
    updates, state = tx.update(grads, state, params)
    g = np.asarray(grads['policy']['norm']['w'], np.float64)
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    want = -0.5 * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
    np.testing.assert_allclose(updates['policy']['norm']['w'], want, rtol=1e-4)
    if t == 1:
      root = np.sqrt(1 - b2)
      first = 0.5 * root / (1 - b1) * g * (1 - b1) / (np.abs(g) * root + eps)
      np.testing.assert_allclose(-want, first, rtol=1e-9)
      assert (np.abs(want) < 0.3).all()  # Adam's would be 0.5


def test_only_matrices_of_layers_decay(params):
  for name, flag in names(optim.decayed(params)).items():
    assert flag == is_matrix(name), name


@pytest.mark.parametrize('name', NAMES)
def test_weight_decay_pulls_matrices_and_nothing_else(name, params):
  """Each optimizer by rate x weight_decay x w, where there is no gradient."""
  tx = optim.make(config(name=name, weight_decay=0.1))
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = jax.jit(tx.update)(zeros, tx.init(params), params)
  for k, u in names(updates).items():
    w = names(params)[k]
    np.testing.assert_allclose(u, -0.05 * w if is_matrix(k) else 0 * w, atol=3e-6, err_msg=k)


def test_muon_makes_the_update_of_every_layer_and_expert_orthogonal(params):
  tx = optim.make(config(name='muon', learning_rate=1.0))
  updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
  layers = updates['policy']['layers']
  layers |= layers['experts']
  # (matrices, rows) of a weight
  shapes = {('q', 'w'): (2, 128), ('o', 'w'): (2, 32), ('router', 'w'): (2, 128), ('down', 'w'): (16, 128)}
  shapes |= {('q', 'lora_a'): (2, 128), ('q', 'lora_b'): (2, 2), ('o', 'lora_a'): (2, 32)}
  for (name, kind), (many, rows) in shapes.items():
    for matrix in np.asarray(layers[name][kind]).reshape(many, rows, -1):
      s = np.linalg.svd(matrix, compute_uv=False)
      # Of a random square it would be above 5; the few smallest take more rounds than Muon makes.
      assert s.max() / np.quantile(s, 0.1) < 2, name


def test_the_first_update_of_muon_is_that_of_optax(params):
  """Whose moments differ in the next steps only: it divides them by what they lack at the start."""
  params = {'policy': {'layers': {k: {'w': params['policy']['layers'][k]['w']} for k in 'qo'}}}
  axes = {'q': optax.contrib.MuonDimensionNumbers((1,), (2, 3))}
  axes |= {'o': optax.contrib.MuonDimensionNumbers((1, 2), (3,))}
  axes = {'policy': {'layers': {k: {'w': v} for k, v in axes.items()}}}
  optaxs = optax.contrib.muon(0.5, muon_weight_dimension_numbers=axes)
  ours = optim.make(config(name='muon'))
  a, b = (jax.jit(tx.update)(params, tx.init(params), params)[0] for tx in (ours, optaxs))
  for k, x in names(a).items():
    np.testing.assert_allclose(x, names(b)[k], atol=2e-5, err_msg=k)


@pytest.mark.parametrize('letters, shape', [('NEDF', (3, 4, 8, 16)), ('NDF', (3, 8, 16))])
def test_on_a_mesh_whole_layers_are_traded_and_none_is_gathered(letters, shape):
  """Three layers over four pieces of each expert's matrix, or eight: some devices have nothing to do."""
  x = jnp.array(np.random.default_rng(0).normal(size=shape), jnp.float32)

  def both(x):  # sums along the rows tell their order
    return optim.orthogonal(x, 'D', 'F'), layout.by_layer(lambda x: jnp.cumsum(x, -2), x, letters)

  alone = both(x)
  mesh = devices.make_mesh({'fsdp': 2, 'expert': 2, 'tensor': 2})
  with jax.set_mesh(mesh):
    x = jax.device_put(x, sharding.sharding(mesh, letters, x.shape))
    program = jax.jit(both).lower(x).compile()
  for y, y_alone in zip(program(x), alone, strict=True):
    np.testing.assert_allclose(y, y_alone, atol=1e-5)
    assert y.sharding == x.sharding
  assert 'all-to-all' in program.as_text() and 'all-gather' not in program.as_text()


@pytest.mark.parametrize('name', ['adamw', 'lion'])
def test_the_first_update_is_the_sign_times_the_rate(name, params):
  tx = optim.make(config(name=name, eps=1e-12))
  updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
  for k, u in names(updates).items():
    np.testing.assert_allclose(u, -0.5 * np.sign(names(params)[k]), atol=1e-3, err_msg=k)


def test_adafactor_divides_by_rows_and_columns(params):
  """Shazeer & Stern 2018, algorithms 4 and 5, at its first step, where the moments are those of g."""
  g_DV = jnp.array(np.random.default_rng(1).normal(size=(128, 256)), jnp.float32) ** 3
  tx = optim.make(config(name='adafactor'))
  update, _ = tx.update({'head': g_DV}, tx.init({'head': g_DV}), {'head': g_DV})
  g = np.asarray(g_DV, np.float64)
  row, column = (g**2).sum(1), (g**2).sum(0)
  u = g / np.sqrt(np.outer(row, column) / row.sum())
  u /= max(1, np.sqrt((u**2).mean()))
  np.testing.assert_allclose(update['head'], -0.5 * u, rtol=1e-4)


def test_schedule_free_holds_the_average_and_looks_between_it_and_its_own():
  """Defazio et al. 2024, algorithm 1, by a plain loop; the weights are x, the gradient is taken at y."""
  c = config(
    name='schedule_free', learning_rate=0.1, b1=0.9, b2=0.5, eps=1e-8, warmup_steps=2
  ).copy_and_resolve_references()
  tx = optim.make(c)
  params = {'w': jnp.array([1.0, -2.0, 3.0])}
  opt, rate = tx.init(params), optim.schedule(c.optimizer, 10)
  x = z = np.array([1.0, -2.0, 3.0])
  v, total, peak = np.zeros(3), 0.0, 0.0
  for t in range(1, 7):
    y = 0.1 * z + 0.9 * x
    at = optim.gradient_at(opt, params)
    np.testing.assert_allclose(at['w'], y, rtol=1e-5)
    g = np.sin(3 * y)
    updates, opt = tx.update({'w': jnp.sin(3 * at['w'])}, opt, params)
    params = jax.tree.map(jnp.add, params, updates)
    v = 0.5 * v + 0.5 * g**2
    z = z - float(rate(t - 1)) * g / (np.sqrt(v / (1 - 0.5**t)) + 1e-8)
    peak = max(peak, float(rate(t)))
    total += peak**2
    x = (1 - peak**2 / total) * x + peak**2 / total * z
    np.testing.assert_allclose(params['w'], x, rtol=1e-5)
  assert np.abs(x - z).max() > 0.01  # it is an average


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'schedule_free'])
def test_other_optimizers_look_at_the_weights_themselves(name, params):
  tx = optim.make(config(name=name, clip=1.0))
  assert optim.gradient_at(tx.init(params), params) is params


def test_gradients_are_clipped_by_their_global_norm():
  grads = {'w': jnp.array([30.0, 40.0])}  # norm 50: 0.6 and 0.8 go in; with eps 1 Adam makes g / (|g| + 1)
  tx = optim.make(config(name='adamw', learning_rate=1.0, eps=1.0, clip=1.0))
  updates, _ = tx.update(grads, tx.init(grads), grads)
  np.testing.assert_allclose(updates['w'], [-0.6 / 1.6, -0.8 / 1.8], rtol=1e-4)


@pytest.mark.parametrize('field, value', [('name', 'sgd'), ('decay', 'what')])
def test_an_unknown_name_lists_the_choices(field, value):
  with pytest.raises(InputError, match=f"optimizer.{field}='{value}'; choose from"):
    optim.make(config(**{field: value}))


def test_every_matrix_of_a_layer_is_named():
  shapes = checkpoint.unbox(checkpoint.transformer_shapes(tiny.plain('pretrain'), 'lm'))
  layers = {k for k in shapes['layers'] if not k.startswith('norm')}
  assert layers == set(optim.MATRICES) - {'router'}


# What trains


def test_with_adapters_only_they_and_a_scalar_head_train(params):
  trained, frozen = optim.split(params, adapters=True)
  assert names(trained).keys() == {k for k in names(params) if 'lora_' in k or 'score' in k}
  assert names(trained).keys() | names(frozen).keys() == names(params).keys()
  assert not names(trained).keys() & names(frozen).keys()
  trained, frozen = optim.split(params, adapters=False)
  assert names(trained).keys() == names(params).keys() and not names(frozen)


@pytest.mark.parametrize('adapters', [False, True])
def test_what_was_split_is_whole_again(adapters, params):
  again = lora.join(*optim.split(params, adapters))
  assert jax.tree.structure(again) == jax.tree.structure(params)
  assert all(a is b for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True))


def test_a_step_moves_adapters_alone_and_keeps_no_state_of_the_rest():
  rng = np.random.default_rng(0)
  shapes = {'w': (4, 3), 'lora_a': (4, 2), 'lora_b': (2, 3)}
  q = {k: jnp.array(rng.normal(size=(1, *shape)), jnp.float32) for k, shape in shapes.items()}
  params = {'policy': {'layers': {'q': q}, 'norm': {'w': jnp.ones(4)}}}
  batch = {'x': jnp.array(rng.normal(size=(8, 4)), jnp.float32), 'weights': jnp.ones(8)}

  def loss(params, batch, _):
    q = params['policy']['layers']['q']
    y = batch['x'] * params['policy']['norm']['w'] @ (q['w'] + q['lora_a'] @ q['lora_b'])[0]
    return losses.total((y**2).sum(-1), batch['weights']), {}

  tx = optim.make(config(name='adamw', weight_decay=0.1))
  opt = tx.init(optim.split(params, True)[0])
  assert all("['lora_" in k for k, x in names(opt).items() if x.ndim)
  step = jax.jit(train.make_step(loss, tx, 2, jax.random.key(0), adapters=True))
  state, _ = step(train.State(jnp.int32(0), params, opt), batch)
  same = {k for k, x in names(state.params).items() if (x == names(params)[k]).all()}
  assert same == {"['policy']['layers']['q']['w']", "['policy']['norm']['w']"}


def test_a_step_of_schedule_free_takes_the_gradient_between():
  """The slope of w²/2 is w: that of y, not of the average that the state holds."""
  tx = optim.make(config(name='schedule_free', learning_rate=0.1))
  x = {'w': jnp.array([1.0, -2.0])}
  batch = {'weights': jnp.ones(4)}

  def loss(params, batch, _):
    return 0.5 * (params['w'] ** 2).sum() * batch['weights'].sum(), {}

  state, opt = train.State(jnp.int32(0), x, tx.init(x)), tx.init(x)
  step = jax.jit(train.make_step(loss, tx, 1, jax.random.key(0)))
  for _ in range(4):
    state, info = step(state, batch)
    y = optim.gradient_at(opt, x)
    assert float(info['grad_norm']) == pytest.approx(float(jnp.linalg.norm(y['w'])), rel=1e-6)
    updates, opt = tx.update(y, opt, x)
    x = jax.tree.map(jnp.add, x, updates)
  np.testing.assert_allclose(state.params['w'], x['w'], rtol=1e-6)
  assert float(jnp.abs(y['w'] - x['w']).max()) > 0.01


# The state on a mesh


def cut(mesh):
  """The network's shapes, cut by their letters."""

  def one(letters):
    shape = [SIZES[x] for x in letters]
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding.sharding(mesh, letters, shape))

  return {'policy': jax.tree.map(one, LETTERS)}


def share(leaves):
  """Of the bytes of some arrays, the part that the first device holds."""
  return sum(x.addressable_shards[0].data.nbytes for x in leaves) / sum(x.nbytes for x in leaves)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('sizes', [{'fsdp': 8}, {'fsdp': 2, 'expert': 2, 'tensor': 2}])
def test_the_state_is_cut_as_its_weights(sizes, name):
  """Every moment has its weight's shards, also what Adafactor keeps of one; together an eighth."""
  mesh = devices.make_mesh(dict.fromkeys(sharding.MESH_AXES, 1) | sizes)
  with jax.set_mesh(mesh):
    tx, shapes = optim.make(config(name=name)), cut(mesh)
    state = layout.made_from(tx.init, shapes)
    params = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype, device=x.sharding), shapes)
    opt = jax.jit(tx.init, out_shardings=jax.tree.map(lambda x: x.sharding, state))(params)
  shards = {k: (x.shape, x.addressable_shards[0].data.shape) for k, x in names(params).items()}
  for path, x in names(opt).items():
    weight = next((k for k in shards if path.endswith(k)), None)
    here = x.addressable_shards[0].data.shape
    if weight is None or (name == 'adafactor' and x.shape == (1,)):  # a count, or in place of nothing
      assert x.size <= 3 and here == x.shape, path
      continue
    of, cut_of = shards[weight]
    if x.shape != of:  # D and F are alike: Adafactor's rows have lost the last of them, columns the first
      gone = len(of) - (1 if 'v_row' in path else 2)
      of, cut_of = (y[:gone] + y[gone + 1 :] for y in (of, cut_of))
      assert name == 'adafactor' and x.shape == of
    assert (x.shape, here) == (of, cut_of), path
  if name != 'adafactor':  # next to nothing, and most of it biases and norms
    assert share(jax.tree.leaves(opt)) < 1.2 / 8
