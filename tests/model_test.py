"""What may see what, and that decoding with a cache is the same network."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, generate, lora, losses, metrics, model, rope
from zhlm.errors import InputError

T = 12


@functools.partial(jax.jit, static_argnums=0)
def apply(net, params, *args, **kwargs):
  """What the network says; compiled, which is faster than one layer's operations one by one."""
  return net.apply({'params': params}, *args, **kwargs)[0]


def small(head='lm', **fields):
  """A network of two layers with two query heads to a key head, and weights that are not so small."""
  sizes = dict(V=23, D=16, F=24, N=2, H=4, G=2, K=4, tied=True)
  c = model.Config(**{**tiny.plain('pretrain').model, **sizes, **fields})
  net, rng = model.Transformer(c, head), np.random.default_rng(0)

  def weight(path, x):
    norm = jax.tree_util.keystr(path).count('norm')
    return jnp.array(rng.normal(size=x.shape) * 0.3 + (1 if norm else 0), jnp.float32)

  shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))['params']
  return net, jax.tree_util.tree_map_with_path(weight, checkpoint.unbox(shapes))


@pytest.fixture(scope='module')
def lm():
  return small()


@pytest.fixture(scope='module')
def tokens():
  return jax.random.randint(jax.random.key(2), (3, T), 0, 23)


def test_no_token_sees_the_future(lm, tokens):
  net, params = lm
  read = functools.partial(apply, net, params)
  before = read(tokens)
  for t in (1, 6, T - 1):
    after = read(tokens.at[:, t].set((tokens[:, t] + 1) % 23))
    np.testing.assert_array_equal(after[:, :t], before[:, :t])
    assert (np.abs(after[:, t:] - before[:, t:]).max(-1) > 1e-4).all()  # and every later one sees it


def test_packed_documents_do_not_meet(lm, tokens):
  net, params = lm
  segments = jnp.array([[1] * 5 + [2] * 4 + [3] * 3] * 3)
  positions = jnp.array([[*range(5), *range(4), *range(3)]] * 3)
  other = tokens.at[:, 5:9].set((tokens[:, 5:9] + 1) % 23)
  before, after = (apply(net, params, x, positions, segments) for x in (tokens, other))
  others = np.array([0, 1, 2, 3, 4, 9, 10, 11])
  np.testing.assert_array_equal(after[:, others], before[:, others])
  assert (np.abs(after[:, 5:9] - before[:, 5:9]).max(-1) > 1e-4).all()
  # Each reads as it would alone.
  alone = apply(net, params, tokens[:, 5:9])
  np.testing.assert_allclose(before[:, 5:9], alone, atol=2e-5)


EVERY = dict(qk_norm='after', qkv_bias=True, o_bias=True, sandwich=True, rope_interleaved=True)
SCALES = dict(embed_scale=3.0, residual_scale=0.5, logit_scale=0.25, attention_scale=0.3, tied=False)


@pytest.mark.parametrize(
  'fields',
  [{'G': 4}, {'G': 2}, {'G': 1}, EVERY, SCALES, {'window': 3}, {'E': 4, 'top': 2}, {'lora_rank': 2}],
)
def test_decode_matches_forward(fields, tokens):
  """Rows of different lengths, padded with what must not be seen."""
  net, params = small(**fields)
  lengths, new = jnp.array([2, 7, 4]), 5
  full = apply(net, params, tokens)
  prompts = jnp.where(jnp.arange(8) < lengths[:, None], tokens[:, :8], 22)
  rows = jnp.arange(3)
  logits, cache = generate._prefill(net, params, prompts, lengths, 8 + new)
  decode = jax.jit(lambda *args: generate.decode(net, params, *args))
  for n in range(new):
    np.testing.assert_allclose(logits, full[rows, lengths - 1 + n], atol=2e-5)
    logits, cache = decode(tokens[rows, lengths + n], lengths + n, cache)


def test_key_heads_are_shared_by_neighbouring_query_heads(lm, tokens):
  """As if each were there once for every query head that reads it."""
  net, params = lm
  every = model.Transformer(dataclasses.replace(net.config, G=4))
  layers = dict(params['layers'])
  for name in 'kv':
    layers[name] = {'w': jnp.repeat(layers[name]['w'], 2, axis=2)}  # N D G K
  out = apply(every, {**params, 'layers': layers}, tokens)
  np.testing.assert_allclose(out, apply(net, params, tokens), atol=2e-5)


def test_a_window_is_how_many_tokens_a_token_sees(tokens):
  net, params = small(window=3, N=1)
  before = apply(net, params, tokens)
  for t in (0, 4, T - 1):
    changed = (
      np.abs(apply(net, params, tokens.at[:, t].set((tokens[:, t] + 1) % 23)) - before).max((0, 2)) > 1e-4
    )
    assert changed.nonzero()[0].tolist() == [*range(t, min(t + 3, T))]


