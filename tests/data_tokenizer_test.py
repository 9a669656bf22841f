"""A tokenizer must lose nothing and let nobody forge a control symbol."""

import pytest

from zhlm.data import tokenizer
from zhlm.errors import InputError


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = str(tmp_path_factory.mktemp('spm') / 'tokenizer.model')
  texts = ['今天天气很好，我们去公园散步。', '<|im_start|>也可以是文字', 'The cat sat. 12345'] * 20
  tokenizer.train(texts, path, vocab_size=295)
  return path


@pytest.mark.parametrize(
  'text',
  [
    '今天，天气！',
    '  两个 空格  ',
    '\n\n换行\n',
    'Ａ１①㎡',
    '𠮷野家👨‍👩‍👧',
    '<|endoftext|>',
    '\u200b',
    'a\tb',
    '',
  ],
)
def test_any_text_comes_back_as_it_was(path, text):
  spm = tokenizer.load(path)
  ids = tokenizer.encode(spm, text)
  assert spm.decode(ids) == text
  assert not any(spm.is_control(i) or spm.is_unknown(i) for i in ids)


def test_the_same_texts_make_the_same_file(path, tmp_path):
  texts = ['今天天气很好，我们去公园散步。', '<|im_start|>也可以是文字', 'The cat sat. 12345'] * 20
  again = str(tmp_path / 'tokenizer.model')
  tokenizer.train(texts, again, vocab_size=295)
  pieces = [[s.id_to_piece(i) for i in range(295)] for s in map(tokenizer.load, (path, again))]
  assert pieces[0] == pieces[1]


def test_lone_surrogates_do_no_harm(path):
  spm = tokenizer.load(path)
  assert spm.decode(tokenizer.encode(spm, '好\ud800')) == '好?'


@pytest.mark.parametrize('vocab_size', [100, 50_000])
def test_a_vocabulary_that_does_not_fit_is_named(tmp_path, vocab_size):
  with pytest.raises(InputError, match=f'vocab_size={vocab_size}'):
    tokenizer.train(['今天天气很好'] * 9, str(tmp_path / 'tokenizer.model'), vocab_size)


def test_what_is_no_tokenizer_is_named(tmp_path):
  with pytest.raises(InputError, match='no tokenizer here'):
    tokenizer.load(str(tmp_path / 'tokenizer.model'))
  (tmp_path / 'tokenizer.model').write_bytes(b'not a model')
  with pytest.raises(InputError, match='not a SentencePiece model'):
    tokenizer.load(str(tmp_path / 'tokenizer.model'))
