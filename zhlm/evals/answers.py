"""Answers of a policy to many prompts, as text: what the other evals read."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from zhlm import generate, model
from zhlm.data import chat

ROWS = 64  # prompts answered at once


@functools.partial(jax.jit, static_argnames=('net', 'new', 'stop', 'temperature'))
def _sample(net, params, prompts_BP, lengths_B, keys_B, new, stop, temperature):
  return generate.sample(
    net, params, prompts_BP, lengths_B, keys_B, new=new, stop=stop, temperature=temperature
  )


def pad(prompts, rows, P):
  """Lists of ids -> (int32 [rows, P], lengths [rows]); rows that are missing hold one padding token."""
  tokens_BP, lengths_B = np.zeros((rows, P), np.int32), np.ones(rows, np.int32)
  for row, prompt in enumerate(prompts):
    tokens_BP[row, : len(prompt)] = prompt
    lengths_B[row] = len(prompt)
  return tokens_BP, lengths_B


def stream(run, params, prompts, *, samples=1, temperature=1.0, new=None, seed=0, stop=None):
  """Yields (answer's ids, whether it ended) for lists of prompt ids, `samples` to each, those to one prompt
  together. Sample k of prompt i draws from (seed, i, k), or alone from (seed, i): neither other prompts nor
  the number of samples change it."""
  net = model.make(run.config)
  stop = chat.end_of_turn(run.tokenizer) if stop is None else stop
  P = -(-max(map(len, prompts)) // 16) * 16
  new = new or run.config.rollout.new_tokens
  key, rows = jax.random.key(seed), len(prompts) * samples
  fold = jax.vmap(jax.random.fold_in, (None, 0)), jax.vmap(jax.random.fold_in)
  for first in range(0, rows, ROWS):
    i, k = jnp.divmod(jnp.arange(first, first + ROWS), samples)
    keys_B = fold[0](key, i)
    keys_B = fold[1](keys_B, k) if samples > 1 else keys_B
    asked = [prompts[row // samples] for row in range(first, min(first + ROWS, rows))]
    tokens_BP, lengths_B = pad(asked, ROWS, P)
    answers_BN, count_B = _sample(net, params, tokens_BP, lengths_B, keys_B, new, stop, temperature)
    found = zip(*jax.device_get((answers_BN, count_B)), strict=True)
    for ids, count in itertools.islice(found, len(asked)):
      ids = [int(t) for t in ids[:count]]
      ended = bool(ids) and ids[-1] == stop
      yield ids[: len(ids) - ended], ended


def answer(run, params, prompts, **how):
  """[(answer's ids, whether it ended)], as `stream` yields them."""
  return list(stream(run, params, prompts, **how))


def text(run, ids):
  """What an answer says."""
  return chat.decode(run.tokenizer, ids)
