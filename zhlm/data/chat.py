"""Conversations as ids: what a prompt, an answer and a whole conversation are to a model.

  <|im_start|>user\\n你好<|im_end|>\\n<|im_start|>assistant\\n你好！<|im_end|>

Our own tokenizers speak ChatML (`zhlm.data.chatml`), a Hugging Face folder its own chat template
(`zhlm.data.turns`). Markers enter as ids, and text that spells them stays text, so nobody can forge a turn.
`encode_conversation(m) == encode_prompt(m[:-1]) + encode_completion(m[-1])` holds token for token.
"""

import os

from zhlm import disk
from zhlm.data import chatml, hub, turns
from zhlm.data.template import Refused  # noqa: F401 (what a template may answer)
from zhlm.data.tokenizer import copy, load
from zhlm.errors import InputError

ROLES = ('system', 'user', 'assistant')
_UNKNOWN = ' \u2047 '  # as SentencePiece shows what it does not know


def _speech(tokenizer):
  return turns if isinstance(tokenizer, hub.Tokenizer) else chatml


def end_of_text(tokenizer):
  """Id between documents."""
  return _speech(tokenizer).end_of_text(tokenizer)


def pad(tokenizer):
  """Id to pad with."""
  return _speech(tokenizer).pad(tokenizer)


def end_of_turn(tokenizer):
  """Id that ends an answer: where sampling stops."""
  return _speech(tokenizer).end_of_turn(tokenizer)


def validate(messages, last='assistant', where='messages'):
  """Raises InputError unless roles are [system] user assistant … `last`, none of them empty."""
  if not isinstance(messages, list) or not messages:
    raise InputError(f'{where}: must be a list of {{"role", "content"}} that is not empty')
  for i, message in enumerate(messages):
    at = f'{where}[{i}]'
    if not isinstance(message, dict) or not {'role', 'content'} <= set(message):
      raise InputError(f'{at}: must be an object with "role" and "content"')
    if message['role'] not in ROLES:
      raise InputError(f'{at}.role: {message["role"]!r} is none of {", ".join(ROLES)}')
    if not isinstance(message['content'], str) or not message['content'].strip():
      raise InputError(f'{at}.content: must be text that is not empty')
  turns = [m['role'] for m in messages]
  turns = turns[1:] if turns[0] == 'system' else turns
  if turns != [('user', 'assistant')[i % 2] for i in range(len(turns))]:
    raise InputError(f'{where}: roles must alternate [system], user, assistant, …, not {turns}')
  if not turns or turns[-1] != last:
    raise InputError(f'{where}: must end with a turn of role {last!r}')


def encode_completion(tokenizer, text):
  """What the assistant writes after a prompt: its text and the end of its turn."""
  return _speech(tokenizer).encode_completion(tokenizer, text)


def encode_prompt(tokenizer, messages):
  """Tokens up to where the assistant writes, as `<|im_start|>assistant\\n`. InputError for bad messages."""
  validate(messages, last='user')
  return _speech(tokenizer).encode_prompt(tokenizer, messages)


def encode_conversation(tokenizer, messages):
  """(tokens, mask): mask is 1 exactly on what the assistant writes, the end of its turn included."""
  validate(messages)
  return _speech(tokenizer).encode_conversation(tokenizer, messages)


def cut(tokenizer, messages, limit):
  """The longest beginning of a conversation that ends with an answer and takes at most `limit` tokens; None
  when its first answer does not fit."""
  validate(messages)
  return _speech(tokenizer).cut(tokenizer, messages, limit)


def decode(tokenizer, tokens):
  """Text to show, control symbols spelled out (SentencePiece's own decoder drops them)."""
  out, run = [], []
  for token in map(int, tokens):
    if token >= tokenizer.vocab_size():  # a model may have more rows than the tokenizer has pieces
      out += [tokenizer.decode(run), _UNKNOWN]
      run = []
    elif tokenizer.is_control(token):
      out += [tokenizer.decode(run), tokenizer.id_to_piece(token)]
      run = []
    else:
      run.append(token)
  return ''.join([*out, tokenizer.decode(run)])


def pieces(tokenizer, tokens):
  """Yields the text of a stream of ids bit by bit; never half a character, which may take three ids."""
  ids, shown = [], ''
  for token in tokens:
    ids.append(token)
    said = decode(tokenizer, ids)
    if not said.endswith('\ufffd'):
      yield said[len(shown) :]
      shown = said


def hub_files(folder, target, length=None):
  """Writes what transformers and vLLM need of a folder's tokenizer into `target`, to give the same ids.

  Ours becomes tokenizer.json, tokenizer.model, a ChatML template and the ids that end a text. Another one
  stays as it is, but for what chatting here has added: ChatML when it had no template, and the end of a
  turn among the ids that end a text. length: the longest input in tokens; None says nothing of it.
  """
  tokenizer = load(folder)
  copy(folder, target)
  config, ending = (os.path.join(target, f'{name}_config.json') for name in ('tokenizer', 'generation'))
  stop, end = end_of_turn(tokenizer), end_of_text(tokenizer)
  if not isinstance(tokenizer, hub.Tokenizer):
    about = {'tokenizer_class': 'PreTrainedTokenizerFast', 'clean_up_tokenization_spaces': False}
    about |= {'model_max_length': length} if length else {}
    about |= {'eos_token': tokenizer.id_to_piece(stop), 'pad_token': tokenizer.id_to_piece(end)}
    disk.write_json(config, {**about, 'chat_template': hub.CHATML})
    disk.write_json(ending, {'eos_token_id': [stop, end], 'pad_token_id': pad(tokenizer)})
    return
  if not tokenizer.about.source:
    disk.write_json(config, {**hub.read(config), 'chat_template': hub.CHATML})
  if stop not in tokenizer.about.ends:
    ends = [stop, *(i for i in turns.ends(tokenizer) if i != stop)]
    disk.write_json(ending, {**hub.read(ending), 'eos_token_id': ends})
