"""The model types of Hugging Face folders that the decoder can express, as data: what each field of their
config.json is here, what it must be, and what transformers takes where it is missing.

How such a config is read and written, and what is refused, stands in config.py.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from zhlm.convert import names


class Family(NamedTuple):
  """One `model_type`.

  classes: their class with a language head, the one with a score ('' where there is none), and the first
    by another name.
  table: {path: names.Entry} of our arrays.
  defaults: what the class takes for a field that config.json does not have.
  fields: {their field: ours}; several of ours get the same value.
  only: {their field: the values that the decoder can express}.
  model: what of our model the family implies.
  derive: (their config) -> more of ours, where it takes arithmetic.
  exports: whether runs are written as this.
  """

  classes: tuple
  table: dict
  defaults: dict = {}
  fields: dict = {}
  only: dict = {}
  model: dict = {}
  derive: Callable = lambda hf: {}
  exports: bool = False


def _classes(name):
  return (f'{name}ForCausalLM', f'{name}ForSequenceClassification')


def _sliding(hf):
  """The window of all layers, or a pair: Qwen2 and 3 name each layer's kind of attention, or the number of
  the first one with a window."""
  window, N = hf['sliding_window'] if hf['use_sliding_window'] else 0, hf['num_hidden_layers']
  slides = [bool(window) and n >= hf['max_window_layers'] for n in range(N)]
  if hf['layer_types']:
    slides = [{'full_attention': False, 'sliding_attention': True}.get(kind) for kind in hf['layer_types']]
  return {'window': (window or 0) * slides[0] if len({*slides}) == 1 and slides[0] is not None else slides}


def _window(hf):
  return {'window': hf['sliding_window'] or 0}


def _moe_window(hf):
  return {'window': (hf['sliding_window'] or 0) if hf['use_sliding_window'] else 0}


def _minicpm(hf):
  """Hu et al. 2024, table 7: depth and width set the multipliers."""
  depth = hf['scale_depth'] / math.sqrt(hf['num_hidden_layers'])
  return {'residual_scale': depth, 'logit_scale': hf['dim_model_base'] / hf['hidden_size']}


_BIASES = {'attention_bias': ('qkv_bias', 'o_bias')}
_QWEN = {'use_sliding_window': False, 'sliding_window': 4_096, 'max_window_layers': 28, 'layer_types': None}
_GLM = dict(
  defaults={
    'attention_bias': True,
    'partial_rotary_factor': 0.5,
    'rms_norm_eps': 1.5625e-7,
    'head_dim': 128,
    'num_key_value_heads': 2,
  },
  fields={'attention_bias': ('qkv_bias',)},
)

FAMILIES = {
  'llama': Family(
    _classes('Llama'), names.DENSE, fields=_BIASES, only={'mlp_bias': (False,)}, exports=True
  ),
  'qwen2': Family(
    _classes('Qwen2'),
    names.DENSE,
    _QWEN | {'attention_bias': True, 'num_key_value_heads': 32},
    only={'attention_bias': (True,)},
    model={'qkv_bias': True},
    derive=_sliding,
    exports=True,
  ),
  'qwen3': Family(
    _classes('Qwen3'),
    names.DENSE,
    _QWEN | {'head_dim': 128, 'num_key_value_heads': 32},
    _BIASES,
    model={'qk_norm': 'before'},
    derive=_sliding,
    exports=True,
  ),
  'qwen3_moe': Family(
    _classes('Qwen3Moe'),
    names.DENSE | names.EXPERTS,
    {
      'moe_intermediate_size': 768,
      'num_experts': 128,
      'num_experts_per_tok': 8,
      'norm_topk_prob': False,
      'num_key_value_heads': 4,
      'use_sliding_window': False,
      'sliding_window': 4_096,
      'max_window_layers': None,  # in its files, but not read
    },
    {
      **_BIASES,
      'moe_intermediate_size': ('F',),
      'num_experts': ('E',),
      'num_experts_per_tok': ('top',),
      'norm_topk_prob': ('top_normalised',),
    },
    only={'decoder_sparse_step': (1,), 'mlp_only_layers': ([], None)},
    model={'qk_norm': 'before'},
    derive=_moe_window,
    exports=True,
  ),
  'mistral': Family(
    _classes('Mistral'),
    names.DENSE,
    {'sliding_window': 4_096, 'num_key_value_heads': 8},
    derive=_window,
    exports=True,
  ),
  'glm': Family(_classes('Glm'), names.DENSE | names.GLM, model={'rope_interleaved': True}, **_GLM),
  'glm4': Family(
    _classes('Glm4'),
    names.DENSE | names.GLM | names.SANDWICH,
    model={'rope_interleaved': True, 'sandwich': True},
    **_GLM,
  ),
  'internlm3': Family(
    ('InternLM3ForCausalLM', '', 'LlamaForCausalLM'),
    names.DENSE,
    {'rms_norm_eps': 1e-5, 'head_dim': 128, 'num_key_value_heads': 2},
    # Its remote code and transformers' class disagree about which projections have these biases.
    only={'qkv_bias': (False,), 'attention_bias': (False,), 'bias': (False,), 'mlp_bias': (False,)},
  ),
  'hunyuan_v1_dense': Family(
    _classes('HunYuanDenseV1'),
    names.DENSE | names.HUNYUAN,
    {'rms_norm_eps': 1e-5},
    _BIASES,
    only={
      'use_qk_norm': (True,),
      'use_rotary_pos_emb': (True,),
      'use_cla': (False,),
      'mlp_bias': (False,),
      'norm_type': ('rms', 'hf_rms', 'fused'),
    },
    model={'qk_norm': 'after'},
  ),
  'ernie4_5': Family(
    ('Ernie4_5ForCausalLM', ''),
    names.DENSE,
    {
      'rms_norm_eps': 1e-5,
      'tie_word_embeddings': True,
      'rope_theta': 500_000.0,
      'head_dim': 128,
      'num_key_value_heads': 2,
    },
    only={'use_bias': (False,), 'attention_bias': (False,)},
    model={'rope_interleaved': True},
  ),
  'minicpm': Family(
    ('MiniCPMForCausalLM', ''),
    names.DENSE,
    {'scale_emb': 1, 'scale_depth': 1, 'dim_model_base': 1, 'tie_word_embeddings': True},
    {**_BIASES, 'scale_emb': ('embed_scale',)},
    only={'num_experts': (0, None)},
    derive=_minicpm,
  ),
  'granite': Family(
    ('GraniteForCausalLM', ''),
    names.DENSE,
    dict.fromkeys(
      ('embedding_multiplier', 'logits_scaling', 'residual_multiplier', 'attention_multiplier'), 1.0
    ),
    {
      **_BIASES,
      'embedding_multiplier': ('embed_scale',),
      'residual_multiplier': ('residual_scale',),
      'attention_multiplier': ('attention_scale',),
    },
    only={'mlp_bias': (False,)},
    derive=lambda hf: {'logit_scale': 1 / hf['logits_scaling']},
  ),
  'seed_oss': Family(
    _classes('SeedOss'),
    names.DENSE,
    {'attention_bias': True, 'attention_out_bias': False, 'head_dim': 128, 'num_key_value_heads': 8},
    {'attention_bias': ('qkv_bias',), 'attention_out_bias': ('o_bias',)},
    only={'mlp_bias': (False,)},
  ),
}
