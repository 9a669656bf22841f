"""The fields of learning from preferences and rewards, once: reward model, DPO, rollouts, PPO, GRPO, RLOO.

As in configs/base.py, which adds these to every config: default, unit or reason; any changes on the command
line, as in --config.ppo.kl_cost=0.1. docs/rlhf.md tells what each is for. Imports neither jax nor zhlm.
"""

from ml_collections import ConfigDict


def add(c):
  """Adds these fields to a ConfigDict."""
  c.reward = ConfigDict()
  # Completions of a prompt compared at once; more than these are left out, and told. The least InstructGPT
  # had, of 4 to 9: each is a row even where a prompt has fewer, and 9 would make pairs cost 4.5 times.
  c.reward.C = 4

  c.dpo = ConfigDict()
  c.dpo.loss = 'dpo'  # or 'ipo', which does not draw answers infinitely far apart
  c.dpo.beta = 0.1  # reward of a nat of log π/π_ref: larger keeps nearer to the reference

  c.rollout = ConfigDict()  # of ppo, grpo, rloo, which learn from their own answers
  c.rollout.reward = ''  # 'run:FOLDER' of a reward model, rules, or a weighted sum of both: docs/rewards.md
  c.rollout.prompt_tokens = 32  # prompts are padded to this; longer ones are left out
  c.rollout.new_tokens = 48  # at most, in an answer
  c.rollout.widths = 3  # new_tokens, a half, a quarter: at which of them rows are computed, as they need
  c.rollout.temperature = 1.0  # of sampling, and so of every log-probability
  c.rollout.samples = 1  # answers to a prompt; grpo and rloo compare them and need two
  c.rollout.minibatches = 2  # of batch.B rows each; together one rollout
  c.rollout.epochs = 2  # passes over a rollout
  c.rollout.no_end_penalty = 1.0  # deviations of score off for an answer without an end
  c.rollout.no_end_instead = False  # it scores minus that, whatever it says (Ziegler et al. 2019)
  c.rollout.gold = ''  # as `reward`: what it stands for; never trained on, watched at every validation
  c.rollout.eval_samples = 256  # answers in a validation, filled up to whole rollouts; × 4 halves the noise

  c.ppo = ConfigDict()
  c.ppo.kl_cost = 0.05  # β, a nat of KL in deviations of the score
  c.ppo.kl_target = 0.0  # nats an answer that β is adapted to (Ziegler et al. 2019: 6); 0: β stays
  c.ppo.kl_horizon = 10_000  # answers in which β may grow by a fifth of itself
  c.ppo.kl_loss = 0.0  # weight of KL in the loss itself, beside that in the reward
  c.ppo.kl_estimate = 'k2'  # of that: 'k1', 'k2', 'k3', all with the gradient of KL
  c.ppo.clip = 0.2  # how far the ratio of probabilities may pay
  c.ppo.value_clip = 0.2  # how far the value may move from the rollout's, in the loss
  c.ppo.value_cost = 0.1  # weight of the value's loss beside the policy's
  # 'reward': the value network begins as the reward model; 'policy': as SFT with a new head; 'zero': whose
  c.ppo.value_from = 'reward'  # head is zero; 'shared': no network, a zero head on the policy's own trunk
  c.ppo.gamma = 1.0  # discount
  c.ppo.lam = 0.95  # of generalised advantage estimation
  c.ppo.whiten_rewards = False  # to deviation 1 a rollout; OpenAI 2019 did: shorter answers, liked less
  c.ppo.whiten_advantages = True  # to mean 0 and deviation 1 a rollout; noise where all is learnt
  c.ppo.mean = 'token'  # of the loss; or 'sequence', 'constant': see zhlm/online.py
  c.ppo.pretrain_cost = 0.0  # γ of PPO-ptx: weight of pretraining's loss, nats a token, in every update
  c.ppo.pretrain_rows = 1  # of pretraining, a row of the batch; InstructGPT took 8

  c.grpo = ConfigDict()
  c.grpo.kl_cost = 0.04  # β, weight of KL in the loss
  c.grpo.kl_estimate = 'k3'  # its value; its gradient is KL's: see zhlm/estimators.py
  c.grpo.clip = 0.2  # how far the ratio of probabilities may pay
  c.grpo.spread = True  # divide by the deviation of a prompt's scores; False is Dr. GRPO's
  c.grpo.mean = 'sequence'  # or 'token', 'constant' (Dr. GRPO's): see zhlm/online.py

  c.rloo = ConfigDict()
  c.rloo.kl_cost = 0.05  # β, a nat of KL in deviations of the score
  c.rloo.clip = 0.2  # how far the ratio of a whole answer's probabilities may pay
  c.rloo.whiten = False  # advantages to deviation 1 a rollout
