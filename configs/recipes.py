"""The three published recipes of RLHF, side by side: what `recipe=NAME` changes of sft, reward and ppo.

  python -m launch.train --config=configs/ppo.py:size=26m,mesh=gpu_8,recipe=tldr --workdir=runs/tldr/ppo …

openai2019: Ziegler et al. 2019, stylistic continuation, as OpenAI's released code has it. tldr: Stiennon
et al. 2020, appendix B, and where that is silent its reproduction by Huang et al. 2024. instructgpt: Ouyang
et al. 2022, appendix C, the 1.3B policy. Batches, rates and lengths are the papers', for models of 0.1 to
7 B weights and 0.03 to 1 M prompts: a smaller one needs others. Imports neither jax nor zhlm.
"""

RECIPES = {
  'openai2019': {
    'sft': {},  # had none: the policy began as the pretrained model
    'reward': {
      'reward.C': 4,  # a choice of four, as 3 pairs with the best
      'rollout.prompt_tokens': 64,  # here and in ppo alike: its scale is measured on such answers
      'rollout.new_tokens': 24,
      'rollout.temperature': 0.7,
      'batch.B': 32,
      'optimizer.learning_rate': 5e-5,
      'optimizer.name': 'adamw_tf',
      'optimizer.b2': 0.999,
      'optimizer.eps': 1e-5,
      'optimizer.clip': 0.0,
      'optimizer.warmup_steps': 0,
    },
    'ppo': {
      'batch.B': 512,
      'rollout.minibatches': 1,
      'rollout.epochs': 4,
      'steps': 4 * 1_953,  # a million answers
      'rollout.prompt_tokens': 64,
      'rollout.new_tokens': 24,
      'rollout.temperature': 0.7,
      'rollout.no_end_penalty': 1.0,
      'rollout.no_end_instead': True,
      'ppo.value_from': 'shared',
      'ppo.kl_cost': 0.15,
      'ppo.kl_target': 6.0,
      'ppo.whiten_rewards': True,
      'optimizer.name': 'adamw_tf',
      'optimizer.learning_rate': 1e-5,
      'optimizer.rate_every': 4,  # linear to 0, a step a rollout
      'optimizer.warmup_steps': 0,
      'optimizer.b2': 0.999,
      'optimizer.eps': 1e-5,
      'optimizer.clip': 0.0,
    },
  },
  'tldr': {
    'sft': {
      'batch.B': 128,
      'optimizer.name': 'adamw',
      'optimizer.learning_rate': 3e-6,
      'optimizer.decay': 'cosine',
      'optimizer.warmup_steps': 0,
    },
    'reward': {
      'batch.B': 64,
      'reward.C': 2,
      'rollout.prompt_tokens': 512,
      'rollout.new_tokens': 53,
      'rollout.temperature': 0.7,
      'optimizer.name': 'adamw',
      'optimizer.learning_rate': 3e-6,
      'optimizer.decay': 'cosine',
      'optimizer.warmup_steps': 0,
      'optimizer.eps': 1e-5,
    },
    'ppo': {
      'batch.B': 512,
      'rollout.minibatches': 1,
      'rollout.epochs': 4,
      'steps': 4 * 1_953,
      'rollout.prompt_tokens': 512,
      'rollout.new_tokens': 53,
      'rollout.temperature': 0.7,
      'rollout.no_end_penalty': 1.0,
      'rollout.no_end_instead': True,
      'ppo.value_from': 'reward',
      'ppo.kl_cost': 0.05,
      'optimizer.name': 'adamw',
      'optimizer.learning_rate': 3e-6,
      'optimizer.rate_every': 4,
      'optimizer.warmup_steps': 0,
      'optimizer.b2': 0.999,
      'optimizer.eps': 1e-5,
      'optimizer.clip': 0.0,
    },
  },
  'instructgpt': {
    'sft': {
      'batch.B': 32,  # for 16 epochs, though the loss is at its least after one
      'optimizer.name': 'adamw',
      'optimizer.learning_rate': 9.65e-6,
      'optimizer.decay': 'cosine',
      'optimizer.final_fraction': 0.1,
      'optimizer.warmup_steps': 0,
    },
    'reward': {
      'reward.C': 9,  # 4 to 9 answers a prompt, all in one batch element
      'batch.B': 64,
      'optimizer.name': 'adamw',
      'optimizer.learning_rate': 9e-6,
      'optimizer.decay': 'cosine',
      'optimizer.final_fraction': 0.1,
      'optimizer.warmup_steps': 0,
    },
    'ppo': {
      'batch.B': 64,
      'rollout.minibatches': 8,  # of an update of 512 answers, read once
      'rollout.epochs': 1,
      'steps': 8 * 500,  # 256,000 answers
      'rollout.temperature': 1.0,
      'ppo.value_from': 'reward',
      'ppo.kl_cost': 0.02,
      'ppo.pretrain_cost': 27.8,  # means what the norms of both gradients say: see grad_norm_pretrain
      'ppo.pretrain_rows': 8,
      'optimizer.name': 'adamw',
      'optimizer.learning_rate': 8e-6,  # 2.55e-6 … 2.55e-5 were tried
      'optimizer.decay': 'constant',
      'optimizer.warmup_steps': 80,  # ten rollouts
      'optimizer.ema': 0.999,  # 0.992 a rollout of eight updates
    },
  },
}


def apply(config, stage, name):
  """Sets the fields of recipe `name` for a stage in an unlocked ConfigDict; '' sets nothing. Raises
  ValueError for a name that is not there."""
  if name and name not in RECIPES:
    raise ValueError(f'unknown recipe {name!r}. Choose from: {", ".join(RECIPES)}')
  for field, value in (RECIPES[name][stage] if name else {}).items():
    *path, last = field.split('.')
    node = config
    for part in path:
      node = node[part]
    if last not in node:
      raise KeyError(field)
    node[last] = value
