"""The same held-out prompts answered after every stage: samples.jsonl in the run's folder."""

import json

from zhlm.data import chat, tokenizer
from zhlm.evals.answers import answer, text

SOURCES = 3  # prompts a source
TEMPERATURE = 0.7


def fixed_prompts(run):
  """A few test prompts of every source, evenly over the split: the same for every run on this data."""
  rows = [{'prompt': r['messages'][:-1], 'source': r['source']} for r in run.texts('conversations')]
  rows += [{'prompt': r['prompt'], 'source': r['source']} for r in run.texts('prompts')]
  by_source = {}
  for row in rows:
    by_source.setdefault(row['source'], []).append(row)
  return [row for found in by_source.values() for row in found[:: -(-len(found) // SOURCES)]]


def evaluate(run):
  rows = fixed_prompts(run)
  if not rows:
    return
  if run.config.stage == 'pretrain':  # has not seen the chat markers yet: it goes on writing the text
    stop = chat.end_of_text(run.tokenizer)
    prompts = [[stop, *tokenizer.encode(run.tokenizer, r['prompt'][-1]['content'])] for r in rows]
  else:
    stop = chat.end_of_turn(run.tokenizer)
    prompts = [chat.encode_prompt(run.tokenizer, r['prompt']) for r in rows]
  answers = answer(run, run.load('policy'), prompts, temperature=TEMPERATURE, stop=stop)
  with open(run.folder / 'samples.jsonl', 'w', encoding='utf-8') as file:
    for row, (ids, ended) in zip(rows, answers, strict=True):
      row = {**row, 'completion': text(run, ids), 'ended': ended}
      file.write(json.dumps(row, ensure_ascii=False) + '\n')
  yield 'samples', len(rows)
