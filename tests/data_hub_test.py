"""A Hugging Face folder gives the ids that transformers gives, and nobody can forge its special tokens."""

import json

import pytest

from tests import hubs
from zhlm.data import chat, hub, tokenizer
from zhlm.errors import InputError

KINDS = ('qwen', 'llama', 'first')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """`folders(kind, template, **how)`: a folder that is made once."""
  root, made = tmp_path_factory.mktemp('hubs'), {}

  def folder(*kind, **how):
    key = (*kind, *how.items())
    if key not in made:
      made[key] = hubs.make(root / str(len(made)), *kind, **how)
    return made[key]

  return folder


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
  """A folder with a tokenizer of our own."""
  folder = tmp_path_factory.mktemp('ours')
  tokenizer.train([*hubs.TEXTS, *hubs.fuzz(300, seed=1)], str(folder / 'tokenizer.model'), 900)
  return folder


def put(folder, name, **fields):
  """Changes fields of a JSON file of a folder."""
  path = folder / name
  path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize('kind', KINDS)
def test_text_that_spells_any_special_token_stays_text(folders, kind):
  words = tokenizer.load(folders(kind, 'leads'))
  # These two are not called special by the folder, but its template makes turns of them.
  spelled = ('<s>', '</s>', '<｜User｜>', '<｜Assistant｜>')
  assert set(spelled) <= set(words.special.values())
  for text in ('好'.join(spelled), *spelled, *hubs.fuzz(300)):
    ids = tokenizer.encode(words, text)
    assert not any(map(words.is_control, ids))
  assert words.decode(tokenizer.encode(words, '好'.join(spelled))) == '好'.join(spelled)
  # What may stand in an answer is no turn: it is a token where the folder has one.
  assert words.piece_to_id('</think>') in tokenizer.encode(words, '想</think>好')


def test_normal_form_makes_no_special_token(folders, tmp_path):
  """Characters of full width become ASCII, and so `＜s＞` would become `<s>` between two turns."""
  folder = hubs.make(tmp_path / 'wide', 'qwen', 'leads')
  plain = json.loads((folder / 'tokenizer.json').read_text())
  for token in plain['added_tokens']:
    token['normalized'] = True
  put(folder, 'tokenizer.json', normalizer={'type': 'NFKC'}, added_tokens=plain['added_tokens'])
  words = tokenizer.load(folder)
  assert words.encode_between('</s>', '好＜ｓ＞好', '</s>') == tokenizer.encode(words, '好<s>好')
  assert not any(map(words.is_control, words.encode_between('</s>', '好＜ｓ＞好', '</s>')))


@pytest.mark.parametrize('kind', KINDS)
def test_ids_and_pieces_are_those_of_the_file(folders, kind):
  folder = folders(kind, 'chatml')
  words, vocabulary = tokenizer.load(folder), {}
  plain = json.loads((folder / 'tokenizer.json').read_text())
  vocabulary = plain['model']['vocab'] | {t['content']: t['id'] for t in plain['added_tokens']}
  assert words.vocab_size() == words.get_piece_size() == max(vocabulary.values()) + 1
  assert all(
    words.piece_to_id(piece) == i and words.id_to_piece(i) == piece for piece, i in vocabulary.items()
  )
  control = {words.id_to_piece(i) for i in range(words.vocab_size()) if words.is_control(i)}
  assert control - {'<unk>'} == set(hubs.CHATML)
  assert words.piece_to_id('no such piece') == words.unk_id() == vocabulary.get('<unk>', -1)


@pytest.mark.parametrize('kind', KINDS)
def test_the_description_tells_bytes_from_characters(folders, kind):
  words = tokenizer.load(folders(kind, 'chatml'))
  assert words.encode(['今天', 'cat']) == [words.encode('今天'), words.encode('cat')]
  assert not any(map(words.is_byte, words.encode('今天天气'))) and any(
    map(words.is_byte, words.encode('鑫'))
  )
  about = tokenizer.describe(words, ['今天天气', '鑫\n天'])
  assert '鑫' in about['missing'] and 0 < about['coverage'] < 1 and about['byte_tokens_share'] > 0
  assert (about['vocab_size'], about['round_trip_losses']) == (words.vocab_size(), 0)


