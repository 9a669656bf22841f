"""A Hugging Face config.json to the fields of our model, and back.

Nothing that changes the function is passed over: a field is mapped (families.py), or must have the one
value that the decoder can express, or is known not to touch the forward pass (`ASIDE`); any other is
refused by its name. Two spellings are read, and both are written: transformers 4's `rope_theta`,
`rope_scaling`, `torch_dtype` and 5's `rope_parameters`, `dtype`. 4 reads a folder with only the second
spelling without a word, and computes with a rope_theta of 10,000.
"""

from zhlm.convert import rope
from zhlm.convert.families import FAMILIES
from zhlm.errors import InputError

_SIZES = {
  'vocab_size': 'V',
  'hidden_size': 'D',
  'intermediate_size': 'F',
  'num_hidden_layers': 'N',
  'num_attention_heads': 'H',
}
_DEFAULTS = {  # of most classes; families.py has what a family has otherwise
  'hidden_act': 'silu',
  'rms_norm_eps': 1e-6,
  'tie_word_embeddings': False,
  'attention_bias': False,
  'num_key_value_heads': None,  # as many as heads
  'head_dim': None,  # hidden_size / num_attention_heads
  'rope_theta': 10_000.0,
  'partial_rotary_factor': 1.0,
}
_ONLY = {'hidden_act': ('silu', 'swish'), 'attention_bias': (False,)}
_FIELDS = {'rms_norm_eps': ('norm_eps',), 'tie_word_embeddings': ('tied',)}
# What only training, sampling, labels or the library itself read.
ASIDE = {
  *(
    '_name_or_path',
    'architectures',
    'auto_map',
    'model_type',
    'transformers_version',
    'dtype',
    'torch_dtype',
  ),
  *('max_position_embeddings', 'use_cache', 'initializer_range', 'pretraining_tp', 'attention_dropout'),
  *('residual_dropout', 'output_router_logits', 'router_aux_loss_coef', 'output_attentions', 'return_dict'),
  *('output_hidden_states', 'is_encoder_decoder', 'chunk_size_feed_forward', 'problem_type', 'id2label'),
  *(
    'label2id',
    'num_labels',
    'bos_token_id',
    'eos_token_id',
    'pad_token_id',
    'sep_token_id',
    'unk_token_id',
  ),
  *('eod_token_id', 'zhlm_score_bias'),
  # Hunyuan's files name more ids and a second spelling of head_dim.
  *(
    'attention_head_dim',
    'pad_id',
    'im_start_id',
    'im_end_id',
    'im_newline_id',
    'text_start_id',
    'text_end_id',
  ),
  *(
    'image_token_id',
    'mask_init_id',
    'org_vocab_size',
    'cla_share_factor',
    'class_num',
    'pool_type',
    'dense_list',
  ),
}
# What a model has of which its folder says nothing.
_PLAIN = {
  **dict(rope_interleaved=False, qk_norm='', qkv_bias=False, o_bias=False, sandwich=False, window=0),
  **dict(embed_scale=1.0, residual_scale=1.0, logit_scale=1.0, attention_scale=0.0, mup_D=0),
  **dict(E=0, lora_rank=0),
}


def family(hf):
  """(the name of a config's family, the Family). Raises InputError with the list for any other."""
  kind, named = hf.get('model_type'), hf.get('architectures') or ['']
  if kind is None:  # older files of remote code
    kind = next((name for name, f in FAMILIES.items() if named[0] and named[0] in f.classes), None)
  if kind not in FAMILIES:
    raise InputError(
      f'config.json: model_type={kind!r} is not one of the architectures that the decoder can express: '
      f'{", ".join(FAMILIES)}'
    )
  return kind, FAMILIES[kind]


def is_scalar(hf):
  """Whether the folder holds a reward model. Raises InputError for a class with neither head."""
  kind, f = family(hf)
  named, known = (hf.get('architectures') or f.classes)[0], [name for name in f.classes if name]
  if named not in known:
    raise InputError(f'config.json: architectures=[{named!r}]; of {kind} can be read: {", ".join(known)}')
  return named == f.classes[1]


