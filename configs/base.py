"""Every field of a training run, once: its default, its unit or reason. A stage's file changes a few.

  python -m launch.train --config=configs/STAGE.py:size=SIZE,mesh=MESH --config.FIELD=VALUE --workdir=DIR

Letters are axes: B batch, T time, D model, F feed-forward, V vocabulary, H heads, G key/value heads,
K head size, N layers. Imports neither jax nor zhlm.
"""

import difflib

from ml_collections import ConfigDict

# Transformer sizes; parameters with tied embeddings and the vocabulary given here.
SIZES = {
  'tiny': dict(D=32, F=64, N=2, H=8, G=8, K=4, V=352, T=64),  # tests: heads divide any 8-device mesh
  'demo': dict(D=256, F=640, N=4, H=4, G=4, K=64, V=6_400, T=128),  # 4.7 M: a laptop's quarter hour
  '26m': dict(D=512, F=1_408, N=8, H=8, G=2, K=64, V=6_400, T=512),  # 26 M
  '64m': dict(D=768, F=2_432, N=8, H=8, G=4, K=96, V=6_400, T=1_024),  # 64 M: minimind-3's shape
  '110m': dict(D=768, F=2_048, N=12, H=12, G=12, K=64, V=32_000, T=1_024),  # 110 M: GPT-2 small's
  '0.6b': dict(D=1_024, F=3_072, N=28, H=16, G=8, K=128, V=151_936, T=4_096),  # Qwen3-0.6B
  '1.7b': dict(D=2_048, F=6_144, N=28, H=16, G=8, K=128, V=151_936, T=4_096),  # Qwen3-1.7B
  '7b': dict(D=4_096, F=11_008, N=32, H=32, G=32, K=128, V=64_000, T=4_096),  # Llama-2 7B, Yi's vocabulary
}

# data x fsdp x tensor. Names are slices: v4-32 is 16 chips, v5p-256 is 128 (two cores a chip).
MESHES = {
  'one': (1, 1, 1),  # one device: a laptop's CPU, one GPU
  'all': (-1, 1, 1),  # every device, the model copied to each
  'fsdp': (1, -1, 1),  # every device, the model cut over them
  'gpu_8': (1, 8, 1),  # one host of eight GPUs
  'v4_32': (1, 16, 1),
  'v5e_16': (1, 16, 1),
  'v5p_256': (4, 32, 1),  # fsdp beyond 32 makes slices of D so thin that XLA stops gathering them
}


def choose(kind, name, choices):
  """choices[name]; raises ValueError that lists the choices, the nearest first."""
  if name not in choices:
    near = difflib.get_close_matches(name, choices, 1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    raise ValueError(f'unknown {kind} {name!r}.{hint} Choose from: {", ".join(choices)}')
  return choices[name]


def parse(arg, **defaults):
  """'size=demo,mesh=one' -> dict over `defaults`; raises ValueError for a key that is not there."""
  options = dict(defaults)
  for part in filter(None, (arg or '').split(',')):
    key, _, value = part.partition('=')
    choose('config option', key, options)
    options[key] = value
  return options


def get_config(size='demo', mesh='one'):
  """The defaults of all stages at one size and mesh. A stage changes some and locks it: from then on a
  misspelt field fails instead of being ignored."""
  shape = dict(choose('size', size, SIZES))
  data, fsdp, tensor = choose('mesh', mesh, MESHES)
  c = ConfigDict()
  c.stage = ''  # a module of zhlm/stages, or any importable module by its dotted name
  c.seed = 0  # of weights, order of data, and samples
  c.data = 'runs/demo'  # the folder that launch.prepare wrote: holds data/ and tokenizer/
  c.mixture = ''  # or several such: 'runs/a:0.8 runs/b:0.2 @2000 runs/b:1', new weights from update 2000
  c.data_workers = 0  # processes that read batches; 0: in this one, enough below 1 M tokens/s a host
  c.init_from = ''  # a run's folder whose weights to start from; '' is a fresh start
  c.steps = 1_000  # updates
  c.batch = ConfigDict()
  c.batch.B = 16  # rows in an update, over all devices
  c.batch.T = shape.pop('T')  # tokens in a row; also what a cache holds
  c.batch.microbatches = 1  # gradients are summed over so many parts: same update, less memory
  c.log_every = 10  # steps between lines of metrics.jsonl
  c.eval_every = 200  # steps between validations; 0 is never
  c.eval_batches = 8  # of the validation split
  c.save_every = 200  # steps between checkpoints; the last step is always saved
  c.keep = 2  # newest checkpoints to keep
  c.evals = ()  # modules of zhlm/evals that launch.evaluate runs on a finished run

  c.model = ConfigDict(shape)
  c.model.rope_theta = 10_000.0  # base of the rotary wavelengths; long contexts want 1e6
  c.model.norm_eps = 1e-6
  c.model.tied = True  # one matrix embeds and predicts: right for small models
  small = size in ('tiny', 'demo')
  c.model.remat = not small  # a third more arithmetic for a fraction of the memory
  c.model.dtype = 'float32' if small else 'bfloat16'  # of matrix products
  c.mesh = ConfigDict(dict(data=data, fsdp=fsdp, tensor=tensor))

  c.reward = ConfigDict()
  c.reward.C = 4  # completions of a prompt compared at once; more than these are left out

  c.ppo = ConfigDict()
  c.ppo.reward_from = ''  # the reward model's run
  c.ppo.prompt_tokens = 32  # prompts are padded to this; longer ones are left out
  c.ppo.new_tokens = 48  # at most, in an answer
  c.ppo.temperature = 1.0  # of sampling, and so of every log-probability
  c.ppo.minibatches = 2  # of batch.B rows each; together one rollout
  c.ppo.epochs = 2  # passes over a rollout
  c.ppo.kl_cost = 0.05  # β, a nat of KL in deviations of the score
  c.ppo.clip = 0.2  # how far the ratio of probabilities may pay
  c.ppo.value_clip = 0.2  # how far the value may move from the rollout's, in the loss
  c.ppo.value_cost = 0.1  # weight of the value's loss beside the policy's
  c.ppo.gamma = 1.0  # discount
  c.ppo.lam = 0.95  # of generalised advantage estimation
  c.ppo.no_end_penalty = 1.0  # deviations of score off for an answer without an end

  c.optimizer = ConfigDict()
  c.optimizer.name = 'adamw'  # or 'muon': matrices by Muon, the rest by Adam
  c.optimizer.learning_rate = 3e-4  # peak
  c.optimizer.warmup_steps = 20
  c.optimizer.decay = 'linear'  # or 'cosine', 'constant'
  c.optimizer.final_fraction = 0.0  # of the peak, at the last step
  c.optimizer.weight_decay = 0.0  # on matrices only
  c.optimizer.b1 = 0.9
  c.optimizer.b2 = 0.95  # InstructGPT's; 0.999 forgets too slowly for short runs
  c.optimizer.eps = 1e-8
  c.optimizer.clip = 1.0  # global norm of the gradient; 0 is no clipping
  return c
