"""The same held-out prompts answered after every stage: rows without a step in samples.jsonl."""

import json

from zhlm import disk
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
  path = run.folder / 'samples.jsonl'
  lines = [line.decode() for line in disk.whole_lines(path, lambda row: 'step' in row)]  # of validations
  for row, (ids, ended) in zip(rows, answers, strict=True):
    row = {**row, 'completion': text(run, ids), 'ended': ended}
    lines.append(json.dumps(row, ensure_ascii=False) + '\n')
  disk.write_text(path, ''.join(lines))
  yield 'samples', len(rows)
