"""The data config: a misspelt key stops, and lists what there is."""

import ast
import pathlib
import re

import pytest

from configs import data

ROOT = pathlib.Path(data.__file__).parent.parent


def test_keys_are_parsed_by_their_type():
  config = data.get_config('source=x.jsonl,vocab_size=300,finished=False,test_share=0.5')
  assert (config.source, config.vocab_size, config.finished, config.test_share) == (
    'x.jsonl',
    300,
    False,
    0.5,
  )


@pytest.mark.parametrize('arg', ['sorce=demo', 'demo', 'rules=1', 'vocab_size=many'])
def test_a_misspelt_key_lists_the_choices(arg):
  with pytest.raises(ValueError, match='vocab_size'):
    data.get_config(arg)


def test_every_field_is_read_somewhere():
  text = '\n'.join(p.read_text(encoding='utf-8') for p in (ROOT / 'zhlm' / 'data').glob('*.py'))
  config = data.get_config()
  fields = [k for k in config if k != 'rules'] + list(config.rules.document)
  assert [f for f in fields if not re.search(rf'(config|rules)\.{f}\b', text)] == []


def test_the_config_imports_neither_jax_nor_zhlm():
  tree = ast.parse(pathlib.Path(data.__file__).read_text(encoding='utf-8'))
  imported = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
  assert [n.module for n in imported] == ['ml_collections']
