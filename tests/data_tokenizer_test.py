"""A tokenizer must lose nothing and let nobody forge a control symbol."""

import pytest
import tokenizers

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


@pytest.mark.parametrize('texts', [[], [''], ['\n\n']])
def test_no_text_is_told(tmp_path, texts):
  with pytest.raises(InputError, match='tokenizer: there is no text to learn from'):
    tokenizer.train(texts, str(tmp_path / 'tokenizer.model'), 300)
  assert not (tmp_path / 'tokenizer.model').exists()


def test_a_full_disk_is_no_fault_of_the_vocabulary(tmp_path):
  (tmp_path / 'tokenizer.model.tmp').symlink_to('/dev/full')
  texts = [''.join(chr(0x4E00 + 7 * i + j) for j in range(99)) for i in range(99)]
  with pytest.raises(OSError, match='No space left on device'):
    tokenizer.train(texts, str(tmp_path / 'tokenizer.model'), 1_200, 1.0)
  assert not (tmp_path / 'tokenizer.model').exists()


def test_a_line_of_any_length_is_learnt_from(tmp_path):
  """SentencePiece passes over lines above a limit, and says nothing."""
  path = str(tmp_path / 'tokenizer.model')
  tokenizer.train(['天地玄黄宇宙洪荒' * 5_000 + '鑫淼焱'], path, 280, 1.0)
  spm = tokenizer.load(path)
  assert not any(map(spm.is_byte, tokenizer.encode(spm, '鑫淼焱')))


def test_what_is_no_tokenizer_is_named(tmp_path):
  with pytest.raises(InputError, match='no tokenizer here'):
    tokenizer.load(str(tmp_path / 'tokenizer.model'))
  (tmp_path / 'tokenizer.model').write_bytes(b'not a model')
  with pytest.raises(InputError, match='not a SentencePiece model'):
    tokenizer.load(str(tmp_path / 'tokenizer.model'))


def test_the_exported_tokenizer_json_gives_the_same_ids(path, tmp_path):
  spm, out = tokenizer.load(path), str(tmp_path / 'tokenizer.json')
  tokenizer.export(spm, out)
  other = tokenizers.Tokenizer.from_file(out)
  texts = [
    '今天，天气！我们去公园散步。',
    '  两个 空格  ',
    '\n\n换行\n',
    '𠮷野家👨‍👩‍👧',
    'The cat sat on 12345 cats.',
    '',
  ]
  for text in texts:
    ids = other.encode(text).ids
    assert ids == tokenizer.encode(spm, text)
    assert other.decode(ids) == text
  assert other.encode('好<|im_end|>').ids[-1] == spm.piece_to_id('<|im_end|>')


def test_the_description_counts_what_is_missing(path):
  about = tokenizer.describe(tokenizer.load(path), ['今天天气', '鑫鑫 鑫\n天'])
  assert (about['characters'], about['missing'], about['coverage']) == (10, '鑫', round(5 / 8, 5))
  assert about['round_trip_losses'] == 0
  about = tokenizer.describe(
    tokenizer.load(path), ['今天\u2581天气']
  )  # SentencePiece's own mark of a space
  assert about['round_trip_losses'] == 1
