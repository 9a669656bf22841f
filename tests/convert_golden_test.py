"""Folders that transformers has written, and the logits that it gave (tests/goldens/make.py): ours are the
same, and are not when one field is read wrongly."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import hub

GOLDENS = Path(__file__).parent / 'goldens'
EXPECTED = load_file(GOLDENS / 'logits.safetensors')


@pytest.mark.parametrize('name', hub.CASES)
def test_a_folder_means_what_it_meant_to_transformers(name):
  net, params = hub.network(GOLDENS / name)
  assert hub.off(hub.logits(net, params, hub.tokens()), EXPECTED[name]) < 1e-5


@pytest.mark.parametrize(
  ('name', 'field', 'wrong'),
  [
    ('llama', 'rope_theta', 110.0),
    ('llama', 'norm_eps', 9e-3),
    ('llama3', 'rope_high', 5.0),
    ('internlm', 'rope_factor', 3.9),
    ('qwen2_yarn', 'rope_attention', 1.0),
    ('qwen2_yarn', 'rope_slow', 0.2),
    ('qwen3', 'qk_norm', 'after'),
    ('qwen3_window', 'window', 6),
    ('qwen3_moe', 'top_normalised', False),
    ('glm', 'rope_interleaved', False),
    ('glm4', 'rope_fraction', 1.0),
    ('hunyuan', 'qk_norm', 'before'),
    ('hunyuan', 'rope_scaling', ''),
    ('granite', 'residual_scale', 1.0),
    ('granite', 'attention_scale', 0.0),
    ('minicpm', 'logit_scale', 1.0),
  ],
)
def test_a_field_read_wrongly_shows(name, field, wrong):
  net, params = hub.network(GOLDENS / name, **{field: wrong})
  assert hub.off(hub.logits(net, params, hub.tokens()), EXPECTED[name]) > 1e-4


@pytest.mark.parametrize(
  ('name', 'path'),
  [('qwen2', 'layers/q/b'), ('internlm', 'layers/o/b'), ('qwen3', 'layers/norm_k/w'), ('glm4', 'norm/w')],
)
def test_a_lost_bias_or_norm_shows(name, path):
  net, params = hub.network(GOLDENS / name)
  *parents, last = path.split('/')
  node = params
  for parent in parents:
    node = node[parent]
  node[last] = np.full(node[last].shape, 1.0 if last == 'w' else 0.0, np.float32)
  assert hub.off(hub.logits(net, params, hub.tokens()), EXPECTED[name]) > 1e-4
