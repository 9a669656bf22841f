"""A policy's answers as data: K to each prompt, ranked by a judge, or left for people to rank.

keep='all'   a row for the reward model, {prompt, completions, ranks, scores}; without a judge no ranks
keep='best'  a conversation with the best answer that ended, for SFT: rejection sampling (Nakano et al.
             2021; Touvron et al. 2023, section 3.2.3)
The judge is a text as config.rollout.reward takes it; `launch.prepare` reads either file.
"""

import json
import os
import sys
from collections import Counter

from rich import progress

from zhlm import disk
from zhlm.clean.normalise import normalise
from zhlm.collect import conversations, sources
from zhlm.collect import rows as lines
from zhlm.data import chat
from zhlm.data.draw import fraction
from zhlm.errors import InputError
from zhlm.evals import scores
from zhlm.evals.answers import stream, text

PEOPLE = 'people'  # the judge that no program is
KEEP = ('all', 'best')
# Why a prompt gives no row, in words.
LEFT_OUT = {
  'too long': 'whose prompt and answer the context does not hold',
  'alike': 'with fewer than two different answers',
  'tied': 'whose answers all score alike',
  'unfinished': 'of which no answer came to an end',
}


def read(path):
  """Yields (where, row) of a JSON Lines file; InputError with file and line for what is no JSON."""
  for where, row, why in lines.read(sources.Source(str(path), '', '', 'jsonl', '')):
    if why:
      raise InputError(f'{where}: {why}')
    yield where, row


def prompts_of(path):
  """The rows {'prompt': messages, …} of a JSON Lines file of prompts, conversations or preferences.

  Raises InputError with file, line and field for a row without a prompt, and for a file without a row.
  """
  if not os.path.isfile(path):
    raise InputError(f'--prompts={path}: there is no such file; give a number of prompts or JSON Lines')
  found = []
  for where, row in read(path):
    item = conversations.parse(row, where)
    if item['kind'] == 'document':
      raise InputError(f'{where}: a text is no prompt; give {{"prompt": …}}')
    prompt = item['prompt'] if 'prompt' in item else item['messages']
    prompt = prompt[:-1] if item['kind'] == 'conversation' else prompt
    found.append({'prompt': prompt, **{k: item[k] for k in ('source',) if k in item}})
  if not found:
    raise InputError(f'{path}: holds no prompt')
  return found


def train_prompts(run, count=0, seed=0):
  """The first `count` (0: all) of the prompts that the run's data has for training, in an order by seed."""
  rows = run.texts('prompts', 'train')
  if not rows:
    raise InputError(f'{run.config.data} has no prompts for training; give --prompts=FILE')
  rows.sort(key=lambda row: fraction('sample', seed, row['id']))
  return [{k: row[k] for k in ('prompt', 'source')} for row in rows[: count or None]]


def sample(run, rows, judge, out, *, samples, keep='all', temperature=1.0, seed=0, say=print):
  """Samples answers of run's policy to rows {'prompt': messages, 'source'?}, has them judged, and writes
  the file `out`, whole or not at all; returns Counter of 'rows' and of those left out, by LEFT_OUT.

  Sample k of prompt i (of those that fit) is a function of (seed, i, k). Raises InputError for settings
  that contradict each other, a judge that is none, a file that is there, and when no row is left.
  """
  if keep not in KEEP:
    raise InputError(f'keep={keep}: choose from {", ".join(KEEP)}')
  if samples < 2:
    raise InputError(f'samples={samples}: at least two answers can be compared')
  if judge == PEOPLE and keep == 'best':
    raise InputError(f'judge={PEOPLE} ranks all the answers; for keep=best name a reward')
  if os.path.exists(out):
    raise InputError(f'{out}: is there already, perhaps with ranks; remove it, or write another file')
  reward = None if judge == PEOPLE else scores.opened(judge, run)
  prompts = [chat.encode_prompt(run.tokenizer, row['prompt']) for row in rows]
  room = run.config.batch.T - run.config.rollout.new_tokens
  fit = [i for i, ids in enumerate(prompts) if len(ids) <= room]
  counts = Counter({'too long': len(rows) - len(fit)})
  if not fit:
    raise InputError(
      f'no prompt fits: the shortest of {len(rows)} has {min(map(len, prompts))} tokens, and batch.T='
      f'{run.config.batch.T} of {run.folder} less rollout.new_tokens leaves {room}'
    )
  rows, prompts = [rows[i] for i in fit], [prompts[i] for i in fit]
  how = dict(samples=samples, temperature=temperature, seed=seed)
  answers = _told(stream(run, run.load('policy'), prompts, **how), len(rows) * samples)
  score_RK = [None] * len(rows)
  if reward:
    asked = [row['prompt'] for row in rows for _ in range(samples)]
    raw = reward.raw(run, asked, answers)
    score_RK = reward.total(raw, raw).reshape(-1, samples).tolist()
  made = []
  for i, row in enumerate(rows):
    said = [(text(run, ids), ended) for ids, ended in answers[i * samples : (i + 1) * samples]]
    new, why = (_ranked if keep == 'all' else _best)(row, said, score_RK[i])
    made += [new] if new else []
    counts['rows' if new else why] += 1
  lost = ', '.join(f'{counts[why]} {words}' for why, words in LEFT_OUT.items() if counts[why])
  if not made:
    raise InputError(
      f'no row is left of {sum(counts.values())} prompts: {lost}; raise temperature or samples'
    )
  disk.write_text(out, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in made))
  say(f'{out}: {len(made)} rows{f"; left out: {lost}" if lost else ""}')
  return counts


def _told(items, total):
  """All items, with a bar and the time to go on a terminal."""
  return list(progress.track(items, 'samples', total, disable=not sys.stdout.isatty()))


def _ranked(row, said, score_K):
  """(the row with all answers, '') or (None, why not). Texts that preparation will make equal are one
  answer. score_K: None leaves the ranks to people."""
  first = {}
  for k, (words, _) in enumerate(said):
    if normalise(words):
      first.setdefault(normalise(words), k)
  kept = list(first.values())
  if len(kept) < 2:
    return None, 'alike'
  new = {**row, 'completions': [said[k][0] for k in kept]}
  if score_K is not None:
    score = [score_K[k] for k in kept]
    new |= {'ranks': [1 + sum(other > s for other in score) for s in score], 'scores': score}
    if len(set(new['ranks'])) < 2:
      return None, 'tied'
  return new, ''


def _best(row, said, score_K):
  """(the prompt with its best answer, '') or (None, why not). An answer cut short is no example."""
  ended = [k for k, (words, ended) in enumerate(said) if ended and normalise(words)]
  if not ended:
    return None, 'unfinished'
  best = max(ended, key=lambda k: score_K[k])
  messages = [*row['prompt'], {'role': 'assistant', 'content': said[best][0]}]
  rest = {k: x for k, x in row.items() if k != 'prompt'}
  return {'messages': messages, 'score': score_K[best], **rest}, ''