def read(hf):
  """(fields of our model, [what a user should know]) of a config.json as a dict.

  Raises InputError, naming the field, for what is missing, is not known, or cannot be expressed.
  """
  kind, f = family(hf)
  is_scalar(hf)
  rename = {'num_local_experts': 'num_experts'} if 'num_experts' in f.defaults else {}
  hf = {rename.get(name, name): value for name, value in hf.items()}
  missing = [name for name in (*_SIZES, 'max_position_embeddings') if not _is_size(hf.get(name))]
  if missing:
    raise InputError(f'config.json: {", ".join(missing)}: missing, or not a positive whole number')
  full = {**_DEFAULTS, **f.defaults, **hf}
  fields = {**{theirs: (ours,) for theirs, ours in _SIZES.items()}, **_FIELDS, **f.fields}
  only = {name: values for name, values in {**_ONLY, **f.only}.items() if name not in f.fields}
  known = {*fields, *only, *_DEFAULTS, *f.defaults, *rope.FIELDS, *ASIDE}
  strange = {n: v for n, v in hf.items() if n not in known and v is not None and v is not False}
  if strange:
    shown = ', '.join(f'{name}={value!r}'[:60] for name, value in sorted(strange.items()))
    raise InputError(
      f'config.json ({kind}): zhlm does not know {shown}; take out of config.json what leaves the '
      f'forward pass as it is'
    )
  for name, values in only.items():
    if name in full and full[name] not in values:
      raise InputError(
        f'config.json ({kind}): {name}={full[name]!r} cannot be expressed, only '
        f'{" or ".join(map(repr, values))}'
      )
  model = _PLAIN | f.model
  for theirs, ours in fields.items():
    model |= dict.fromkeys(ours, full[theirs])
  model['G'] = full['num_key_value_heads'] or full['num_attention_heads']
  model['K'] = full['head_dim'] or full['hidden_size'] // full['num_attention_heads']
  model |= f.derive(full)
  if not isinstance(model['window'], int):
    raise InputError(
      f'config.json ({kind}): layer_types, max_window_layers: layers with and without a window, or others; '
      f'the decoder has one kind of attention in all layers'
    )
  if model['H'] % model['G'] or model['K'] % 2:
    raise InputError(
      f'config.json: {model["H"]} heads, {model["G"]} of keys, of size {model["K"]}: do not fit'
    )
  turns, notes = rope.read(kind, hf, full)
  return model | turns, notes


def _is_size(x):
  return isinstance(x, int) and not isinstance(x, bool) and x > 0


def write(model, scalar, T, dtype, ids):
  """(the name of the family, config.json as a dict) of a model that needs no multipliers (write.fold).

  T: max_position_embeddings, where the model does not know what it was trained on. ids: those that the
  tokenizer knows, {'eos_token_id': 3, …}. Raises InputError, naming the fields, for what no family here can
  express.
  """
  kind = _kind(model)
  f = FAMILIES[kind]
  theirs = {**{field: (ours,) for field, ours in _SIZES.items()}, **_FIELDS, **f.fields}
  hf = {'architectures': [f.classes[scalar]], 'model_type': kind}
  hf |= {field: model[ours[0]] for field, ours in theirs.items()}
  if 'num_experts' in hf:
    hf['num_local_experts'] = hf['num_experts']  # 5's spelling
  hf |= {'num_key_value_heads': model['G'], 'head_dim': model['K'], 'hidden_act': 'silu'}
  if 'use_sliding_window' in f.defaults:
    window, N = model['window'], model['N']
    hf |= {'use_sliding_window': bool(window), 'sliding_window': window or None}
    if 'layer_types' in f.defaults:
      hf['max_window_layers'] = 0 if window else N
      hf['layer_types'] = [('sliding_attention' if window else 'full_attention')] * N
  elif 'sliding_window' in f.defaults:
    hf['sliding_window'] = model['window'] or None
  hf |= rope.write(model, T)
  hf |= {'dtype': dtype, 'torch_dtype': dtype, 'use_cache': True, **ids}
  if scalar:  # transformers counts labels by their names
    hf |= {'id2label': {'0': 'score'}, 'label2id': {'score': 0}}
  return kind, hf


def _kind(model):
  """The family that a model is written as."""
  biases = (bool(model['qkv_bias']), bool(model['o_bias']))
  kind = 'qwen2' if biases == (True, False) else 'mistral' if model['window'] else 'llama'
  if model['qk_norm'] or model['E']:
    kind = 'qwen3_moe' if model['E'] else 'qwen3'
  norm = 'before' if kind in ('qwen3', 'qwen3_moe') else ''
  wanted = {'qk_norm': norm, 'sandwich': False, 'rope_interleaved': False, 'rope_fraction': 1.0}
  wanted |= {'lora_rank': 0, 'window': 0} if kind == 'llama' else {'lora_rank': 0}
  if kind != 'qwen2':  # one field is for both
    wanted['o_bias'] = biases[0] and kind != 'mistral'
  if kind == 'mistral':
    wanted['qkv_bias'] = False
  wrong = [f'{field}={model[field]!r}' for field, value in wanted.items() if model[field] != value]
  if kind == 'llama' and model['D'] % model['H']:
    wrong.append(f'D={model["D"]}, which H={model["H"]} does not divide')
  if wrong:
    exported = ', '.join(name for name, f in FAMILIES.items() if f.exports)
    raise InputError(
      f'a model with {", ".join(wrong)} (nearest is {kind}) is none of the architectures that are written: '
      f'{exported}'
    )
  return kind
