"""Prompts to experience: complete, score, and write down what every frozen network says of each token.

Everything is indexed by the token that is predicted: column t of a batch reads tokens[:, :t+1] and speaks
of targets[:, t]. Rows are right-padded, so positions are plain and padding is never seen.
"""

import jax
import jax.numpy as jnp

from zhlm import generate
from zhlm.sharding import constrain


def join(prompts_BP, lengths_B, answers_BN, count_B):
  """Prompt and answer without a gap: [B, P + N], padded with 0."""
  B, N = answers_BN.shape
  tokens_BT = jnp.pad(prompts_BP, ((0, 0), (0, N)))
  inside_BP = jnp.arange(tokens_BT.shape[1]) < lengths_B[:, None]
  tokens_BT = jnp.where(inside_BP, tokens_BT, 0)
  columns_BN = jnp.where(jnp.arange(N) < count_B[:, None], lengths_B[:, None] + jnp.arange(N), -1)
  one_hot = columns_BN[:, :, None] == jnp.arange(tokens_BT.shape[1])
  return tokens_BT + (one_hot * answers_BN[:, :, None]).sum(1)


def reads(net, params, tokens_BT, targets_BT, temperature):
  """(log π of the targets, entropy), [B, T] float32, by the same graph as training's forward."""
  out, _ = net.apply({'params': params}, tokens_BT, targets_BT=targets_BT, temperature=temperature)
  return out


def score(net, params, tokens_BT, lengths_B):
  """The scalar head at each row's last real token, [B]: how a reward model reads an answer."""
  values_BT, _ = net.apply({'params': params}, tokens_BT)
  return jnp.take_along_axis(values_BT, jnp.maximum(lengths_B - 1, 0)[:, None], 1)[:, 0]


def answer_mask(T, lengths_B, count_B):
  """One where column t predicts a token of the answer, [B, T]."""
  t = jnp.arange(T)
  first_B1 = lengths_B[:, None] - 1
  return ((t >= first_B1) & (t < first_B1 + count_B[:, None])).astype(jnp.float32)


def complete(
  nets, networks, prompts_BP, lengths_B, key, *, new, stop, temperature, player='policy', scorers=()
):
  """Answers every prompt with the network `player` and reads the answers with 'reference' and `scorers`.

  nets, networks: modules and weights by name. Returns arrays of [B, T] for T = P + new - 1 predictions
  (tokens, targets, logp, logp_ref, entropy; mask: the answer's; window: that of an answer of all `new`) and
  of [B] (count: tokens of the answer; ended; scores: raw, {scorer: [B]}), and `answers` [B, new].
  """
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(prompts_BP.shape[0]))
  answers_BN, count_B = generate.sample(
    nets[player], networks[player], prompts_BP, lengths_B, keys, new=new, stop=stop, temperature=temperature
  )
  tokens_BT = join(prompts_BP, lengths_B, answers_BN, count_B)
  total_B = lengths_B + count_B
  scores = {name: score(nets[name], networks[name], tokens_BT, total_B) for name in scorers}
  ended_B = jnp.take_along_axis(tokens_BT, (total_B - 1)[:, None], 1)[:, 0] == stop
  tokens_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
  logp_BT, entropy_BT = reads(nets[player], networks[player], tokens_BT, targets_BT, temperature)
  logp_ref_BT, _ = reads(nets['reference'], networks['reference'], tokens_BT, targets_BT, temperature)
  T = tokens_BT.shape[1]
  return {
    'tokens': tokens_BT,
    'targets': targets_BT,
    'mask': answer_mask(T, lengths_B, count_B),
    'window': answer_mask(T, lengths_B, jnp.full_like(count_B, new)),
    'logp': logp_BT,
    'logp_ref': logp_ref_BT,
    'entropy': entropy_BT,
    'scores': scores,
    'count': count_B,
    'ended': ended_B,
    'answers': constrain(answers_BN, 'B_'),
  }
