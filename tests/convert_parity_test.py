"""Our network and transformers' say the same: every architecture that is read, those that are written."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests import hub
from zhlm import model
from zhlm.convert import fields
from zhlm.convert.families import FAMILIES

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

GREEDY = ('llama', 'qwen2', 'qwen3_window', 'qwen3_moe')  # benchmarks/interop.py has all of them
GOLDENS = Path(__file__).parent / 'goldens'


def say(net, tokens):
  with torch.no_grad():
    return net(torch.tensor(tokens, dtype=torch.long)).logits.numpy()


def theirs(folder):
  return transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, attn_implementation='eager'
  )


@pytest.mark.parametrize('name', hub.CASES)
def test_an_imported_network_says_what_transformers_says(name, tmp_path):
  made = hub.build(name, seed=1)
  hub.save(made, name, tmp_path)
  net, params = hub.network(tmp_path)
  assert hub.off(hub.logits(net, params, hub.tokens()), say(made, hub.tokens())) < 1e-5


@pytest.mark.parametrize('name', [*hub.EXPORTED, 'granite', 'minicpm', 'ntk', 'mup'])
def test_an_exported_network_says_the_same_in_transformers(name, tmp_path):
  """Multipliers, too, which become part of the weights, and untie a tied head."""
  made = {'ntk': dict(rope_scaling='ntk', rope_factor=9.0), 'mup': dict(mup_D=4, embed_scale=3.0)}.get(
    name, {}
  )
  net, params = hub.network(GOLDENS / ('llama3' if made else name), **made)
  hub.export(net, params, tmp_path, limit=10_000)
  opened = theirs(tmp_path)
  assert hub.off(say(opened, hub.tokens()), np.asarray(hub.logits(net, params, hub.tokens()))) < 1e-5
  if name not in GREEDY:
    return
  opened.generation_config.eos_token_id = None
  rows = torch.tensor(hub.tokens(), dtype=torch.long)
  followed = opened.generate(rows, attention_mask=torch.ones_like(rows), max_new_tokens=20, do_sample=False)
  np.testing.assert_array_equal(followed[:, hub.T :].numpy(), hub.greedy(net, params))


def test_an_exported_reward_model_scores_the_same_in_transformers_but_for_its_bias(tmp_path):
  """At the last token that is not padding, and it is read again as it was."""
  net, params = hub.network(GOLDENS / 'qwen3')
  net = model.Transformer(net.config, 'scalar')
  w_D = jax.random.normal(jax.random.key(1), (net.config.D,))
  params |= {'score': w_D, 'score_bias': np.array([0.75], np.float32)}
  hf = hub.export(net, params, tmp_path)
  assert hf['architectures'] == ['Qwen3ForSequenceClassification'] and hf['zhlm_score_bias'] == 0.75
  opened = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
  tokens, ends = np.maximum(hub.tokens(), 1), (9, hub.T)
  tokens[0, 9:] = 0  # its pad_token_id
  ours = np.asarray(hub.logits(net, params, tokens))
  expected = np.array([[ours[row, end - 1]] for row, end in enumerate(ends)]) - 0.75
  assert hub.off(say(opened, tokens), expected) < 1e-5
  again, read_again = hub.network(tmp_path)
  np.testing.assert_array_equal(hub.logits(again, read_again, tokens), ours)


@pytest.mark.parametrize('kind', sorted(FAMILIES.keys() - {'minicpm'}))
def test_what_a_silent_config_means_is_what_transformers_takes(kind):
  """Fields that a config.json lacks get the defaults of transformers' class."""
  sizes = dict(vocab_size=200_000, hidden_size=8_192, intermediate_size=64, num_hidden_layers=2)
  sizes |= dict(num_attention_heads=64, max_position_embeddings=4_096)
  found, _ = fields.read({'model_type': kind, **sizes})
  their = transformers.AutoConfig.for_model(kind, **sizes)
  same = dict(norm_eps='rms_norm_eps', tied='tie_word_embeddings', G='num_key_value_heads', K='head_dim')
  same |= dict(
    qkv_bias='attention_bias', E='num_experts', top='num_experts_per_tok', F='moe_intermediate_size'
  )
  same |= dict(top_normalised='norm_topk_prob', embed_scale='embedding_multiplier')
  same |= dict(residual_scale='residual_multiplier', attention_scale='attention_multiplier')
  for ours, name in same.items():
    if getattr(their, name, None) is not None:
      assert found[ours] == getattr(their, name), name
  assert found['K'] == (getattr(their, 'head_dim', None) or 128)
  assert found['rope_theta'] == their.rope_parameters['rope_theta']
  assert found['rope_fraction'] == their.rope_parameters.get('partial_rotary_factor', 1.0)
  windowed = their.sliding_window if kind == 'mistral' else 0
  assert found['window'] == windowed
