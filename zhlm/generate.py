"""Prefill, decode, choose: pure functions of token ids and an explicit cache. Knows no text.

Prompts are right-padded and rows stand at different lengths: a row's next token has the position of its
length, overwrites the padding there, and sees the cache up to itself. A row's randomness is its own key
and position, so a sample does not depend on what else is in the batch.
"""

import functools

import jax
import jax.numpy as jnp

from zhlm.sharding import constrain


def init_cache(c, B, S):
  """An empty key/value cache for S positions: {'k', 'v'} of [N, B, G, S, K], as the products read it."""
  shape = (c.N, B, c.G, S, c.K)
  return {'k': jnp.zeros(shape, c.dtype), 'v': jnp.zeros(shape, c.dtype)}


def prefill(net, params, prompts_BP, lengths_B, S):
  """Reads the prompts into a new cache of S positions. Returns (logits_BV after each prompt, cache)."""
  cache = init_cache(net.config, prompts_BP.shape[0], S)
  cache = jax.tree.map(lambda x: constrain(x, 'NBGSK'), cache)
  columns_BW = (lengths_B - 1)[:, None]
  logits_BWV, cache = net.apply({'params': params}, prompts_BP, cache=cache, columns_BW=columns_BW)
  return logits_BWV[:, 0], cache


def decode(net, params, token_B, position_B, cache):
  """One step of every row: the token at its position. Returns (logits_BV for the next one, cache)."""
  logits_B1V, cache = net.apply(
    {'params': params}, token_B[:, None], positions_BT=position_B[:, None], cache=cache
  )
  return logits_B1V[:, 0], cache


def choose(logits_BV, keys_B, temperature=1.0, top_k=0, top_p=1.0):
  """Samples a token a row; temperature 0 is greedy. top_k=0 keeps all; top_p looks inside the top_k."""
  if temperature == 0:
    return jnp.argmax(logits_BV, -1).astype(jnp.int32)
  logits_BV = logits_BV / temperature
  if not top_k:
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)
  top_BK, ids_BK = jax.lax.top_k(logits_BV, top_k)
  before_BK = jnp.cumsum(jax.nn.softmax(top_BK), -1) - jax.nn.softmax(top_BK)
  top_BK = jnp.where(before_BK < top_p, top_BK, -jnp.inf)
  picked_B = jax.vmap(jax.random.categorical)(keys_B, top_BK)
  return jnp.take_along_axis(ids_BK, picked_B[:, None], 1)[:, 0].astype(jnp.int32)


def sample(net, params, prompts_BP, lengths_B, keys_B, *, new, stop, **how):
  """Completes every prompt by up to `new` tokens, until all rows have written `stop`.

  Returns (tokens_BN, count_B): the count includes `stop`; after it the tokens are 0. how: see `choose`.
  """
  B, P = prompts_BP.shape
  logits_BV, cache = prefill(net, params, prompts_BP, lengths_B, P + new)

  def going(state):
    n, _, _, _, done_B = state
    return (n < new) & ~done_B.all()

  def step(state):
    n, logits_BV, cache, out_BN, done_B = state
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, n)
    token_B = jnp.where(done_B, 0, choose(logits_BV, keys, **how))
    out_BN = out_BN.at[:, n].set(token_B)
    logits_BV, cache = decode(net, params, token_B, lengths_B + n, cache)
    return n + 1, logits_BV, cache, out_BN, done_B | (token_B == stop)

  state = (0, logits_BV, cache, jnp.zeros((B, new), jnp.int32), jnp.zeros(B, bool))
  out_BN = jax.lax.while_loop(going, step, state)[3]
  ended_BN = jnp.cumsum(out_BN == stop, -1) - (out_BN == stop) > 0
  return jnp.where(ended_BN, 0, out_BN), (~ended_BN).sum(-1)


_prefill = jax.jit(prefill, static_argnames=('net', 'S'))


@functools.partial(jax.jit, static_argnames=('net', 'how'), donate_argnames='cache')
def _next(net, params, logits_BV, cache, position_B, key, how):
  token_B = choose(logits_BV, jax.random.fold_in(key, position_B[0])[None], **dict(how))
  return token_B, *decode(net, params, token_B, position_B, cache)


def stream(net, params, prompt, key, *, S, stop, **how):
  """Yields the answer to one prompt (a list of ids) token by token, as they are made, until `stop` or until
  S positions are full. Compiles once: prompts are padded to S. how: see `choose`."""
  prompts_BP = jnp.pad(jnp.array(prompt, jnp.int32), (0, S - len(prompt)))[None]
  logits_BV, cache = _prefill(net, params, prompts_BP, jnp.array([len(prompt)]), S)
  for position in range(len(prompt), S):
    position_B = jnp.array([position])
    token_B, logits_BV, cache = _next(
      net, params, logits_BV, cache, position_B, key, tuple(sorted(how.items()))
    )
    if (token := int(token_B[0])) == stop:
      return
    yield token
