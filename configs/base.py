"""Every field of a training run, once (those of learning from preferences in rlhf.py): its default, its
unit or reason. A stage's file changes a few.

  python -m launch.train --config=configs/STAGE.py:size=SIZE,mesh=MESH --config.FIELD=VALUE --workdir=DIR

Sizes and meshes, by name, stand in configs/sizes.py; the letters that name axes, in zhlm/sharding.py.
Imports neither jax nor zhlm.
"""

from ml_collections import ConfigDict

from configs import rlhf
from configs.sizes import MESHES, SIZES, choose, parse, shape_of  # noqa: F401 (stages parse by it)


def get_config(size='demo', mesh='one'):
  """The defaults of all stages at one size and mesh. A stage changes some and locks it: from then on a
  misspelt field fails instead of being ignored."""
  shape = shape_of(size)
  axes = choose('mesh', mesh, MESHES)
  c = ConfigDict()
  c.stage = ''  # a module of zhlm/stages, or any importable module by its dotted name
  c.seed = 0  # of weights, order of data, and samples
  c.data = 'runs/demo'  # the folder that launch.prepare wrote: holds data/ and tokenizer/
  c.mixture = ''  # or several such: 'runs/a:0.8 runs/b:0.2 @2000 runs/b:1', new weights from update 2000
  c.data_workers = 0  # processes that read batches; 0: in this one, enough below 1 M tokens/s a host
  c.init_from = ''  # a run's folder whose weights to start from; '' is a fresh start
  c.steps = 1_000  # updates; 0: one pass over the training split, for stages that do not make their data
  c.batch = ConfigDict()
  c.batch.B = 16  # rows in an update, over all devices
  c.batch.T = shape.pop('T')  # tokens in a row; also what a cache holds
  c.batch.microbatches = 1  # gradients are summed over so many parts: same update, less memory
  c.log_every = 10  # steps between lines of metrics.jsonl
  c.eval_every = 200  # steps between validations; 0 is never
  c.eval_batches = 8  # of the validation split
  c.save_every = 200  # steps between checkpoints; the last step is always saved
  c.keep = 2  # newest checkpoints to keep; a damaged one needs another to fall back to
  c.keep_best = 0  # those of least validation loss, too; of ppo, grpo, rloo: of most gold, or score
  c.keep_every = 0  # and those of every so many steps; 0 is none
  c.guard = ConfigDict()  # an update whose loss or gradient is not finite is skipped and counted
  c.guard.spike = 0.0  # so is one of a gradient this many times the usual; 0: `clip` is enough, 10 is wary
  c.guard.patience = 5  # updates skipped in a row end the run: the weights are at fault, not the data
  c.debug = False  # name the first array that is not finite; no transfer hides in an update: slower
  c.evals = ()  # modules of zhlm/evals that launch.evaluate runs on a finished run

  c.model = ConfigDict()  # the defaults are Qwen3's architecture; `shape` then says V D F N H G K and more
  c.model.rope_theta = 10_000.0  # base of the rotary wavelengths; long contexts want 1e6
  c.model.rope_fraction = 1.0  # of each head that is rotated
  c.model.rope_interleaved = False  # rotate neighbours (GLM, ERNIE), not halves
  c.model.rope_scaling = ''  # to contexts longer than rope_T: 'linear', 'ntk', 'llama3', 'yarn'
  c.model.rope_factor = 1.0  # by which the context grows; ntk: alpha
  c.model.rope_T = 0  # tokens, the context before scaling (llama3, yarn)
  c.model.rope_low, c.model.rope_high = 1.0, 4.0  # llama3: turns in rope_T: all scaled … none
  c.model.rope_slow, c.model.rope_fast = 1.0, 32.0  # yarn: the same, beta_slow and beta_fast
  c.model.rope_attention = 0.0  # yarn: factor on queries and keys; 0 is 0.1·ln(rope_factor) + 1
  c.model.norm_eps = 1e-6
  c.model.qk_norm = 'before'  # RMSNorm of queries and keys 'before' the rotation, 'after' it, or '' none
  c.model.qkv_bias, c.model.o_bias = False, False  # Qwen2 has the first, InternLM-1 both
  c.model.sandwich = False  # norms after attention and feed-forward, too (GLM-4)
  c.model.window = 0  # tokens that a token sees, itself included; 0 is all before it
  c.model.tied = True  # one matrix embeds and predicts: right for small models
  c.model.embed_scale, c.model.residual_scale, c.model.logit_scale = 1.0, 1.0, 1.0  # MiniCPM's multipliers
  c.model.attention_scale = 0.0  # of the products of queries and keys; 0 is K^-½, with muP 8/K
  c.model.mup_D = 0  # muP: the width D at which learning rates were tuned; 0 is off
  c.model.E = 0  # experts in place of one feed-forward network; 0 is none
  c.model.top = 8  # experts that a token goes to
  c.model.top_normalised = True  # their weights sum to one
  c.model.balance_cost = 1e-3  # weight of the load-balance loss, which is 1 when experts are used alike
  c.model.capacity = 0.0  # tokens an expert takes, in even shares; 0 takes all, for E/top times the work
  c.model.lora_rank = 0  # of low-rank adapters, which then alone are trained; 0 is none
  c.model.lora_alpha = 16.0  # their product weighs lora_alpha / lora_rank
  c.model.lora_on = ('q', 'k', 'v', 'o', 'gate', 'up', 'down')  # projections that have one
  c.model.attention = 'auto'  # or 'xla', 'blockwise', 'cudnn', 'splash': see zhlm/attention.py
  small = size in ('tiny', 'demo')
  c.model.remat = 'none' if small else 'full'  # of blocks' activations; or 'dots': keep products
  c.model.unroll = 1  # blocks in one piece of code; N: no loop, on CPU PPO some % faster, slower to compile
  c.model.dtype = 'float32' if small else 'bfloat16'  # of matrix products; weights are float32
  c.model.update(shape)
  c.mesh = ConfigDict(dict(data=1, fsdp=1, sequence=1, expert=1, tensor=1))  # devices along each axis
  c.mesh.slices = 1  # of a pod, over which `data` is cut: they are joined by a slow network
  c.mesh.update(axes)

  rlhf.add(c)

  c.optimizer = ConfigDict()
  # 'adamw'; 'adamw_tf': eps as in TensorFlow, gentler first steps; 'muon': matrices by Muon, the rest by
  # Adam; 'adafactor': next to no state; 'lion': half of Adam's, wants a rate 3-10 times lower and b2=0.98;
  # 'schedule_free': wants decay='constant'
  c.optimizer.name = 'adamw'
  c.optimizer.learning_rate = 3e-4  # peak
  c.optimizer.warmup_steps = 20
  c.optimizer.decay = 'linear'  # or 'cosine', 'constant'
  c.optimizer.final_fraction = 0.0  # of the peak, at the last step
  c.optimizer.rate_every = 1  # updates with one learning rate; PPO's papers: all those of a rollout
  c.optimizer.weight_decay = 0.0  # on matrices only, times the rate; muP does not change it
  c.optimizer.b1 = 0.9  # adafactor has none; schedule_free: how near the average the gradient is taken
  c.optimizer.b2 = 0.95  # InstructGPT's; 0.999 forgets too slowly for short runs; adafactor has none
  c.optimizer.eps = 1e-8  # of the denominators of adamw, of schedule_free, and of what muon leaves to Adam
  c.optimizer.clip = 1.0  # global norm of the gradient; 0 is no clipping
  c.optimizer.ema = 0.0  # decay of an average of the weights, which is validated and opened; 0 is none
  return c
