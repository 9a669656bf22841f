"""What a config.json says, in both spellings, is read; what cannot be expressed is refused by its name."""

import json
from pathlib import Path

import pytest

from configs import base
from zhlm.convert import fields, names, rope, write
from zhlm.convert.families import FAMILIES
from zhlm.errors import InputError

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4)
SIZES |= dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4_096)


def config(kind='qwen3', **more):
  return {'model_type': kind, **SIZES, **more}


def refuses(match, kind='qwen3', **more):
  with pytest.raises(InputError, match=match) as e:
    fields.read(config(kind, **more))
  assert '\n' not in str(e.value)


def test_another_architecture_is_refused_with_the_list_of_those_that_are_read():
  with pytest.raises(InputError, match="model_type='gpt2' is not one of .* llama, qwen2, qwen3, qwen3_moe"):
    fields.read(config('gpt2'))
  with pytest.raises(InputError, match='model_type=None'):
    fields.read(SIZES)


@pytest.mark.parametrize(
  ('kind', 'more', 'match'),
  [
    ('llama', dict(mlp_bias=True), 'mlp_bias=True cannot be expressed'),
    ('llama', dict(hidden_act='gelu'), "hidden_act='gelu' cannot be expressed"),
    ('llama', dict(quantization_config={'bits': 4}), 'zhlm does not know quantization_config'),
    ('llama', dict(some_new_norm=True), 'zhlm does not know some_new_norm=True'),
    ('llama', dict(rope_scaling={'rope_type': 'longrope', 'factor': 2.0}), "rope_type='longrope'"),
    ('llama', dict(rope_scaling={'rope_type': 'llama3', 'factor': 2.0}), 'llama3 needs low_freq_factor'),
    ('llama', dict(rope_scaling={'type': 'linear'}), 'linear needs factor'),
    ('llama', dict(rope_scaling={'rope_type': 'yarn', 'factor': 2.0, 'truncate': False}), 'truncate=False'),
    ('llama', dict(rope_parameters={'mrope_section': [2, 2]}), 'zhlm does not know mrope_section'),
    ('llama', dict(rope_parameters={'full_attention': {}}), 'does not know full_attention'),
    (
      'llama',
      dict(rope_theta=1e4, rope_parameters={'rope_theta': 1e6}),
      'rope_theta: rope_parameters says',
    ),
    ('llama', dict(architectures=['LlamaModel']), 'LlamaModel.*LlamaForCausalLM'),
    ('llama', dict(hidden_size='32'), 'hidden_size: missing, or not a positive'),
    ('llama', dict(max_position_embeddings=None), 'max_position_embeddings: missing'),
    ('llama', dict(num_key_value_heads=3), '4 heads, 3 of keys'),
    ('qwen2', dict(attention_bias=False), 'attention_bias=False cannot be expressed'),
    (
      'qwen3',
      dict(use_sliding_window=True, sliding_window=8, max_window_layers=2),
      'one kind of attention',
    ),
    ('qwen3', dict(layer_types=['full_attention', 'chunked_attention'] * 2), 'one kind of attention'),
    ('qwen3_moe', dict(decoder_sparse_step=2), 'decoder_sparse_step=2 cannot be expressed'),
    ('qwen3_moe', dict(mlp_only_layers=[0]), r'mlp_only_layers=\[0\] cannot be expressed'),
    ('mistral', dict(layer_types=['sliding_attention'] * 4), 'does not know layer_types'),
    ('internlm3', dict(bias=True), 'bias=True cannot be expressed'),
    ('hunyuan_v1_dense', dict(use_qk_norm=False), 'use_qk_norm=False cannot be expressed'),
    ('ernie4_5', dict(use_bias=True), 'use_bias=True cannot be expressed'),
    ('minicpm', dict(num_experts=8), 'num_experts=8 cannot be expressed'),
    ('glm4', dict(attention_bias='yes', rope_scaling={'type': 'dynamic', 'x': 1}), 'does not know x'),
  ],
)
def test_what_the_decoder_cannot_express_is_refused_by_its_field(kind, more, match):
  refuses(match, kind, **more)


def test_what_does_not_touch_the_forward_pass_is_passed_over():
  fields.read(config(initializer_range=0.02, use_cache=True, torch_dtype='bfloat16', use_mrope=False))
  fields.read(config('qwen3_moe', max_window_layers=48, router_aux_loss_coef=0.001, num_local_experts=4))


def test_both_spellings_of_a_rotation_are_the_same():
  yarn = dict(rope_type='yarn', factor=4.0, original_max_position_embeddings=1_024)
  new, _ = fields.read(config(rope_parameters={**yarn, 'rope_theta': 1e6}))
  old, _ = fields.read(config(rope_scaling={'type': 'yarn', **yarn, 'rope_type': 'yarn'}, rope_theta=1e6))
  both, _ = fields.read(
    config(rope_scaling=yarn, rope_parameters={**yarn, 'rope_theta': 1e6}, rope_theta=1e6)
  )
  assert new == old == both
  assert (new['rope_scaling'], new['rope_theta'], new['rope_T']) == ('yarn', 1e6, 1_024)
  plain, _ = fields.read(config(rope_parameters={'rope_type': 'default', 'rope_theta': 1e6}))
  assert plain == fields.read(config(rope_theta=1e6, rope_scaling=None))[0] and plain['rope_T'] == 4_096


