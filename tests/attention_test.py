"""Every way to attention is one plain loop, in values and gradients; and which way is taken where."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from tests import tiny
from zhlm import attention, devices, layers, model, sharding
from zhlm.errors import InputError

B, H, K, SCALE = 2, 4, 8, 0.3
CASES = {  # G, packed, window
  'causal': (4, False, 0),
  'packed and grouped': (2, True, 0),
  'one key head and a window': (1, False, 5),
  'packed with a window': (2, True, 5),
}


def drawn(T, G, packed, S=None):
  """(q, k, v, segments or None, dL/da): normal numbers, and three documents and padding to a row."""
  rng = np.random.default_rng(T)
  q, da = rng.normal(size=(2, B, T, H, K)).astype(np.float32)
  k, v = rng.normal(size=(2, B, S or T, G, K)).astype(np.float32)
  ends = [(T // 5, T // 2, T - 2), (T // 3, T - 4, T - 1)]
  segments = np.stack([(np.searchsorted(e, np.arange(T), 'right') + 1) % 4 for e in ends])
  return q, k, v, segments.astype(np.int32) if packed else None, da


def loop(q, k, v, da, sees):
  """(a, dq, dk, dv) in float64, a query at a time: softmax, and its derivative by the book."""
  q, k, v, da = (x.astype(np.float64) for x in (q, k, v, da))
  a, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
  for b, t, h in np.ndindex(q.shape[:3]):
    g = h // (q.shape[2] // k.shape[2])
    seen = np.flatnonzero(sees(b, t, np.arange(k.shape[1])))
    score = SCALE * k[b, seen, g] @ q[b, t, h]
    p = np.exp(score - score.max())
    p /= p.sum()
    a[b, t, h] = p @ v[b, seen, g]
    dp = v[b, seen, g] @ da[b, t, h]
    ds = SCALE * p * (dp - p @ dp)
    dq[b, t, h] = ds @ k[b, seen, g]
    dk[b, seen, g] += ds[:, None] * q[b, t, h]
    dv[b, seen, g] += p[:, None] * da[b, t, h]
  return a, dq, dk, dv


def row_loop(q, k, v, segments, da, window):
  """The loop over rows that see themselves."""

  def sees(b, t, s):
    same = True if segments is None else segments[b, s] == segments[b, t]
    return (s <= t) & (t - s < (window or np.inf)) & same

  return loop(q, k, v, da, sees)


def with_gradients(f, q, k, v, segments, da):
  """(f, its gradients) at these numbers, compiled."""

  @jax.jit
  def both(q, k, v):
    a, pull = jax.vjp(lambda *x: f(*x, segments), q, k, v)
    return a, *pull(jnp.asarray(da, a.dtype))

  return both(*map(jnp.asarray, (q, k, v)))


def assert_same(got, want, tolerance=2e-5):
  for x, y in zip(got, want, strict=True):
    np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance)


def plain(implementation, window):
  return lambda q, k, v, segments: attention.attend(
    q, k, v, segments_BT=segments, scale=SCALE, window=window, implementation=implementation
  )


def by_cudnns_rules(q, k, v, **how):
  """What cuDNN is asked for, done by XLA: the meaning of the arguments is the same, by jax's word."""
  assert how.pop('implementation') == 'cudnn'
  return as_is(q, k, v, implementation='xla', **how)


as_is = jax.nn.dot_product_attention


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('implementation', ['xla', 'blockwise', 'cudnn'])
def test_every_way_is_the_plain_loop(implementation, case, monkeypatch):
  G, packed, window = CASES[case]
  monkeypatch.setattr(attention, 'CHUNK', 4)  # five chunks in groups of two, the last one not full
  q, k, v, segments, da = drawn(19, G, packed)
  f = plain(implementation, window)
  if implementation == 'cudnn':
    monkeypatch.setattr(jax.nn, 'dot_product_attention', by_cudnns_rules)
    f = functools.partial(attention.cudnn, scale=SCALE, window=window)
  assert_same(with_gradients(f, q, k, v, segments, da), row_loop(q, k, v, segments, da, window))


