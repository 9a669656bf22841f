"""A Hugging Face tokenizer folder, with the methods of a SentencePieceProcessor; no transformers needed.

Text stays text: what spells a special token is encoded as letters, here and in every content of a
conversation (`zhlm.data.turns`). Special are the tokens that the folder calls so, and those that its chat
template writes around a turn, for some folders forget to say it of these.
"""

import functools
import hashlib
import json
import re
import shutil
from pathlib import Path

import tokenizers

from zhlm import disk
from zhlm.data.template import Template
from zhlm.errors import InputError

FILES = (
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
)
# ChatML, for a folder that has its markers and no template of its own, and for our own tokenizer.
CHATML = (
  "{% for message in messages %}{{ ('' if loop.first else '\\n') + '<|im_start|>' + message['role'] + '\\n'"
  " + message['content'] + '<|im_end|>' }}{% endfor %}"
  "{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
)
# What an added token is when nothing else is said of it.
_AS_IT_STANDS = {
  'single_word': False,
  'lstrip': False,
  'rstrip': False,
  'normalized': False,
  'special': False,
}
_NAMES = ('bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token')


def read(path):
  """A JSON object, {} when there is no such file."""
  try:
    found = json.loads(Path(path).read_text('utf-8')) if Path(path).is_file() else {}
  except ValueError:
    raise InputError(f'{path}: not JSON') from None
  if not isinstance(found, dict):
    raise InputError(f'{path}: not a JSON object')
  return found


def _text(token):
  """A token's text, which may be written as an object."""
  return token['content'] if isinstance(token, dict) else token


def _utf8(text):
  """Half a surrogate pair is no text."""
  return text.encode('utf-8', 'replace').decode('utf-8')


class About:
  """What the small files of a folder say, cheap to read: names and `more` of special tokens, tokens
  `added`, the ids that end a text, the source of the chat template."""

  def __init__(self, folder):
    self.folder, said = Path(folder), read(Path(folder) / 'tokenizer_config.json')
    known = {**read(self.folder / 'special_tokens_map.json'), **said}
    self.names = {k: _text(known[k]) for k in _NAMES if known.get(k)}
    more = known.get('extra_special_tokens') or known.get('additional_special_tokens') or []
    self.more = [_text(t) for t in (more.values() if isinstance(more, dict) else more)]
    self.added = {int(i): token for i, token in said.get('added_tokens_decoder', {}).items()}
    ends = read(self.folder / 'generation_config.json').get('eos_token_id')
    self.ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    self.source = self._source(said.get('chat_template'))

  def _source(self, found):
    """The template: chat_template.jinja goes first, then the one called default; '' when there is none."""
    path = self.folder / 'chat_template.jinja'
    if path.is_file():
      return path.read_text('utf-8')
    found = found or read(self.folder / 'chat_template.json').get('chat_template') or ''
    if isinstance(found, list):
      named = {one['name']: one['template'] for one in found}
      if 'default' not in named:
        raise InputError(f'{self.folder}: no chat template called default, only {", ".join(sorted(named))}')
      return named['default']
    return found


def fingerprint(folder):
  """Hex digest of what decides a folder's ids; the same wherever its template is written down."""
  about = About(folder)
  parts = [disk.sha256(about.folder / 'tokenizer.json'), about.names, about.more, about.ends, about.source]
  return hashlib.sha256(json.dumps([*parts, about.added], sort_keys=True).encode()).hexdigest()


def copy(folder, target):
  """Copies the files of a tokenizer, as they are."""
  for name in FILES:
    if (path := Path(folder) / name).is_file():
      shutil.copyfile(path, Path(target) / name)


