"""Does the answer have the form that was asked for? Greedy answers to held-out questions.

Definitions and riddles have one exact form, which names the very word that was asked about; a review must
hold the word it was to mention; every answer must end by itself.
"""

from zhlm.data import chat
from zhlm.evals.answers import answer, text
from zhlm.rewards import text as rules

QUESTIONS = 64  # a source


def well_formed(question, reference, said, ended):
  """Whether `said` ended and has the form of the reference answer."""
  if fixed := rules.head(reference):
    return ended and said.startswith(fixed) and len(said) > len(fixed)
  return ended and bool(said.strip()) and rules.word(question) in said


def evaluate(run):
  by_source = {}
  for row in run.texts('conversations'):
    by_source.setdefault(row['source'].split('/')[0], []).append(row['messages'])
  rows = [
    (source, messages)
    for source, found in by_source.items()
    for messages in found[:: -(-len(found) // QUESTIONS)]  # evenly over the split
  ]
  prompts = [chat.encode_prompt(run.tokenizer, messages[:-1]) for _, messages in rows]
  answers = answer(run, run.load('policy'), prompts, temperature=0.0, new=64)
  right = {}
  for (source, messages), (ids, ended) in zip(rows, answers, strict=True):
    ok = well_formed(messages[-2]['content'], messages[-1]['content'], text(run, ids), ended)
    right.setdefault(source, []).append(ok)
  everything = sum(right.values(), [])
  yield 'format_rate', sum(everything) / len(everything)
  for source, oks in sorted(right.items()):
    yield f'format_rate_{source}', sum(oks) / len(oks)