def test_dynamic_scaling_is_plain_up_to_the_trained_length_and_says_so():
  found, notes = fields.read(config('internlm3', rope_scaling={'rope_type': 'dynamic', 'factor': 6.0}))
  assert found['rope_scaling'] == '' and found['rope_T'] == 4_096
  assert len(notes) == 1 and '4,096 tokens' in notes[0]


# Shaped as the config.json of well-known models.
KNOWN = {
  'Qwen3-0.6B': (
    dict(model_type='qwen3', attention_bias=False, head_dim=128, hidden_act='silu', hidden_size=1024)
    | dict(intermediate_size=3072, max_position_embeddings=40_960, max_window_layers=28, rope_scaling=None)
    | dict(num_attention_heads=16, num_hidden_layers=28, num_key_value_heads=8, rms_norm_eps=1e-06)
    | dict(rope_theta=1_000_000, sliding_window=None, tie_word_embeddings=True, use_sliding_window=False)
    | dict(vocab_size=151_936),
    dict(D=1024, H=16, G=8, K=128, qk_norm='before', qkv_bias=False, tied=True, rope_theta=1e6, window=0),
  ),
  'Qwen3-30B-A3B': (
    dict(
      model_type='qwen3_moe', attention_bias=False, decoder_sparse_step=1, head_dim=128, hidden_act='silu'
    )
    | dict(hidden_size=2048, intermediate_size=6144, max_position_embeddings=40_960, max_window_layers=48)
    | dict(mlp_only_layers=[], moe_intermediate_size=768, norm_topk_prob=True, num_attention_heads=32)
    | dict(num_experts=128, num_experts_per_tok=8, num_hidden_layers=48, num_key_value_heads=4)
    | dict(rms_norm_eps=1e-06, rope_scaling=None, rope_theta=1e6, sliding_window=None, vocab_size=151_936)
    | dict(tie_word_embeddings=False, use_sliding_window=False, router_aux_loss_coef=0.001),
    dict(F=768, E=128, top=8, top_normalised=True, G=4, K=128, tied=False),
  ),
  'Qwen2.5-7B': (
    dict(model_type='qwen2', hidden_act='silu', hidden_size=3584, intermediate_size=18_944, use_mrope=False)
    | dict(
      max_position_embeddings=131_072, max_window_layers=28, num_attention_heads=28, vocab_size=152_064
    )
    | dict(num_hidden_layers=28, num_key_value_heads=4, rms_norm_eps=1e-06, rope_theta=1e6)
    | dict(sliding_window=131_072, tie_word_embeddings=False, use_sliding_window=False),
    dict(qkv_bias=True, o_bias=False, qk_norm='', K=128, window=0),
  ),
  'Yi-6B': (
    dict(
      model_type='llama', hidden_act='silu', hidden_size=4096, intermediate_size=11_008, vocab_size=64_000
    )
    | dict(
      max_position_embeddings=4096, num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=4
    )
    | dict(rms_norm_eps=1e-05, rope_theta=5e6, tie_word_embeddings=False, pretraining_tp=1),
    dict(G=4, K=128, qk_norm='', qkv_bias=False, rope_theta=5e6, norm_eps=1e-5),
  ),
  'MiniCPM-2B': (
    dict(architectures=['MiniCPMForCausalLM'], hidden_act='silu', hidden_size=2304, intermediate_size=5760)
    | dict(max_position_embeddings=4096, num_attention_heads=36, num_hidden_layers=40, vocab_size=122_753)
    | dict(num_key_value_heads=36, rms_norm_eps=1e-05, rope_scaling=None, scale_emb=12, dim_model_base=256)
    | dict(scale_depth=1.4),
    dict(embed_scale=12, residual_scale=1.4 / 40**0.5, logit_scale=256 / 2304, tied=True, K=64),
  ),
  'GLM-4-9B-0414': (
    dict(model_type='glm4', attention_bias=True, head_dim=128, hidden_act='silu', hidden_size=4096)
    | dict(intermediate_size=13_696, max_position_embeddings=32_768, num_attention_heads=32, rope_theta=1e4)
    | dict(num_hidden_layers=40, num_key_value_heads=2, partial_rotary_factor=0.5, rms_norm_eps=1e-05)
    | dict(tie_word_embeddings=False, vocab_size=151_552),
    dict(sandwich=True, rope_interleaved=True, rope_fraction=0.5, qkv_bias=True, o_bias=False, G=2),
  ),
  'Hunyuan-7B': (
    dict(model_type='hunyuan_v1_dense', attention_bias=False, hidden_act='silu', hidden_size=4096)
    | dict(intermediate_size=14_336, max_position_embeddings=262_144, num_attention_heads=32, head_dim=128)
    | dict(num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05, rope_theta=1e4, use_cla=False)
    | dict(
      rope_scaling=dict(alpha=1000.0, beta_fast=32, beta_slow=1, factor=1.0, mscale=1.0, type='dynamic')
    )
    | dict(tie_word_embeddings=True, use_qk_norm=True, vocab_size=128_167, mlp_bias=False),
    dict(qk_norm='after', rope_scaling='ntk', rope_factor=1000.0, tied=True),
  ),
  'internlm3-8b': (
    dict(model_type='internlm3', bias=False, qkv_bias=False, head_dim=128, hidden_act='silu')
    | dict(hidden_size=4096, intermediate_size=10_240, max_position_embeddings=32_768, vocab_size=128_512)
    | dict(num_attention_heads=32, num_hidden_layers=48, num_key_value_heads=2, rms_norm_eps=1e-05)
    | dict(rope_scaling=dict(factor=6.0, rope_type='dynamic'), rope_theta=5e7, tie_word_embeddings=False),
    dict(qkv_bias=False, rope_theta=5e7, rope_scaling='', rope_T=32_768),
  ),
}