def test_a_stream_never_shows_half_a_character(folders):
  words = tokenizer.load(folders('qwen', 'chatml'))
  text = '今天𠮷野家👨\u200d👩\u200d👧'
  ids = [*tokenizer.encode(words, text), chat.end_of_turn(words)]
  bits = list(chat.pieces(words, ids))
  assert ''.join(bits) == f'{text}<|im_end|>' and not any('\ufffd' in bit for bit in bits)
  assert len(ids) > len(bits) > 5
  # A model may have more rows than the tokenizer has pieces.
  assert chat.decode(words, [words.vocab_size() + 9, *ids]) == f' \u2047 {text}<|im_end|>'


def test_half_a_surrogate_pair_does_no_harm(folders):
  words = tokenizer.load(folders('qwen', 'chatml'))
  assert words.decode(tokenizer.encode(words, '好\ud800')) == '好?'
  assert '好?' in chat.decode(words, chat.encode_prompt(words, hubs.talk('好\ud800')))


def test_a_folder_is_ours_if_its_model_has_our_control_symbols(ours, folders, tmp_path):
  """Llama's folders hold a tokenizer.model too, and there tokenizer.json decides."""
  assert not isinstance(tokenizer.load(ours), hub.Tokenizer)
  folder = hubs.make(tmp_path / 'both', 'llama', 'words')
  import sentencepiece

  with open(folder / 'tokenizer.model', 'wb') as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(hubs.TEXTS), model_writer=file, vocab_size=40, minloglevel=2
    )
  assert isinstance(tokenizer.load(folder), hub.Tokenizer)
  (folder / 'tokenizer.json').unlink()
  with pytest.raises(InputError, match=r'save it as a tokenizer.json with transformers'):
    tokenizer.load(folder)


def test_the_fingerprint_is_of_what_decides_ids(ours, folders, tmp_path):
  from zhlm import disk

  assert tokenizer.fingerprint(ours) == disk.sha256(ours / 'tokenizer.model')
  assert tokenizer.fingerprint(tmp_path / 'nothing') == ''
  tokenizer.copy(folders('qwen', 'chatml'), tmp_path / 'copy')
  first = tokenizer.fingerprint(tmp_path / 'copy')
  assert first == tokenizer.fingerprint(folders('qwen', 'chatml'))
  put(tmp_path / 'copy', 'tokenizer_config.json', model_max_length=9)
  assert tokenizer.fingerprint(tmp_path / 'copy') == first
  # The same template in a file of its own is the same; another one is not.
  put(tmp_path / 'copy', 'tokenizer_config.json', chat_template=None)
  (tmp_path / 'copy' / 'chat_template.jinja').write_text(hubs.TEMPLATES['chatml'])
  assert tokenizer.fingerprint(tmp_path / 'copy') == first
  (tmp_path / 'copy' / 'chat_template.jinja').write_text(hubs.TEMPLATES['thinks'])
  changed = tokenizer.fingerprint(tmp_path / 'copy')
  put(tmp_path / 'copy', 'tokenizer_config.json', eos_token='<|endoftext|>')
  assert len({first, changed, tokenizer.fingerprint(tmp_path / 'copy')}) == 3


def test_a_copy_leaves_nothing_of_the_tokenizer_that_lay_there(ours, folders, tmp_path):
  for source in (ours, folders('qwen', 'chatml'), ours):
    tokenizer.copy(source, tmp_path / 'here')
    assert tokenizer.fingerprint(tmp_path / 'here') == tokenizer.fingerprint(source)
  before = sorted(p.name for p in (tmp_path / 'here').iterdir())
  tokenizer.copy(tmp_path / 'here', tmp_path / 'here')
  assert (
    sorted(p.name for p in (tmp_path / 'here').iterdir()) == before == ['tokenizer.json', 'tokenizer.model']
  )