@pytest.mark.parametrize('field', ['embed_scale', 'residual_scale', 'logit_scale', 'attention_scale'])
def test_every_multiplier_multiplies(field, tokens):
  net, params = small()
  other = model.Transformer(dataclasses.replace(net.config, **{field: 2.0}))
  a, b = apply(net, params, tokens), apply(other, params, tokens)
  if field == 'logit_scale':
    np.testing.assert_allclose(b, 2 * a, rtol=1e-6)
    for x, y in zip(
      apply(other, params, tokens, targets_BT=tokens), losses.log_probs(b, tokens), strict=True
    ):
      np.testing.assert_allclose(x, y, atol=1e-5)
  else:
    assert np.abs(a - b).max() > 1e-2


def test_adapters_begin_as_nothing_and_merge_into_their_weights(tokens):
  net, params = small(lora_rank=3, lora_alpha=6.0, lora_on=('q', 'o', 'up'))
  plain = model.Transformer(dataclasses.replace(net.config, lora_rank=0))
  merged = lora.merge(params, net.config)
  assert {k for k, x in params['layers'].items() if 'lora_a' in x} == {'q', 'o', 'up'}
  shapes = jax.eval_shape(plain.init, jax.random.key(0), tokens)['params']
  assert jax.tree.structure(merged) == jax.tree.structure(checkpoint.unbox(shapes))
  out = apply(net, params, tokens)
  np.testing.assert_allclose(apply(plain, merged, tokens), out, atol=2e-5)
  assert np.abs(apply(plain, params, tokens) - out).max() > 1e-2  # the same weights, adapters off
  fresh = jax.jit(net.init)(jax.random.key(0), tokens)['params']
  fresh = checkpoint.unbox(fresh)
  np.testing.assert_array_equal(apply(net, fresh, tokens), apply(plain, fresh, tokens))


def test_the_gradients_of_the_parts_add_up_in_float32():
  """Where products are bfloat16, 96 parts are as exact as one."""
  rng = np.random.default_rng(0)
  x, head = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((4, 96, 16), (16, 23)))
  targets = jnp.asarray(rng.integers(0, 23, (4, 96)))

  def slope(dtype, chunk):
    read = lambda head: model.read_targets(x.astype(dtype), head, targets, 1.0, chunk=chunk)  # noqa: E731
    return jax.jit(jax.grad(lambda head: read(head)[0].mean()))(head)

  exact = slope('float32', 384)
  whole, parts = (jnp.linalg.norm(slope('bfloat16', chunk) - exact) for chunk in (384, 4))
  assert 0 < whole < 0.01 * jnp.linalg.norm(exact) and parts < 1.3 * whole


@pytest.mark.parametrize('fields', [{'remat': 'some'}, {'qk_norm': 'between'}, {'E': 4, 'top': 5}])
def test_a_choice_that_is_none_lists_the_choices(fields):
  with pytest.raises(InputError, match=rf'model.{[*fields][-1]}=.*choose from'):
    small(**fields)


def test_rotary_products_depend_on_the_distance_alone():
  q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
  c = dataclasses.replace(small()[0].config, K=8, rope_theta=100.0)
  at = lambda x, p: np.asarray(rope.rotate(x, jnp.array([[p]]), c)).ravel()  # noqa: E731
  products = [at(q, p + 3) @ at(k, p) for p in (0, 1, 50)]
  np.testing.assert_allclose(products, products[0], rtol=1e-4)
  assert abs(at(q, 4) @ at(k, 0) - products[0]) > 1e-3
  np.testing.assert_array_equal(at(q, 0), np.asarray(q).ravel())


def test_log_probs_in_pieces_are_those_of_all_logits(lm, tokens):
  net, params = lm
  logits = apply(net, params, tokens)
  want = losses.log_probs(logits / 0.7, tokens)
  embed = params['embed']

  @functools.partial(jax.jit, static_argnums=1)
  def read(x, chunk):
    return model.read_targets(x, embed.T, tokens, 0.7, chunk=chunk)

  got = apply(net, params, tokens, targets_BT=tokens, temperature=0.7)
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  x = jax.random.normal(jax.random.key(3), (3, T, 16))
  for chunk in (9, 36):  # three tokens of each row at once, all tokens of all rows; 3 is one
    for a, b in zip(read(x, chunk), read(x, 3), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5)
  slopes = [jax.jit(jax.grad(lambda x, c=c: read(x, c)[0].sum()))(x) for c in (9, 36)]
  np.testing.assert_allclose(*slopes, atol=1e-5)


@pytest.mark.parametrize(
  'fields', [{'remat': 'full'}, {'remat': 'dots'}, {'unroll': 2}, {'dtype': 'bfloat16'}]
)
def test_remat_unrolling_and_bfloat16_are_the_same_network(fields, lm, tokens):
  net, params = lm
  other = model.Transformer(dataclasses.replace(net.config, **fields))

  def loss(net):
    def value(params):
      (logp, _), _ = net.apply({'params': params}, tokens, targets_BT=tokens)
      return -logp.mean()

    return jax.jit(jax.value_and_grad(value))(params)

  (a, da), (b, db) = loss(net), loss(other)
  exact = 'dtype' not in fields
  assert a.dtype == b.dtype == jnp.float32  # losses are float32, whatever multiplies
  assert float(a) == pytest.approx(float(b), rel=1e-6 if exact else 3e-2)
  for x, y in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
    assert x.dtype == y.dtype == jnp.float32
    if exact:
      np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize('fields', [{}, {'tied': False}, EVERY, {'E': 4, 'top': 2, 'lora_rank': 2}])
