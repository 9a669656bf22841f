"""Attention: one equation, softmax(scale · q·k) v over the keys that a query may see, and four ways to it.

A query sees the keys up to its own place, of its own segment, and at most `window` of them. In a packed
row places are columns: positions begin anew in each segment, but inside one both count alike. With a cache
places are positions, since rows stand at different lengths.

    xla        all scores at once: short rows, one token at a time, queries cut over the mesh's `sequence`
    blockwise  a chunk of queries at a time, without the keys that none of them sees: CPUs
    cudnn      flash attention (Dao 2023) of NVIDIA's cuDNN: GPUs
    splash     the same on TPUs, by JAX's Pallas kernel, which skips the blocks that nobody sees

Softmax is float32 in all of them, whatever the type of the products. Knows neither weights nor models.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from zhlm import sharding
from zhlm.errors import InputError

NAMES = ('auto', 'xla', 'blockwise', 'cudnn', 'splash')
CHUNK = 128  # queries that blockwise takes at a time; of 128 and 256 the faster on a CPU, and the smaller
_GROUPS = 4  # of chunks that read the same keys: 5/8 of all scores; eight compile twice as long for 9/16
_LANES = 128  # of a TPU's vector unit: splash's blocks are multiples of it


def here():
  """(platform, sequence): what the mesh that is set is made of, be it only described (a pod that nobody
  holds), and over how many devices it cuts time. Without a mesh: this process's platform and 1."""
  mesh = jax.sharding.get_abstract_mesh()
  device = None if mesh.empty else mesh.abstract_device
  return device.platform if device else jax.default_backend(), sharding.parts('T')


def choose(name, platform, sequence, dtype, T, K, cached=False):
  """The way that `attend` takes: `name` (config.model.attention), or for `auto` the platform's best.

  With a cache it is xla or blockwise under every name: the kernels are for rows that see themselves.
  Raises InputError for a name that is unknown, or that cannot take T queries with heads of size K here.
  """
  if name not in NAMES:
    raise InputError(f'unknown attention {name!r}; choose from {", ".join(NAMES)}')
  plain = 'blockwise' if T > CHUNK and sequence == 1 else 'xla'
  if cached:
    return 'xla' if name == 'xla' else plain
  wrong = {
    'splash': _first(
      (platform != 'tpu', f'runs on TPUs, not on {platform}'),
      (T % (_LANES * sequence), f'takes rows of a multiple of {_LANES * sequence} tokens, not {T}'),
    ),
    'cudnn': _first(
      (platform != 'gpu', f'runs on GPUs, not on {platform}'),
      (jnp.dtype(dtype).name not in ('bfloat16', 'float16'), f'takes bfloat16 or float16, not {dtype}'),
      (K % 8 or K > 128, f'takes heads (model.K) of a multiple of 8 up to 128, not {K}'),
      (T % (2 * sequence), f'takes rows of a multiple of {2 * sequence} tokens, not {T}'),
    ),
    'blockwise': _first((sequence > 1, f'takes whole rows; mesh.sequence={sequence} cuts them')),
    'xla': None,
  }
  if name == 'auto':
    return next((kernel for kernel in ('splash', 'cudnn') if not wrong[kernel]), plain)
  if wrong[name]:
    fit = ', '.join(kernel for kernel, reason in wrong.items() if not reason)
    raise InputError(f'model.attention={name!r} {wrong[name]}; choose auto, or one of {fit}')
  return name


def _first(*cases):
  """The reason of the first case that is true, or None."""
  return next((reason for case, reason in cases if case), None)