@pytest.mark.parametrize('name', KNOWN)
def test_a_config_shaped_as_that_of_a_well_known_model_is_read(name):
  hf, expected = KNOWN[name]
  found, _ = fields.read(hf)
  assert {k: found[k] for k in expected} == expected
  assert found.keys() <= set(base.get_config().model.keys())


@pytest.mark.parametrize('name', ['Qwen3-0.6B', 'Qwen3-30B-A3B', 'Qwen2.5-7B', 'Yi-6B'])
def test_what_is_written_is_read_as_the_same_model_in_both_spellings(name):
  model, _ = fields.read(KNOWN[name][0])
  for more in ({}, dict(rope_scaling='yarn', rope_factor=4.0, rope_T=8_192), dict(window=128)):
    _, hf = fields.write({**model, **more}, False, 4_096, 'bfloat16', {'pad_token_id': 3})
    assert hf['dtype'] == hf['torch_dtype'] == 'bfloat16' and hf['pad_token_id'] == 3
    assert hf['max_position_embeddings'] == hf_T(model | more)
    new, old = ('rope_parameters',), ('rope_theta', 'rope_scaling')
    for spelling in (new, old, new + old):
      alone = {k: v for k, v in hf.items() if k in spelling or k not in rope.FIELDS}
      found, _ = fields.read(json.loads(json.dumps(alone)))
      found['rope_attention'] = 0.0  # written out as what 0 stands for
      assert found == {**model, **more}


def hf_T(model):
  return round(model['rope_T'] * model['rope_factor'])


@pytest.mark.parametrize(
  ('wrong', 'match'),
  [
    (dict(sandwich=True), 'sandwich=True'),
    (dict(qk_norm='after'), "qk_norm='after'"),
    (dict(rope_interleaved=True, rope_fraction=0.5), 'rope_interleaved=True, rope_fraction=0.5'),
    (dict(qk_norm='', o_bias=True), 'o_bias=True.*nearest is llama'),
    (dict(qk_norm='', window=8, qkv_bias=True, o_bias=True), 'nearest is mistral'),
    (dict(E=4, qk_norm=''), "qk_norm=''.*nearest is qwen3_moe"),
    (dict(qk_norm='', H=12, G=4), 'D=1024, which H=12 does not divide'),
  ],
)
def test_what_no_written_architecture_has_is_refused_by_its_field(wrong, match):
  model, _ = fields.read(KNOWN['Qwen3-0.6B'][0])
  with pytest.raises(InputError, match=match + '.* llama, qwen2, qwen3, qwen3_moe, mistral'):
    fields.write({**model, **wrong}, False, 64, 'float32', {})


def test_the_default_architecture_is_exactly_qwen3():
  model = dict(base.get_config('0.6b').model)
  plain, factors, _ = write.fold(model)
  kind, hf = fields.write(plain, False, 4_096, 'bfloat16', {})
  assert kind == 'qwen3' and hf['architectures'] == ['Qwen3ForCausalLM']
  assert set(factors.values()) == {1.0} and plain['tied']


def test_every_architecture_has_a_place_for_each_array_that_its_model_has():
  for kind, family in FAMILIES.items():
    model, _ = fields.read(config(kind))
    assert (
      family.table.keys() >= names.present(model, family.table).keys() >= {'embed', 'norm/w', 'layers/q/w'}
    )


def test_the_documentation_names_every_architecture():
  for page in ('convert.md', 'convert_zh.md'):
    text = (Path(__file__).parent.parent / 'docs' / page).read_text('utf-8')
    assert [kind for kind in FAMILIES if f'`{kind}`' not in text] == []
