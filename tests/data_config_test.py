"""The data config: a misspelt key stops, and lists what there is."""

import pathlib
import re

import pytest
from ml_collections import ConfigDict

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
  folders = ('corpus', 'demo', 'clean')
  text = '\n'.join(p.read_text(encoding='utf-8') for f in folders for p in (ROOT / 'zhlm' / f).glob('*.py'))
  config = data.get_config()
  fields = [k for k in config if k != 'rules']
  parts = [f for k in fields if isinstance(config[k], ConfigDict) for f in config[k]]
  assert parts
  assert [f for f in fields + parts if not re.search(rf"\.{f}\b|'{f}'", text)] == []
