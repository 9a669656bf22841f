"""The chat template, ChatML, and the only place that knows it.

  <|im_start|>user\\n你好<|im_end|>\\n<|im_start|>assistant\\n你好！<|im_end|>

The markers are control symbols: they enter as ids, and text that spells them stays text, so nobody
can forge a turn. Every text is encoded by itself, so the mask is right by construction, and
`encode_conversation(m) == encode_prompt(m[:-1]) + encode_completion(m[-1])` holds token for token.
"""

from zhlm.data.tokenizer import encode
from zhlm.errors import InputError

ROLES = ('system', 'user', 'assistant')


def end_of_text(tokenizer):
  """Id between documents, and the id to pad with."""
  return tokenizer.piece_to_id('<|endoftext|>')


pad = end_of_text


def end_of_turn(tokenizer):
  """Id that ends a turn: where sampling stops."""
  return tokenizer.piece_to_id('<|im_end|>')


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


def _head(tokenizer, role):
  return [tokenizer.piece_to_id('<|im_start|>'), *encode(tokenizer, f'{role}\n')]


def encode_completion(tokenizer, text):
  """What the assistant writes after a prompt: its text and the end of its turn."""
  return [*encode(tokenizer, text), end_of_turn(tokenizer)]


def encode_prompt(tokenizer, messages):
  """Tokens up to and including `<|im_start|>assistant\\n`. Raises InputError for bad messages."""
  validate(messages, last='user')
  tokens = []
  for message in messages:
    tokens += _head(tokenizer, message['role'])
    tokens += [*encode_completion(tokenizer, message['content']), *encode(tokenizer, '\n')]
  return tokens + _head(tokenizer, 'assistant')


def encode_conversation(tokenizer, messages):
  """(tokens, mask): mask is 1 exactly on what the assistant writes, its `<|im_end|>` included."""
  validate(messages)
  tokens, mask = [], []
  for i, message in enumerate(messages):
    head = (encode(tokenizer, '\n') if i else []) + _head(tokenizer, message['role'])
    body = encode_completion(tokenizer, message['content'])
    tokens += head + body
    mask += [0] * len(head) + [int(message['role'] == 'assistant')] * len(body)
  return tokens, mask


def cut(tokenizer, messages, limit):
  """The longest beginning of a conversation that ends with an answer and takes at most `limit` tokens; None
  when its first answer does not fit. Only end markers are ids, so they count the turns."""
  tokens, _ = encode_conversation(tokenizer, messages)
  whole = messages[: tokens[:limit].count(end_of_turn(tokenizer))]
  while whole and whole[-1]['role'] != 'assistant':
    whole = whole[:-1]
  return whole or None


def decode(tokenizer, tokens):
  """Text to show, control symbols spelled out (SentencePiece's own decoder drops them)."""
  out, run = [], []
  for token in map(int, tokens):
    if token >= tokenizer.vocab_size():  # a model may have more rows than the tokenizer has pieces
      token = tokenizer.unk_id()
    if tokenizer.is_control(token):
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
