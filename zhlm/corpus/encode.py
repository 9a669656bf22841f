"""Rows of text become examples of tokens: a function a stage, row → examples, none if it is too long."""

import numpy as np

from zhlm.data import chat, tokenizer


def pretrain(spm, row, limit):
  """A document between two `<|endoftext|>`, in pieces; the first has the sizes that bits a byte need.

  A record is decoded whole whatever is read of it, so a book is many records of at most `limit` targets:
  each begins with the last token of the one before, so that every token is the target of exactly one.
  """
  end, text = chat.end_of_text(spm), row['text']
  tokens = np.array([end, *tokenizer.encode(spm, text), end], np.int32)
  sizes = {'characters': len(text), 'bytes': len(text.encode())}
  for start in range(0, len(tokens) - 1, limit):
    yield {'tokens': tokens[start : start + limit + 1], **sizes}
    sizes = {'characters': 0, 'bytes': 0}


def sft(spm, row, limit):
  """A conversation, cut at the end of a turn if it is too long, and the mask of what the assistant says."""
  tokens, mask = chat.encode_conversation(spm, row['messages'])
  if len(tokens) > limit:
    messages = chat.cut(spm, row['messages'], limit)
    if messages is None:
      return
    tokens, mask = chat.encode_conversation(spm, messages)
  yield {'tokens': tokens, 'mask': mask, 'source': row['source']}


def reward(spm, row, limit):
  """All completions of a prompt, each a full sequence, end to end; `lengths` cuts them apart."""
  prompt = chat.encode_prompt(spm, row['prompt'])
  full = [prompt + chat.encode_completion(spm, text) for text in row['completions']]
  if max(map(len, full)) <= limit:
    yield {
      'tokens': [token for tokens in full for token in tokens],
      'lengths': [len(tokens) for tokens in full],
      'prompt_length': len(prompt),
      'ranks': row['ranks'],
      'source': row['source'],
    }


def ppo(spm, row, limit):
  """A prompt, up to where the assistant starts to write, and what the user says last, for rules to read."""
  tokens = chat.encode_prompt(spm, row['prompt'])
  if len(tokens) <= limit:
    yield {'tokens': tokens, 'text': row['prompt'][-1]['content']}


STAGES = {  # stage: (table it is made of, row → examples)
  'pretrain': ('documents', pretrain),
  'sft': ('conversations', sft),
  'reward': ('preferences', reward),
  'ppo': ('prompts', ppo),
}