@pytest.mark.parametrize('case', ['packed and grouped', 'one key head and a window'])
def test_splash_is_the_plain_loop(case):
  G, packed, window = CASES[case]
  q, k, v, segments, da = drawn(384, G, packed)  # three blocks
  f = functools.partial(attention.splash, scale=SCALE, window=window, interpret=True)
  assert_same(with_gradients(f, q, k, v, segments, da), row_loop(q, k, v, segments, da, window))


@pytest.mark.parametrize('kernel', ['splash', 'cudnn', 'xla'])
@pytest.mark.parametrize(
  'sizes', [dict(sequence=4, tensor=2), dict(data=2, tensor=4)], ids=['sequence', 'tensor']
)
def test_devices_share_rows_heads_and_times(kernel, sizes, monkeypatch):
  """Also where they are more than the key heads."""
  q, k, v, segments, da = drawn(512 if kernel == 'splash' else 40, 2, True)
  want = with_gradients(plain('xla', 30), q, k, v, segments, da)
  f = plain('xla', 30)
  if kernel == 'splash':
    f = functools.partial(attention.splash, scale=SCALE, window=30, interpret=True)
  if kernel == 'cudnn':
    monkeypatch.setattr(jax.nn, 'dot_product_attention', by_cudnns_rules)
    f = functools.partial(attention.cudnn, scale=SCALE, window=30)
  with jax.set_mesh(devices.make_mesh(sizes)):
    q, k, v = (sharding.constrain(jnp.asarray(x), 'BTHK') for x in (q, k, v))
    got = with_gradients(f, q, k, v, segments, da)
  assert_same(got, want)
  assert kernel == 'xla' or got[0].sharding.spec == sharding.spec('BTHK')


@pytest.mark.parametrize('window', [0, 6])
@pytest.mark.parametrize('T', [1, 9])
def test_a_cache_is_read_up_to_each_rows_own_place(T, window, monkeypatch):
  """A token or a prompt of each row, after different pasts, before slots that hold rubbish."""
  monkeypatch.setattr(attention, 'CHUNK', 4)
  q, k, v, _, da = drawn(T, 2, False, S=24)
  positions = np.array([[3], [14]]) + np.arange(T)

  def sees(b, t, s):
    return (s <= positions[b, t]) & (positions[b, t] - s < (window or np.inf))

  want = loop(q, k, v, da, sees)
  for name in ('xla', 'splash'):  # which, with a cache, is blockwise where there are several tokens
    f = functools.partial(
      attention.attend, positions_BT=jnp.array(positions), scale=SCALE, window=window, implementation=name
    )
    assert_same(with_gradients(lambda q, k, v, _, f=f: f(q, k, v), q, k, v, None, da), want)
  with pytest.raises(ValueError, match='segments'):
    f(q, k, v, segments_BT=jnp.ones((B, T), int))


def test_bfloat16_goes_in_and_out_and_the_softmax_is_float32():
  q, k, v, segments, _ = drawn(128, 2, True)
  low = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
  exact = jax.jit(plain('xla', 0))(*(x.astype(jnp.float32) for x in low), segments)
  splash = functools.partial(attention.splash, scale=SCALE, interpret=True)
  for f in (plain('xla', 0), splash):
    a = jax.jit(f)(*low, segments)
    assert a.dtype == jnp.bfloat16
    # A softmax in bfloat16 would be off by its 2^-8 at each of 128 keys.
    assert jnp.abs(a.astype(jnp.float32) - exact).max() < 0.02


def on(platform, sequence=1):
  """A mesh of devices that nobody holds."""
  sizes = [sequence if axis == 'sequence' else 1 for axis in sharding.MESH_AXES]
  types = (jax.sharding.AxisType.Auto,) * len(sizes)
  device = AbstractDevice(device_kind='', num_cores=None, platform=platform)
  return AbstractMesh(tuple(sizes), sharding.MESH_AXES, types, abstract_device=device)


