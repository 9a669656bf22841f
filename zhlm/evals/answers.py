"""Answers of a policy to many prompts, as text: what the other evals read."""

import functools

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


def answer(run, params, prompts, *, temperature=1.0, new=None, seed=0, stop=None):
  """[(answer's ids, whether it ended)] for lists of prompt ids. Row i's randomness is (seed, i)."""
  net = model.make(run.config)
  stop = chat.end_of_turn(run.tokenizer) if stop is None else stop
  P = -(-max(map(len, prompts)) // 16) * 16
  new = new or run.config.rollout.new_tokens
  key, out = jax.random.key(seed), []
  for i in range(0, len(prompts), ROWS):
    tokens_BP, lengths_B = pad(prompts[i : i + ROWS], ROWS, P)
    keys_B = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(i, i + ROWS))
    answers_BN, count_B = _sample(net, params, tokens_BP, lengths_B, keys_B, new, stop, temperature)
    for ids, count in zip(*jax.device_get((answers_BN, count_B)), strict=True):
      ids = [int(t) for t in ids[:count]]
      ended = bool(ids) and ids[-1] == stop
      out.append((ids[: len(ids) - ended], ended))
  return out[: len(prompts)]


def text(run, ids):
  """What an answer says."""
  return chat.decode(run.tokenizer, ids)