class Tokenizer:
  """A folder's tokenizer. Raises InputError when it is none, or its files do not fit each other."""

  def __init__(self, folder):
    self.about, self.folder = About(folder), str(folder)
    path = self.about.folder / 'tokenizer.json'
    plain = read(path)
    try:
      known = dict(plain['model']['vocab']) if isinstance(plain['model']['vocab'], dict) else {}
      known |= {token['content']: token['id'] for token in plain['added_tokens']}
    except (KeyError, TypeError):
      raise InputError(f'{path}: not a tokenizer.json') from None
    # What only tokenizer_config.json names is a token too.
    more = {i: token for i, token in self.about.added.items() if token['content'] not in known}
    known |= {token['content']: i for i, token in more.items()}
    self.template = self._template(known)
    special = {t for t in (*self.about.names.values(), *self.about.more) if t in known}
    plain['added_tokens'] += [{'id': i, **_AS_IT_STANDS, **more[i]} for i in sorted(more)]
    added = {token['content']: token for token in plain['added_tokens']}
    plain['added_tokens'] += [
      {'id': known[t], **_AS_IT_STANDS, 'content': t} for t in sorted(special - set(added))
    ]
    special |= {t for t, token in added.items() if token['special']} | self._written(added)
    for token in plain['added_tokens']:  # so that the library can be told to leave them as text
      token['special'] = token['content'] in special
    self._tokens = self._build({**plain, 'truncation': None, 'padding': None}, path)
    for token in plain['added_tokens']:
      if self._tokens.token_to_id(token['content']) != token['id']:
        raise InputError(f'{self.folder}: its files differ in the id of {token["content"]!r}')
    self.special = {self._tokens.token_to_id(token): token for token in special}
    ordered = sorted(map(re.escape, special), key=len, reverse=True)
    self.pattern = re.compile('|'.join(ordered) or '(?!)')
    self._size = 1 + max(self._tokens.get_vocab().values())

  @staticmethod
  def _build(plain, path):
    try:
      return tokenizers.Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    except Exception as error:  # the library raises nothing narrower
      raise InputError(f'{path}: not a tokenizer.json: {" ".join(str(error).split())[:200]}') from None

  def _template(self, known):
    """Its own, ChatML when it has the markers of that, or None."""
    chatml = CHATML if {'<|im_start|>', '<|im_end|>'} <= set(known) else ''
    source = self.about.source or chatml
    return Template(source, self.about.names, self.folder) if source else None

  def _written(self, added):
    """Added tokens by which the template parts turns, called special or not: the last before what a user
    says and the first after what anybody says. Others, as <think>, may be part of an answer."""
    if not self.template or not added:
      return set()
    turns = [{'role': role} for role in ('user', 'assistant', 'user')]
    try:
      parts = self.template.parts(turns, answer=True)
    except InputError:  # it will be said when a conversation is encoded
      return set()
    pattern = re.compile('|'.join(map(re.escape, sorted(added, key=len, reverse=True))))
    found = [pattern.findall(part) if isinstance(part, str) else part for part in parts]
    before = [tokens for tokens, said in zip(found[::2], found[1::2], strict=False) if said != 1]
    return {t for tokens in before for t in tokens[-1:]} | {t for tokens in found[2::2] for t in tokens[:1]}

  def encode(self, text, num_threads=None):
    """Ids of a text, or of each of a list of texts, in which nothing becomes a special token."""
    del num_threads  # the library's own affair
    self._tokens.encode_special_tokens = True
    if isinstance(text, str):
      return self._tokens.encode(_utf8(text), add_special_tokens=False).ids
    return [
      row.ids for row in self._tokens.encode_batch([_utf8(t) for t in text], add_special_tokens=False)
    ]

  def encode_between(self, before, text, after):
    """Ids of a text where it stands between two special tokens (or '', at an end), which may take its outer
    spaces and keep a mark of the beginning from it. Nothing in it becomes a special token."""
    self._tokens.encode_special_tokens = False
    ids = self._tokens.encode(before + _utf8(text) + after, add_special_tokens=False).ids
    ids = ids[bool(before) : len(ids) - bool(after)]
    return self.encode(text) if any(i in self.special for i in ids) else ids

  def decode(self, ids):
    """Text of ids, without special tokens."""
    return self._tokens.decode(list(ids), skip_special_tokens=True)

  def vocab_size(self):
    """The number of rows that an embedding needs: one more than the greatest id."""
    return self._size

  get_piece_size = vocab_size

  def piece_to_id(self, piece):
    """Id of a piece as the vocabulary spells it, that of the unknown one when it is not there."""
    found = self._tokens.token_to_id(piece)
    return self.unk_id() if found is None else found

  def id_to_piece(self, i):
    """How the vocabulary spells an id."""
    return self._tokens.id_to_token(i)

  def unk_id(self):
    """Id of what the vocabulary lacks; -1 when it lacks nothing."""
    name = getattr(self._tokens.model, 'unk_token', None)
    return -1 if name is None else self._tokens.token_to_id(name)

  def is_control(self, i):
    """Whether an id is a special token, which no text can produce."""
    return i in self.special

  def is_unknown(self, i):
    return i == self.unk_id()

  @functools.cached_property
  def _bytes(self):
    pieces = ((i, self._tokens.id_to_token(i) or '') for i in range(self._size))
    whole = re.compile('<0x[0-9A-F]{2}>').fullmatch
    return frozenset(i for i, piece in pieces if whole(piece) or '\ufffd' in self._tokens.decode([i]))

  def is_byte(self, i):
    """Whether an id is no whole characters: a byte, or some of a character's bytes."""
    return i in self._bytes