def test_the_platform_is_that_of_the_mesh_also_inside_jit():
  seen = []
  assert attention.here() == ('cpu', 1)
  for mesh in (on('tpu'), on('tpu', 4), on('gpu')):
    with jax.sharding.use_abstract_mesh(mesh):
      jax.eval_shape(lambda: seen.append(attention.here()))
  with jax.set_mesh(devices.make_mesh({'sequence': 2})):
    jax.jit(lambda: seen.append(attention.here()) or 0)()
  assert seen == [('tpu', 1), ('tpu', 4), ('gpu', 1), ('cpu', 2)]


@pytest.mark.parametrize(
  ('want', 'platform', 'sequence', 'dtype', 'T', 'K', 'cached'),
  [
    ('splash', 'tpu', 1, 'bfloat16', 4096, 128, False),
    ('splash', 'tpu', 4, 'float32', 512, 96, False),
    ('xla', 'tpu', 4, 'bfloat16', 256, 128, False),  # 64 tokens a device: under a block
    ('blockwise', 'tpu', 1, 'bfloat16', 1000, 128, False),
    ('xla', 'tpu', 1, 'bfloat16', 1, 128, True),
    ('blockwise', 'tpu', 1, 'bfloat16', 512, 128, True),
    ('cudnn', 'gpu', 1, 'bfloat16', 4096, 128, False),
    ('cudnn', 'gpu', 2, jnp.float16, 4096, 64, False),
    ('blockwise', 'gpu', 1, 'float32', 4096, 128, False),
    ('blockwise', 'gpu', 1, 'bfloat16', 4096, 256, False),
    ('xla', 'gpu', 2, 'bfloat16', 4095, 128, False),
    ('blockwise', 'cpu', 1, 'float32', 512, 64, False),
    ('xla', 'cpu', 1, 'float32', 128, 64, False),
    ('xla', 'cpu', 2, 'float32', 512, 64, False),
  ],
)
def test_the_platform_chooses(want, platform, sequence, dtype, T, K, cached):
  assert attention.choose('auto', platform, sequence, dtype, T, K, cached) == want


@pytest.mark.parametrize(
  ('name', 'platform', 'sequence', 'dtype', 'T', 'K', 'says'),
  [
    ('flash', 'tpu', 1, 'bfloat16', 512, 64, "unknown attention 'flash'; choose from auto, xla, block"),
    ('splash', 'cpu', 1, 'float32', 512, 64, 'TPUs, not on cpu; choose auto, or one of blockwise, xla'),
    (
      'splash',
      'tpu',
      4,
      'float32',
      640,
      64,
      'a multiple of 512 tokens, not 640; choose auto, or one of xla',
    ),
    ('cudnn', 'gpu', 1, 'float32', 512, 64, 'bfloat16 or float16, not float32'),
    ('cudnn', 'gpu', 1, 'bfloat16', 512, 4, 'a multiple of 8 up to 128, not 4'),
    ('cudnn', 'gpu', 1, 'bfloat16', 512, 256, 'a multiple of 8 up to 128, not 256'),
    ('cudnn', 'gpu', 1, 'bfloat16', 511, 64, 'a multiple of 2 tokens, not 511'),
    ('blockwise', 'cpu', 4, 'float32', 512, 64, 'mesh.sequence=4 cuts them'),
  ],
)
def test_what_cannot_run_says_what_can(name, platform, sequence, dtype, T, K, says):
  with pytest.raises(InputError, match=re.escape(says)):
    attention.choose(name, platform, sequence, dtype, T, K)


