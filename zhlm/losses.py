"""The mathematics: one function an equation, arrays in, arrays out.

Nothing here takes a mean. A batch carries `weights` that the train step has scaled to sum to one over
the global batch, so `total(values, weights)` is the weighted mean, and what microbatches, devices and
hosts compute simply adds up. Whether that mean is over tokens or over sequences is a choice of weights.
"""

import jax
import jax.numpy as jnp
import numpy as np


def weights_sum_to_one(batch):
  """Scales every leaf called `weights` to sum to one over the global batch, so that losses and gradients
  of microbatches, devices and hosts add up to the weighted mean."""

  def scale(path, x):
    if path[-1].key != 'weights':
      return x
    x = x.astype(jnp.float32)
    return x / jnp.maximum(x.sum(), 1e-9)

  return jax.tree_util.tree_map_with_path(scale, batch)


def total(values, weights):
  """Σ w·x in float32: the mean of `values`, when `weights` sum to one over the global batch."""
  return jnp.sum(values.astype(jnp.float32) * weights.astype(jnp.float32))


def log_probs(logits_BTV, targets_BT):
  """(log π(target), entropy of π in nats) at each position, [B, T] float32."""
  logits_BTV = logits_BTV.astype(jnp.float32)
  logp_BTV = jax.nn.log_softmax(logits_BTV, -1)
  chosen_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], -1)[..., 0]
  return chosen_BT - jax.nn.logsumexp(logits_BTV, -1), -jnp.sum(jnp.exp(logp_BTV) * logp_BTV, -1)


def pair_weights(ranks_C, valid_C):
  """Which completions of a prompt beat which, numpy [C, C]: 1/(number of pairs) where i ranks above j.

  Each prompt counts once however many answers were compared, as InstructGPT's 1/(K choose 2)
  (Ouyang et al. 2022, eq. 1); ties and padding weigh nothing. Rank 1 is best.
  """
  better_CC = (ranks_C[:, None] < ranks_C[None, :]) & valid_C[:, None] & valid_C[None, :]
  return better_CC / np.maximum(better_CC.sum(), 1).astype(np.float32)


def preference(rewards_BC):
  """-log σ(r_i - r_j) for every ordered pair of a prompt's completions, [B, C, C]
  (Bradley & Terry 1952; Stiennon et al. 2020, section 3.4)."""
  return jax.nn.softplus(rewards_BC[:, None, :] - rewards_BC[:, :, None])


def token_rewards(score_B, kl_BT, last_BT, kl_cost):
  """r_t = -β·(log π_old - log π_ref), plus the score at the last token (Ziegler et al. 2019, eq. 2).
  last_BT is one at the answer's last token; kl_BT is zero outside the answer."""
  return -kl_cost * kl_BT.astype(jnp.float32) + last_BT.astype(jnp.float32) * score_B[:, None]


def advantages(rewards_BT, values_BT, mask_BT, gamma, lam):
  """Generalised advantage estimation (Schulman et al. 2016, eq. 16), and returns A + V.

  The mask marks the answer's tokens, which lie together; beyond the last one the value is zero.
  Returns (advantages_BT, returns_BT), zero outside the mask.
  """
  mask_BT = mask_BT.astype(jnp.float32)
  values_BT = values_BT * mask_BT

  def step(carry, x):
    advantage, next_value = carry
    reward, value, mask = x
    delta = reward + gamma * next_value - value
    advantage = (delta + gamma * lam * advantage) * mask
    return (advantage, value), advantage

  zeros_B = jnp.zeros(rewards_BT.shape[0], jnp.float32)
  xs = (rewards_BT.T, values_BT.T, mask_BT.T)
  _, advantages_TB = jax.lax.scan(step, (zeros_B, zeros_B), xs, reverse=True)
  return advantages_TB.T, (advantages_TB.T + values_BT) * mask_BT


def mean(x_BT, mask_BT):
  """The mean over the masked entries."""
  return (x_BT * mask_BT).sum() / jnp.maximum(mask_BT.sum(), 1.0)


def whiten(x_BT, mask_BT):
  """Mean 0 and variance 1 over the masked entries, with the biased variance of OpenAI's 2019 code."""
  mask_BT = mask_BT.astype(jnp.float32)
  centred_BT = x_BT - mean(x_BT, mask_BT)
  return centred_BT * jax.lax.rsqrt(mean(centred_BT**2, mask_BT) + 1e-8) * mask_BT


def clipped_policy(logp_BT, logp_old_BT, advantage_BT, clip):
  """PPO's clipped surrogate, to be minimised (Schulman et al. 2017, eq. 7). Returns (loss, ratio)."""
  ratio = jnp.exp(logp_BT - logp_old_BT)
  clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
  return jnp.maximum(-advantage_BT * ratio, -advantage_BT * clipped), ratio


def clipped_value(values_BT, values_old_BT, returns_BT, clip):
  """½·max((v - R)², (v_clipped - R)²): the value may move by `clip` from where it stood at rollout."""
  clipped = values_old_BT + jnp.clip(values_BT - values_old_BT, -clip, clip)
  return 0.5 * jnp.maximum((values_BT - returns_BT) ** 2, (clipped - returns_BT) ** 2)
