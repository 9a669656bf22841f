"""What reinforcement learning estimates on samples: divergences, advantages of a group, the price of KL.

As in `zhlm/losses.py` one function is an equation, arrays in, arrays out; what is summed is masked before.
"""

import math

import jax
import jax.numpy as jnp

from zhlm import losses
from zhlm.errors import InputError

KL = ('k1', 'k2', 'k3')


def kl(name, logp, logp_ref):
  """An estimate of KL(π‖π_ref) in nats at each sampled token, by its value (Schulman 2020):

  k1 = x for x = log π - log π_ref: unbiased, may be negative;  k2 = x²/2: small, biased;
  k3 = exp(-x) - 1 + x: unbiased and never negative.
  Raises InputError for another name.
  """
  x = logp - logp_ref
  if name not in KL:
    raise InputError(f'unknown estimate of KL {name!r}; choose from {", ".join(KL)}')
  return {'k1': x, 'k2': 0.5 * x**2, 'k3': jnp.expm1(-x) + x}[name]


def kl_cost(name, logp, logp_ref):
  """A term to minimise in a loss: the value of `kl(name)`, with the gradient of KL(π‖π_ref).

  Differentiated through samples of π, k1 has no gradient on average (E[∇log π] = 0) and k3 that of the
  other divergence, KL(π_ref‖π); k2's is the right one, E[x ∇log π]. So k2 lends the others its gradient.
  """
  right = kl('k2', logp, logp_ref)
  return jax.lax.stop_gradient(kl(name, logp, logp_ref) - right) + right


def next_kl_cost(beta, kl_nats, target, horizon, episodes):
  """β after `episodes` answers whose KL was `kl_nats` on average: β·(1 + clip(KL/target - 1, ±0.2)·
  episodes/horizon) (Ziegler et al. 2019, section 2.2, as OpenAI's code has it)."""
  error = jnp.clip(kl_nats / target - 1, -0.2, 0.2)
  return beta * (1 + error * episodes / horizon)


def whiten_spread(x_BT, mask_BT):
  """Variance 1 over the masked entries, with their mean kept: how rewards are whitened."""
  return losses.whiten(x_BT, mask_BT) + losses.mean(x_BT, mask_BT) * mask_BT


def group_advantages(score_BK, spread=True):
  """(r - mean)/std over the K answers to a prompt (Shao et al. 2024, GRPO); spread=False leaves out the
  division (Liu et al. 2025, Dr. GRPO): it weighs prompts of little spread most."""
  centred_BK = score_BK - score_BK.mean(1, keepdims=True)
  return centred_BK / (score_BK.std(1, keepdims=True) + 1e-6) if spread else centred_BK


def leave_one_out(score_BK):
  """r_i minus the mean of the other K - 1 answers to the prompt (Kool et al. 2019; Ahmadian et al. 2024,
  RLOO): the baseline does not depend on the answer itself, so it is unbiased."""
  K = score_BK.shape[1]
  return (score_BK - score_BK.mean(1, keepdims=True)) * K / (K - 1)


def charged(score_B, ended_B, penalty, instead):
  """Scores of answers, where one without an end pays: `penalty` off its score (Stiennon et al. 2020), or
  with `instead` it scores minus that whatever it says (Ziegler et al. 2019)."""
  return score_B * (ended_B | (not instead)) - penalty * ~ended_B


def explained_variance(values_BT, returns_BT, mask_BT):
  """1 - var(R - V)/var(R) over the masked entries: 1 is a perfect value network, 0 a constant one."""

  def variance(x_BT):
    return losses.mean((x_BT - losses.mean(x_BT, mask_BT)) ** 2, mask_BT)

  return 1 - variance(returns_BT - values_BT) / jnp.maximum(variance(returns_BT), 1e-8)


def best_of_n(score_BN, n, of_BN=None):
  """E[score of the best of n answers] to each prompt, [B], without bias from N ≥ n of them: the i-th
  smallest score is the best of C(i - 1, n - 1) of the C(N, n) subsets (Nakano et al. 2021, appendix I).

  of_BN: what is averaged in place of the score by which the best is chosen (gold, where that is a proxy);
  of answers that score alike each is as likely to be the best.
  """
  N = score_BN.shape[1]
  weight_N = jnp.array([math.comb(i, n - 1) / math.comb(N, n) for i in range(N)])
  if of_BN is None:
    return jnp.sort(score_BN, 1) @ weight_N
  alike_BNN = (score_BN[:, :, None] == score_BN[:, None, :]).astype(jnp.float32)
  mean_BN = (alike_BNN * of_BN[:, None, :]).sum(2) / alike_BNN.sum(2)
  return jnp.take_along_axis(mean_BN, jnp.argsort(score_BN, 1), 1) @ weight_N


def best_of_n_kl(n):
  """KL(best of n‖π) = log n - (n - 1)/n nats, where no two answers score alike (Stiennon et al. 2020,
  appendix G.3)."""
  return jnp.log(n) - (n - 1) / n