def lowered(mesh, platform, dtype, packed, window):
  """The program of attention and its gradients for another platform, as text."""
  with jax.sharding.use_abstract_mesh(mesh):
    of = functools.partial(jax.ShapeDtypeStruct, dtype=dtype)
    segments = jnp.ones((B, 512), int) if packed else None
    f = plain('auto', window)
    total = lambda *x: f(*x, segments).astype(jnp.float32).sum()  # noqa: E731
    args = of((B, 512, H, K)), of((B, 512, 2, K)), of((B, 512, 2, K))
    return jax.jit(jax.grad(total, (0, 1, 2))).trace(*args).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize('sequence', [1, 4])
def test_for_a_tpu_forward_and_both_backward_kernels_are_compiled(sequence):
  assert lowered(on('tpu', sequence), 'tpu', 'bfloat16', True, 0).count('@tpu_custom_call') == 3


@pytest.mark.parametrize(
  ('packed', 'window', 'sequence', 'kernel', 'mask', 'length'),
  [
    (False, 0, 1, 'fmhaSoftmax', 'CAUSAL', 0),
    (False, 9, 1, 'fmhaSoftmax', 'CAUSAL', 9),
    (True, 9, 1, 'fmhaScaleBiasSoftmax', 'CAUSAL', 0),  # all of it in the bias
    (False, 9, 2, 'fmhaScaleBiasSoftmax', 'NO_MASK', 0),
  ],
)
def test_for_a_gpu_cudnn_is_called(packed, window, sequence, kernel, mask, length, monkeypatch):
  """As far as a machine without cuDNN can tell: tracing asks only for its version."""
  monkeypatch.setattr('jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version', lambda: 91_000)
  text = lowered(on('gpu', sequence), 'cuda', 'bfloat16', packed, window).replace('\\22', '"')
  calls = re.findall(r'@__cudnn\$(\w+)', text)
  assert calls == [kernel, f'{kernel}Backward']
  configs = [json.loads(x) for x in re.findall(r'backend_config = "(\{.*?\})", ', text)]
  for config in (x['cudnn_fmha_backend_config'] for x in configs):
    assert (config['mask_type'], config['sliding_window_length']) == (mask, length)
    assert config['fmha_scale'] == SCALE


def test_an_attention_layer_cut_over_time_is_that_of_one_device():
  """Values and gradients of a block; its scores are cut and only keys and values are gathered."""
  c = layers.Config(**{**tiny.plain('pretrain').model, 'attention': 'auto', 'N': 1, 'G': 4})
  block, T = model.Block(c), 64
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(4, T, c.D)), jnp.float32)
  segments = jnp.asarray(np.sort(rng.integers(1, 4, (4, T)), 1))
  positions = jnp.broadcast_to(jnp.arange(T), (4, T))
  call = lambda params, x: block.apply({'params': params}, (x, None), positions, segments, 0)[0][0]  # noqa: E731
  shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), (x, None), positions, segments, 0))[
    'params'
  ]
  params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.2, jnp.float32), unboxed(shapes))
  loss = jax.value_and_grad(lambda params, x: (call(params, x) ** 2).mean(), (0, 1))
  want = jax.jit(loss)(params, x)
  with jax.set_mesh(mesh := devices.make_mesh({'data': 2, 'sequence': 4})):
    cut = jax.device_put(x, sharding.sharding(mesh, 'BTD', x.shape))
    compiled = jax.jit(loss).lower(params, cut).compile()
    got = compiled(params, cut)
  assert_same(jax.tree.leaves(got), jax.tree.leaves(want))
  # On a device 2 of 4 rows: a quarter of their scores; no activation of width D (or F = 2·D) is ever whole.
  text, G = compiled.as_text(), c.G
  assert f'f32[2,{G},{c.H // G},{T // 4},{T}]' in text and f'f32[2,{T // 4},{c.D}]' in text
  assert not re.search(rf'f32\[(2,{T}|{2 * T}),({c.D}|{c.F})\]|f32\[[\d,]*,{T},{T}\]', text)


def unboxed(tree):
  return jax.tree.map(
    lambda x: x.value if hasattr(x, 'names') else x, tree, is_leaf=lambda x: hasattr(x, 'names')
  )
