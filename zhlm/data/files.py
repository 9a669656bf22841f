"""Your own files as items: JSONL (.gz too) and .txt, named by what their lines hold.

  {"text": …}                                        a document
  {"messages": [{"role", "content"}, …]}             a conversation
  {"prompt": …, "completions": […], "ranks": […]}    a preference (rank 1 is best)
  {"prompt": …, "chosen": …, "rejected": …}          a preference of two
  {"prompt": …}                                      a prompt for PPO
A prompt is a text or a list of messages. Paragraph groups of a .txt are divided by empty lines.
"""

import gzip
import json
import os
import re

from zhlm.data import chat
from zhlm.errors import InputError

ENDINGS = ('.jsonl', '.jsonl.gz', '.txt')
CHOICES = 'text | messages | prompt+completions+ranks | prompt+chosen+rejected | prompt'


def list_files(path):
  """The files of a source: itself, or what a folder holds. Raises InputError when there is none."""
  path = os.path.expanduser(path)
  if os.path.isdir(path):
    found = [os.path.join(path, n) for n in sorted(os.listdir(path)) if n.endswith(ENDINGS)]
    if not found:
      raise InputError(f'{path}: no file here ends in {", ".join(ENDINGS)}')
    return found
  if not os.path.isfile(path):
    raise InputError(f'source={path}: there is no such file or folder (and it is not `demo`)')
  if not path.endswith(ENDINGS):
    raise InputError(f'{path}: the name must end in one of {", ".join(ENDINGS)}')
  return [path]


def read_text(path):
  """The text of a UTF-8 file, or InputError with the offset of the first byte that is not."""
  try:
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
      data = file.read()
  except (OSError, EOFError) as error:
    raise InputError(f'{path}: cannot be read: {error}') from None
  if not data.strip():
    raise InputError(f'{path}: the file is empty')
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise InputError(
      f'{path}:{line}: byte {error.start} is not UTF-8; convert it, e.g. iconv -f gb18030 -t utf-8'
    ) from None


def read_file(path):
  """Items of one file: {'id', 'kind', 'text', 'source', …}.

  Raises InputError for an empty file, bytes that are not UTF-8, lines that are not JSON, and fields
  that are not what the table above says: with file, line and field.
  """
  text, name = read_text(path), os.path.basename(path)
  if path.endswith('.txt'):
    groups = [g.strip() for g in re.split(r'\n[ \t\r]*\n', text)]
    return [
      {'id': f'{name}:{i:08}', 'kind': 'document', 'text': g, 'source': name}
      for i, g in enumerate(groups)
      if g
    ]
  items = []
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    where = f'{path}:{number}'
    try:
      row = json.loads(line)
    except json.JSONDecodeError as error:
      raise InputError(f'{where}: not JSON: {error.msg} at column {error.colno}') from None
    if not isinstance(row, dict):
      raise InputError(f'{where}: a line must be an object with the fields {CHOICES}')
    item = parse(row, where)
    items.append({'source': name, **item, 'id': f'{name}:{number:08}'})
  return items


def parse(row, where):
  """One JSON object as an item without id. Raises InputError naming `where` and the field."""
  extra = {k: row[k] for k in ('source', 'licence') if isinstance(row.get(k), str)}
  if 'messages' in row:
    chat.validate(row['messages'], where=f'{where}: messages')
    messages = _turns(row['messages'])
    return {'kind': 'conversation', 'messages': messages, 'text': _join(messages), **extra}
  if 'prompt' in row:
    prompt = row['prompt']
    prompt = [{'role': 'user', 'content': prompt}] if isinstance(prompt, str) else prompt
    chat.validate(prompt, last='user', where=f'{where}: prompt')
    prompt = _turns(prompt)
    if not {'completions', 'chosen', 'rejected', 'ranks'} & set(row):
      return {'kind': 'prompt', 'messages': prompt, 'text': _join(prompt), **extra}
    completions, ranks = _ranked(row, where)
    text = '\n'.join([_join(prompt), *completions])
    item = {
      'group': _join(prompt),
      'prompt': prompt,
      'completions': completions,
      'ranks': ranks,
      'text': text,
    }
    return {'kind': 'preference', **item, **extra}
  if 'text' in row:
    if not isinstance(row['text'], str) or not row['text'].strip():
      raise InputError(f'{where}: text: must be text that is not empty')
    return {'kind': 'document', 'text': row['text'], **extra}
  raise InputError(f'{where}: fields {sorted(row)} are none of {CHOICES}')


def _ranked(row, where):
  if 'completions' in row:
    completions, ranks = row['completions'], row.get('ranks')
  else:
    completions, ranks = [row.get('chosen'), row.get('rejected')], [1, 2]
  if not isinstance(completions, list) or len(completions) < 2:
    raise InputError(f'{where}: completions: must be a list of at least two texts')
  if not all(isinstance(c, str) and c.strip() for c in completions):
    name = 'completions' if 'completions' in row else 'chosen, rejected'
    raise InputError(f'{where}: {name}: must be texts that are not empty')
  if len(set(completions)) < len(completions):
    raise InputError(f'{where}: two completions are the same text')
  whole = isinstance(ranks, list) and all(type(r) is int and r >= 1 for r in ranks)
  if not whole or len(ranks) != len(completions) or len(set(ranks)) < 2:
    raise InputError(f'{where}: ranks: must be {len(completions)} whole numbers from 1, not all equal')
  return completions, ranks


def _turns(messages):
  return [{'role': m['role'], 'content': m['content']} for m in messages]


def _join(messages):
  return '\n'.join(m['content'] for m in messages)
