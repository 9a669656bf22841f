"""ChatML by ids, the template of our own tokenizers.

  <|im_start|>user\\n你好<|im_end|>\\n<|im_start|>assistant\\n你好！<|im_end|>

The markers are control symbols, and every text is encoded by itself. `zhlm.data.chat` says what each
function gives.
"""

from zhlm.data.tokenizer import encode


def end_of_text(tokenizer):
  return tokenizer.piece_to_id('<|endoftext|>')


pad = end_of_text


def end_of_turn(tokenizer):
  return tokenizer.piece_to_id('<|im_end|>')


def _head(tokenizer, role):
  return [tokenizer.piece_to_id('<|im_start|>'), *encode(tokenizer, f'{role}\n')]


def encode_completion(tokenizer, text):
  return [*encode(tokenizer, text), end_of_turn(tokenizer)]


def encode_prompt(tokenizer, messages):
  tokens = []
  for message in messages:
    tokens += _head(tokenizer, message['role'])
    tokens += [*encode_completion(tokenizer, message['content']), *encode(tokenizer, '\n')]
  return tokens + _head(tokenizer, 'assistant')


def encode_conversation(tokenizer, messages):
  tokens, mask = [], []
  for i, message in enumerate(messages):
    head = (encode(tokenizer, '\n') if i else []) + _head(tokenizer, message['role'])
    body = encode_completion(tokenizer, message['content'])
    tokens += head + body
    mask += [0] * len(head) + [int(message['role'] == 'assistant')] * len(body)
  return tokens, mask


def cut(tokenizer, messages, limit):
  tokens, _ = encode_conversation(tokenizer, messages)
  # Only end markers are ids, so they count the turns.
  whole = messages[: tokens[:limit].count(end_of_turn(tokenizer))]
  while whole and whole[-1]['role'] != 'assistant':
    whole = whole[:-1]
  return whole or None
