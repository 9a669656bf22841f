"""Rows of text become examples of tokens: a function a stage, row → example, None if too long."""

import os
import shutil

from zhlm.data import chat, dedup, manifest, records, tokenizer

SPLITS = ('train', 'validation', 'test')


def pretrain(spm, row, _):
  """A document between two `<|endoftext|>`, never too long, with the sizes bits a byte need."""
  end, text = chat.end_of_text(spm), row['text']
  tokens = [end, *tokenizer.encode(spm, text), end]
  return {'tokens': tokens, 'characters': len(text), 'bytes': len(text.encode())}


def sft(spm, row, limit):
  """A conversation and the mask of what the assistant says in it."""
  tokens, mask = chat.encode_conversation(spm, row['messages'])
  return {'tokens': tokens, 'mask': mask, 'source': row['source']} if len(tokens) <= limit else None


def reward(spm, row, limit):
  """All completions of a prompt, each a full sequence, end to end; `lengths` cuts them apart."""
  prompt = chat.encode_prompt(spm, row['prompt'])
  full = [prompt + chat.encode_completion(spm, text) for text in row['completions']]
  if max(map(len, full)) > limit:
    return None
  return {
    'tokens': [token for tokens in full for token in tokens],
    'lengths': [len(tokens) for tokens in full],
    'prompt_length': len(prompt),
    'ranks': row['ranks'],
    'source': row['source'],
  }


def ppo(spm, row, limit):
  """A prompt, up to where the assistant starts to write."""
  tokens = chat.encode_prompt(spm, row['prompt'])
  return {'tokens': tokens} if len(tokens) <= limit else None


STAGES = {  # stage: (table it is made of, row → example)
  'pretrain': ('documents', pretrain),
  'sft': ('conversations', sft),
  'reward': ('preferences', reward),
  'ppo': ('prompts', ppo),
}


def write_stage(folder, stage, tables, spm, config, say=print):
  """Writes one dataset; returns (its report by split, how many rows were too long).

  Rows lie in an order by hash, so that whoever reads them one after another meets all sources.
  """
  table, make = STAGES[stage]
  splits, too_long = {}, 0
  for split in SPLITS:
    rows = sorted(
      tables[table].get(split, []), key=lambda row: dedup.fraction('order', config.seed, row['id'])
    )
    rows = manifest.progress(rows, f'{stage} {split}', say)
    made = [make(spm, row, config.max_tokens) for row in rows]
    splits[split] = [example for example in made if example is not None]
    too_long += len(made) - len(splits[split])
  target = os.path.join(folder, stage)
  if not any(splits.values()):
    shutil.rmtree(target, ignore_errors=True)
    return {}, too_long
  return records.write_dataset(target, stage, splits, config.shard_records), too_long