def attend(
  q_BTHK, k_BSGK, v_BSGK, *, positions_BT=None, segments_BT=None, scale, window=0, implementation='auto'
):
  """a_BTHK, of q's type. Query head h reads key head h // (H/G) (Ainslie et al. 2023).

  Without positions_BT the keys are the row's own (S = T): column t sees the columns s ≤ t, of the same
  segment where segments_BT are given, and with t - s < window where window > 0. positions_BT: the queries'
  places in a cache of one document a row, whose slots the keys are; then t is the position, s the slot.
  Raises InputError as `choose` does.
  """
  T, S, K = q_BTHK.shape[1], k_BSGK.shape[1], q_BTHK.shape[3]
  cached = positions_BT is not None
  if cached and segments_BT is not None:
    raise ValueError('a cache holds one document a row: it has no segments')
  name = choose(implementation, *here(), q_BTHK.dtype, T, K, cached)
  if name in ('splash', 'cudnn'):
    kernel = splash if name == 'splash' else cudnn
    return kernel(q_BTHK, k_BSGK, v_BSGK, segments_BT, scale=scale, window=window)
  queries = (positions_BT if cached else jnp.arange(T)[None], segments_BT)
  keys = (jnp.arange(S)[None], segments_BT)
  if name == 'blockwise':
    return _blockwise(q_BTHK, k_BSGK, v_BSGK, queries, keys, scale, window, skip=not cached)
  return _dense(q_BTHK, k_BSGK, v_BSGK, queries, keys, scale, window)


def _see(queries, keys, window):
  """Whether a query sees a key, [B or 1, T, S]; queries and keys are (places, segments or None)."""
  (place_BT, segment_BT), (place_BS, segment_BS) = queries, keys
  distance_BTS = place_BT[:, :, None] - place_BS[:, None, :]
  see_BTS = distance_BTS >= 0
  if window:
    see_BTS &= distance_BTS < window
  if segment_BT is not None:
    see_BTS &= segment_BT[:, :, None] == segment_BS[:, None, :]
  return see_BTS


def _dense(q_BTHK, k_BSGK, v_BSGK, queries, keys, scale, window):
  see_BTS = _see(queries, keys, window)
  return jax.nn.dot_product_attention(
    q_BTHK, k_BSGK, v_BSGK, mask=see_BTS[:, None], scale=scale, implementation='xla'
  )


