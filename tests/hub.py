"""Tiny Hugging Face folders of every architecture that can be read, and our network opened from one.

CASES is what the live tests build with transformers and what tests/goldens/make.py wrote down: between them
every option of the decoder, each in one case at least.
"""

import dataclasses
import functools
import json

import jax
import numpy as np

from configs import pretrain
from zhlm import devices, generate, model
from zhlm.convert import fields, read, runs

T = 24  # tokens, more than any window and than the context before any scaling
_SIZES = dict(
  vocab_size=32,
  hidden_size=16,
  intermediate_size=24,
  num_hidden_layers=2,
  num_attention_heads=4,
  num_key_value_heads=2,
  max_position_embeddings=64,
  head_dim=8,
  rms_norm_eps=0.01,  # large, so that a wrong one shows
  rope_theta=100.0,  # short waves, so that a wrong one shows within T
)
_IDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
_YARN = dict(rope_type='yarn', factor=4.0, original_max_position_embeddings=16, rope_theta=1_000.0)
_LLAMA3 = dict(
  rope_type='llama3',
  factor=8.0,
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  original_max_position_embeddings=16,
  rope_theta=1_000.0,
)
_EXPERTS = dict(num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16)
_SCALES = dict(
  embedding_multiplier=3.0, residual_multiplier=0.4, logits_scaling=2.5, attention_multiplier=0.2
)
# Name -> (class of transformers' config, its arguments over _SIZES).
CASES = {
  'llama': ('Llama', dict(num_key_value_heads=4, head_dim=None)),  # Llama 2, Yi, DeepSeek
  'llama3': ('Llama', dict(tie_word_embeddings=True, rope_parameters=_LLAMA3)),
  'internlm': ('Llama', dict(attention_bias=True, rope_parameters=dict(rope_type='linear', factor=4.0))),
  'qwen2': ('Qwen2', dict(tie_word_embeddings=True)),
  'qwen2_yarn': ('Qwen2', dict(rope_parameters=_YARN)),
  'qwen3': ('Qwen3', dict(head_dim=12, tie_word_embeddings=True)),
  'qwen3_window': ('Qwen3', dict(use_sliding_window=True, sliding_window=5, max_window_layers=0)),
  'qwen3_bias': ('Qwen3', dict(attention_bias=True)),
  'qwen3_moe': ('Qwen3Moe', dict(**_EXPERTS, norm_topk_prob=True)),
  'qwen3_moe_raw': ('Qwen3Moe', dict(**_EXPERTS, norm_topk_prob=False, tie_word_embeddings=True)),
  'mistral': ('Mistral', dict(sliding_window=5)),
  'glm': ('Glm', dict(partial_rotary_factor=0.5)),
  'glm4': ('Glm4', dict(partial_rotary_factor=0.5)),
  'internlm3': ('InternLM3', dict(rope_parameters=dict(rope_type='dynamic', factor=6.0))),
  'hunyuan': ('HunYuanDenseV1', dict(rope_parameters=dict(rope_type='dynamic', alpha=50.0, factor=1.0))),
  'ernie': ('Ernie4_5', {}),
  'granite': ('Granite', dict(**_SCALES, head_dim=None)),
  'seed_oss': ('SeedOss', dict(attention_bias=True, attention_out_bias=False)),
  'minicpm': (
    'Granite',
    dict(**{**_SCALES, 'attention_multiplier': 0.5}, head_dim=None),
  ),  # its twin: see `as_minicpm`
}
EXPORTED = [
  name
  for name in CASES
  if name.split('_')[0] in ('llama', 'llama3', 'internlm', 'qwen2', 'qwen3', 'mistral')
]


def tokens(rows=2):
  """The same ids everywhere, of all kinds of repetition."""
  i = np.arange(rows * T)
  return ((i * i + 3 * (i // 5)) % _SIZES['vocab_size']).reshape(rows, T).astype(np.int32)


def build(name, seed=0):
  """A random torch model of a case, float32: norms and biases, too, so that one that is lost shows."""
  import torch
  import transformers

  kind, options = CASES[name]
  sizes = {**_SIZES, **_IDS, **options}
  rope = {'rope_theta': sizes['rope_theta'], **sizes.pop('rope_parameters', {'rope_type': 'default'})}
  if 'partial_rotary_factor' in sizes:
    rope['partial_rotary_factor'] = sizes.pop('partial_rotary_factor')
  del sizes['rope_theta']
  config = getattr(transformers, f'{kind}Config')(
    **{k: v for k, v in sizes.items() if v is not None}, rope_parameters=rope
  )
  how = dict(attn_implementation='eager')  # the plain formula
  net = transformers.AutoModelForCausalLM.from_config(config, **how).eval()
  draw = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for key, x in net.named_parameters():
      noise = torch.randn(x.shape, generator=draw)
      scale = 0.3 if x.ndim == 1 else 1.0 if 'embed' in key else x.shape[-1] ** -0.5
      x.copy_(noise * scale + ('norm' in key))
  return net


def save(net, name, folder):
  """As transformers saves it, and for MiniCPM, which it has not, what its own code would have saved."""
  net.save_pretrained(folder)
  if name == 'minicpm':
    as_minicpm(folder)


def as_minicpm(folder):
  """Granite's config.json in the words of MiniCPM's: its class has the same multipliers by other names."""
  path = folder / 'config.json'
  hf = json.loads(path.read_text())
  out = {k: hf[k] for k in ('vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers')}
  out |= {k: hf[k] for k in ('num_attention_heads', 'num_key_value_heads', 'max_position_embeddings')}
  out |= {'model_type': 'minicpm', 'architectures': ['MiniCPMForCausalLM'], 'tie_word_embeddings': False}
  out |= {
    'rms_norm_eps': hf['rms_norm_eps'],
    'rope_theta': hf['rope_parameters']['rope_theta'],
    'rope_scaling': None,
  }
  out |= {
    'scale_emb': hf['embedding_multiplier'],
    'dim_model_base': hf['hidden_size'] / hf['logits_scaling'],
  }
  out['scale_depth'] = hf['residual_multiplier'] * hf['num_hidden_layers'] ** 0.5
  path.write_text(json.dumps(out))


def network(folder, **changed):
  """(our module, its params) of a Hugging Face folder, on one device. changed: fields to get wrong."""
  opened, config = read.Folder(folder), pretrain.get_config('size=tiny')
  config.model.update(fields.read(opened.config)[0])
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    params = runs.load(opened, config)
  config.model.update(changed)
  return model.make(config, 'scalar' if 'score' in params else 'lm'), params


@functools.partial(jax.jit, static_argnums=0)
def logits(net, params, tokens_BT):
  """[B, T, V] of a language model, [B, T] of a scalar head."""
  return net.apply({'params': params}, tokens_BT)[0]


def greedy(net, params, new=20):
  """The ids that follow each row of `tokens`, the likeliest first, [B, new]; nothing ends them."""
  rows = tokens()
  how = dict(new=new, stop=-1, temperature=0)
  lengths, keys = np.full(len(rows), T), jax.random.split(jax.random.key(0), len(rows))
  return np.asarray(jax.jit(functools.partial(generate.sample, net, **how))(params, rows, lengths, keys)[0])


def export(net, params, folder, dtype='float32', limit=10**9):
  """Writes a network as `launch.convert` does a run's, without a tokenizer; returns config.json."""
  folder.mkdir(parents=True, exist_ok=True)
  return runs.write_folder(folder, params, dataclasses.asdict(net.config), T, dtype, limit, _IDS)


def off(found, expected):
  """The largest difference, relative to the largest number expected."""
  return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())