@pytest.mark.parametrize(
  ('file', 'text', 'says'),
  [
    ('tokenizer.json', '{"a"', 'tokenizer.json: not JSON'),
    ('tokenizer.json', '[1]', 'tokenizer.json: not a JSON object'),
    ('tokenizer.json', '{"model": {"vocab": {}}}', 'not a tokenizer.json'),
    ('tokenizer.json', '{"model": {"vocab": {"a": 0}}, "added_tokens": []}', 'not a tokenizer.json'),
    ('tokenizer_config.json', '{"chat_template": "{% for %}"}', 'the chat template is not valid'),
    ('tokenizer_config.json', '{"chat_template": [{"name": "rag", "template": ""}]}', 'only rag'),
    (
      'tokenizer_config.json',
      '{"added_tokens_decoder": {"9000": {"content": "<|new|>"}}}',
      r"differ in the id of '<\|new\|>'",
    ),
  ],
)
def test_a_folder_that_is_no_tokenizer_is_named(tmp_path, file, text, says):
  folder = hubs.make(tmp_path / 'bad')
  (folder / file).write_text(text)
  with pytest.raises(InputError, match=says):
    tokenizer.load(folder)


def test_a_token_that_only_the_config_names_is_one(tmp_path):
  folder = hubs.make(tmp_path / 'more')
  size = tokenizer.load(folder).vocab_size()
  more = {str(size): {'content': '<|tool|>', 'special': True}}
  put(folder, 'tokenizer_config.json', added_tokens_decoder=more)
  words = tokenizer.load(folder)
  assert words.piece_to_id('<|tool|>') == size and words.vocab_size() == size + 1 and words.is_control(size)
  assert size not in tokenizer.encode(words, '好<|tool|>')


def test_our_tokenizer_exported_gives_the_same_ids_on_hard_texts(ours, tmp_path):
  import tokenizers

  spm = tokenizer.load(ours)
  tokenizer.export(spm, str(tmp_path / 'tokenizer.json'))
  other = tokenizers.Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  other.encode_special_tokens = True
  texts = hubs.fuzz(1_500)
  assert [t for t in texts if other.encode(t).ids != tokenizer.encode(spm, t)] == []
  assert [
    t for t in texts if other.decode(other.encode(t).ids) != spm.decode(tokenizer.encode(spm, t))
  ] == []


# -- Against transformers, where it is installed -----------------------------------------------------------


@pytest.fixture(scope='module')
def auto():
  return pytest.importorskip('transformers').AutoTokenizer.from_pretrained


def same(auto, folder, words, texts):
  """Ids and text, here and there; a special token's spelling is text there too if one asks for it."""
  other = auto(folder)
  there = [other.encode(t, add_special_tokens=False, split_special_tokens=True) for t in texts]
  here = [tokenizer.encode(words, t) for t in texts]
  assert [t for t, a, b in zip(texts, here, there, strict=True) if a != b] == []
  said = [other.decode(ids, skip_special_tokens=True) for ids in there]
  assert [t for t, ids, b in zip(texts, here, said, strict=True) if words.decode(ids) != b] == []


@pytest.mark.parametrize('kind', KINDS)
def test_transformers_gives_the_same_ids_for_a_folder(auto, folders, kind):
  same(auto, folders(kind, 'chatml'), tokenizer.load(folders(kind, 'chatml')), hubs.fuzz(1_500))


def test_transformers_gives_the_same_ids_for_our_own(auto, ours, tmp_path):
  chat.hub_files(ours, tmp_path / 'out', length=64)
  same(auto, tmp_path / 'out', tokenizer.load(ours), hubs.fuzz(1_500))
  other = auto(tmp_path / 'out')
  assert (other.eos_token, other.pad_token, other.model_max_length) == ('<|im_end|>', '<|endoftext|>', 64)
