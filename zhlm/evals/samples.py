"""The same held-out prompts answered after every stage: samples.jsonl in the run's folder."""

import json

from zhlm.data import chat, tokenizer
from zhlm.evals.answers import answer, text

SOURCES = 3  # prompts a source
TEMPERATURE = 0.7


def fixed_prompts(run):
  """The first few test prompts of every source: the same for every run on this data."""
  rows = [{'prompt': r['messages'][:-1], 'source': r['source']} for r in run.texts('conversations')]
  rows += [{'prompt': r['prompt'], 'source': r['source']} for r in run.texts('prompts')]
  chosen = {}
  for row in rows:
    kept = chosen.setdefault(row['source'], [])
    if len(kept) < SOURCES and row['prompt'] not in [k['prompt'] for k in kept]:
      kept.append(row)
  return [row for rows in chosen.values() for row in rows]


def evaluate(run):
  rows = fixed_prompts(run)
  if not rows:
    return
  if run.config.stage == 'pretrain':  # has not seen the chat markers yet: it goes on writing the text
    prompts = [
      [
        chat.end_of_text(run.tokenizer),
        *tokenizer.encode(run.tokenizer, r['prompt'][-1]['content']),
      ]
      for r in rows
    ]
  else:
    prompts = [chat.encode_prompt(run.tokenizer, r['prompt']) for r in rows]
  answers = answer(run, run.load('policy'), prompts, temperature=TEMPERATURE)
  with open(run.folder / 'samples.jsonl', 'w', encoding='utf-8') as file:
    for row, (ids, ended) in zip(rows, answers, strict=True):
      row = {**row, 'completion': text(run, ids), 'ended': ended}
      file.write(json.dumps(row, ensure_ascii=False) + '\n')
  yield 'samples', len(rows)