@pytest.mark.parametrize('head', ['lm', 'scalar'])
def test_every_weight_bears_its_letters(head, fields):
  c = dataclasses.replace(small()[0].config, **fields)
  boxed = jax.eval_shape(model.Transformer(c, head).init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
  boxed = boxed['params']
  leaves = jax.tree.leaves(boxed, is_leaf=lambda x: hasattr(x, 'names'))
  for x in leaves:
    assert len(x.names) == x.value.ndim and x.value.dtype == jnp.float32
    for letter, n in zip(x.names, x.value.shape, strict=True):
      assert letter == '_' or n == (c.lora_rank if letter == 'R' else getattr(c, letter))


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('head', ['lm', 'scalar'])
def test_the_parameters_are_those_of_the_formula(head, tied):
  net, params = small(head, tied=tied)
  c = net.config
  block = c.D * c.K * (2 * c.H + 2 * c.G) + 3 * c.D * c.F + 2 * c.D + 2 * c.K
  heads = {'scalar': c.D + 1, 'lm': 0 if tied else c.D * c.V}
  assert metrics.count(params) == c.N * block + c.V * c.D + c.D + heads[head]


def test_a_fresh_network_predicts_nearly_uniformly():
  c = tiny.plain('pretrain')
  net = model.make(c)
  tokens = jax.random.randint(jax.random.key(2), (4, 32), 0, c.model.V)
  params = jax.jit(lambda key: checkpoint.unbox(net.init(key, tokens)['params']))(jax.random.key(0))
  logp, _ = apply(net, params, tokens, targets_BT=tokens[:, ::-1])
  assert -float(logp.mean()) == pytest.approx(np.log(c.model.V), abs=0.5)


def test_flops_are_six_a_weight_and_those_of_attention():
  """Against a count of every product's multiplications and additions, forward, times three."""
  c = small()[0].config
  qkvo = 2 * c.D * c.K * (c.H + 2 * c.G + c.H)
  attention = 2 * 2 * T * c.H * c.K  # scores and values, over all T keys
  forward = c.N * (qkvo + 3 * 2 * c.D * c.F + attention) + 2 * c.D * c.V
  assert metrics.flops_per_token(c, T) == 3 * forward


def test_a_scalar_head_begins_normal_with_deviation_one_over_root_d_plus_1():
  """Of 3 x 4,095 weights, so that chance is 0.6 % of it; at D + 1 = 4096 the misprint would be 1/4096."""
  c = model.Config(
    **{**tiny.plain('reward').model, 'D': 4_095, 'V': 8, 'N': 1, 'F': 2, 'H': 1, 'G': 1, 'K': 2}
  )
  net = model.Transformer(c, 'scalar')
  made = jax.jit(jax.vmap(lambda key: net.init(key, jnp.zeros((1, 2), jnp.int32))['params']))
  params = checkpoint.unbox(made(jax.random.split(jax.random.key(0), 3)))
  score = np.asarray(params['score'])
  assert score.std() == pytest.approx(1 / 64, rel=0.05) and abs(score.mean()) < 0.05 / 64
  assert np.abs(score[0] - score[1]).max() > 0.01
  within = [(np.abs(score) < k / 64).mean() for k in (1, 2)]
  assert within == pytest.approx([0.683, 0.954], abs=0.015)
  assert (np.asarray(params['score_bias']) == 0).all()


def test_left_padding_changes_no_logit(lm, tokens):
  """Padding is a segment of its own, and positions begin where the text does."""
  net, params = lm
  for row, n in enumerate((2, 7, T)):
    text, pad = tokens[row : row + 1, :n], T - n
    padded = jnp.pad(text, ((0, 0), (pad, 0)), constant_values=9)
    positions = jnp.maximum(jnp.arange(T) - pad, 0)[None]
    segments = (jnp.arange(T) >= pad).astype(jnp.int32)[None]
    found = apply(net, params, padded, positions, segments)[:, pad:]
    np.testing.assert_allclose(found, apply(net, params, text), atol=1e-4)


def test_logits_at_some_columns_are_those_of_all(lm, tokens):
  net, params = lm
  columns = jnp.array([[0, 1], [4, 5], [T - 2, T - 1]])
  rows = jnp.arange(3)[:, None]
  every, targets = apply(net, params, tokens), jnp.roll(tokens, -1, 1)
  np.testing.assert_allclose(
    apply(net, params, tokens, columns_BW=columns), every[rows, columns], atol=1e-5
  )
  pair = apply(net, params, tokens, targets_BT=targets, columns_BW=columns)
  for some, whole in zip(pair, apply(net, params, tokens, targets_BT=targets), strict=True):
    wanted = jnp.zeros_like(whole).at[rows, columns].set(whole[rows, columns])
    np.testing.assert_allclose(some, wanted, atol=1e-5)