def _blockwise(q_BTHK, k_BSGK, v_BSGK, queries, keys, scale, window, skip):
  """Chunks of queries in groups: all of a group read the keys that any of its queries may see (`skip`:
  where places are columns). Only a chunk's scores are held; the backward pass makes them again."""
  B, T, H, K = q_BTHK.shape
  chunks = -(-T // CHUNK)
  if chunks == 1:
    return _dense(q_BTHK, k_BSGK, v_BSGK, queries, keys, scale, window)

  def pieces(x):  # [B, T, …] -> [chunks, B, CHUNK, …]; what fills the last one is cut off again
    filled = jnp.pad(x, [(0, 0), (0, chunks * CHUNK - T), *[(0, 0)] * (x.ndim - 2)])
    return filled.reshape(x.shape[0], chunks, CHUNK, *x.shape[2:]).swapaxes(0, 1)

  q_nBTHK, queries = pieces(q_BTHK), jax.tree.map(pieces, queries)
  step, out = -(-chunks // _GROUPS), []
  for n in range(0, chunks, step):
    end = min(n + step, chunks)
    first = max(0, n * CHUNK - window + 1) if skip and window else 0
    span = slice(first, min(T, end * CHUNK) if skip else None)
    k, v, seen = jax.tree.map(lambda x, span=span: x[:, span], (k_BSGK, v_BSGK, keys))
    chunk = jax.checkpoint(
      lambda q, queries, k=k, v=v, seen=seen: _dense(q, k, v, queries, seen, scale, window),
      prevent_cse=False,  # inside a scan nothing can be shared with the first pass
    )
    parts = jax.tree.map(lambda x, n=n, end=end: x[n:end], (q_nBTHK, queries))
    out.append(jax.lax.map(lambda part, chunk=chunk: chunk(*part), parts))
  return jnp.concatenate(out).swapaxes(0, 1).reshape(B, chunks * CHUNK, H, K)[:, :T]


def cudnn(q_BTHK, k_BSGK, v_BSGK, segments_BT=None, *, scale, window=0):
  """`attend` of a row to itself by cuDNN: bfloat16 or float16, on a GPU.

  Where rows are packed, or cut over `sequence`, who sees whom goes in as a bias of [B, 1, T, S]: a head's
  share of what all scores would be, but cuDNN then skips nothing beyond the causal half."""
  cut = here()[1] > 1

  def local(q_BTHK, k_BSGK, v_BSGK, segments):
    T, S = q_BTHK.shape[1], k_BSGK.shape[1]
    how = {'is_causal': not cut}
    if segments or cut:
      first = T * jax.lax.axis_index(sharding.mesh_axes('T')[0]) if cut else 0
      ours, all_of_them = segments or (None, None)
      queries, keys = (first + jnp.arange(T)[None], ours), (jnp.arange(S)[None], all_of_them)
      how['mask'] = _see(queries, keys, window)[:, None]
    elif window:
      how['local_window_size'] = (window - 1, 0)
    return jax.nn.dot_product_attention(q_BTHK, k_BSGK, v_BSGK, scale=scale, implementation='cudnn', **how)

  return _by_device(local, q_BTHK, k_BSGK, v_BSGK, segments_BT)


def splash(q_BTHK, k_BSGK, v_BSGK, segments_BT=None, *, scale, window=0, interpret=False):
  """`attend` of a row to itself by the Pallas kernel, on a TPU. T over the mesh's `sequence` must be a
  multiple of 128. interpret: on any platform, slowly; for tests."""
  from jax.experimental.pallas.ops.tpu import splash_attention as tpu  # half a second, for TPUs alone

  T, H = q_BTHK.shape[1:3]
  heads, sequence = sharding.parts('H'), sharding.parts('T')
  if window:
    mask = tpu.LocalMask((T, T), (window - 1, 0), 0, shard_count=sequence)
  else:
    mask = tpu.CausalMask((T, T), shard_count=sequence)
  block = next(n for n in (512, 256, _LANES) if T // sequence % n == 0)
  names = ('block_q', 'block_kv', 'block_q_dkv', 'block_kv_dkv', 'block_q_dq', 'block_kv_dq')
  kernel = tpu.make_splash_mha(
    tpu.MultiHeadMask([mask] * H),
    block_sizes=tpu.BlockSizes(**dict.fromkeys(names, block)),
    head_shards=heads,
    q_seq_shards=sequence,
    interpret=interpret,
  )

  def local(q_BTHK, k_BSGK, v_BSGK, segments, kernel):
    heads_first = (x.swapaxes(1, 2) for x in (q_BTHK * scale, k_BSGK, v_BSGK))
    ids = tpu.SegmentIds(*segments) if segments else None
    return jax.vmap(kernel)(*heads_first, ids).swapaxes(1, 2)

  return _by_device(local, q_BTHK, k_BSGK, v_BSGK, segments_BT, kernel)


def _by_device(local, q_BTHK, k_BSGK, v_BSGK, segments_BT, *kernel):
  """local(q, k, v, (segments of its queries, of all keys) or None, *kernel) on every device: its rows, its
  heads, its times, all keys. XLA's partitioner cannot look into a kernel, so the cut is by hand."""
  mesh = jax.sharding.get_abstract_mesh()
  both = None if segments_BT is None else (segments_BT, segments_BT)
  if mesh.empty:
    return local(q_BTHK, k_BSGK, v_BSGK, both, *kernel)
  rows, time, heads = sharding.mesh_axes('BTH')
  if q_BTHK.shape[0] % sharding.parts('B'):  # a row or two, as in `init`: every device has them all
    rows = ()
  # Where there are fewer key heads than devices that share the heads, each gets a copy of what it reads.
  G = k_BSGK.shape[2]
  copies = math.lcm(G, sharding.parts('H')) // G
  k_BSGK, v_BSGK = (jnp.repeat(x, copies, axis=2) for x in (k_BSGK, v_BSGK))
  q_spec, k_spec = P(rows, time, heads), P(rows, None, heads)
  by_head_and_time = jax.sharding.NamedSharding(mesh, P(heads, time))
  return jax.shard_map(
    local,
    in_specs=(q_spec, k_spec, k_spec, both and (P(rows, time), P(rows)))
    + tuple(k.manual_sharding_spec(by_head_and_time) for k in kernel),
    out_specs=q_spec,
    check_vma=False,  # the kernels' outputs do not say over which axes they vary
  )(q_BTHK, k_BSGK, v_BSGK, both, *kernel)
