"""What becomes of a row: every token of a long document is learnt once, and nothing is too long."""

import numpy as np
import pytest

from zhlm.corpus import encode
from zhlm.data import chat, tokenizer


@pytest.fixture(scope='module')
def spm(tmp_path_factory):
  path = str(tmp_path_factory.mktemp('spm') / 'tokenizer.model')
  tokenizer.train(['今天天气很好，我们去公园散步。', 'user\nassistant'] * 20, path, vocab_size=300)
  return tokenizer.load(path)


@pytest.mark.parametrize('limit', [1, 7, 50, 10_000])
def test_the_pieces_of_a_document_predict_each_of_its_tokens_once(spm, limit):
  text = '今天天气很好，我们去公园散步。' * 9
  end = chat.end_of_text(spm)
  whole = [end, *spm.encode(text), end]
  pieces = list(encode.pretrain(spm, {'text': text}, limit))
  assert np.concatenate([p['tokens'][1:] for p in pieces]).tolist() == whole[1:]
  assert [p['tokens'][0] for p in pieces] == whole[:-1:limit]  # what stands before is seen, not predicted
  assert max(len(p['tokens']) for p in pieces) <= limit + 1
  assert sum(p['characters'] for p in pieces) == len(text)
  assert sum(p['bytes'] for p in pieces) == len(text.encode())


def test_what_is_too_long_gives_no_example(spm):
  turns = [{'role': 'user', 'content': '今天天气'}, {'role': 'assistant', 'content': '很好'}]
  row = {
    'source': 's',
    'messages': turns,
    'prompt': turns[:1],
    'completions': ['很好', '公园'],
    'ranks': [1, 2],
  }
  for make in (encode.sft, encode.reward, encode.ppo):
    assert list(make(spm, row, 4)) == []
    assert len(list(make(spm, row, 200))) == 1
