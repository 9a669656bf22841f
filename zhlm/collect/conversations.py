"""A row of any common form of dialogue, question and answer, or preference, as one item.

  {"text": …}                                          a document
  {"messages" | "conversations" | …: [turn, …]}        a conversation; a turn is one of
      {"role" | "from", "content" | "value"}             OpenAI, ShareGPT; roles by the names of ROLES
      {"system"?, "input", "output"}                     a question with its answer
      "…" or {"message": "…"}                            two who speak in turn, and the second answers
  {"instruction", "input"?, "output", "system"?, "history"?: [[q, a], …]}  Alpaca
  {"question", "answer"}                               and other names: QUESTIONS, ANSWERS
  {PROMPT, "chosen", "rejected"}                       a preference: texts, turns, or whole dialogues
  {PROMPT, "completions", "ranks" | "scores"}          a preference: rank 1, or the highest score, is best
  {"prompt": …}                                        a prompt for PPO
PROMPT is a question, or a dialogue that ends with one. Markers spelt in a text stay text.
"""

import json
import math

from zhlm.data import chat
from zhlm.errors import InputError

ROLES = {
  'system': 'developer 系统',
  'user': 'human prompter client usr seeker 人类 用户 客户 来访者 求助者 问',
  'assistant': 'gpt chatgpt bot model sys counselor supporter 机器人 助手 咨询师 答',
  'tool': 'function function_call tool_call observation function_response tool_response',
}
_ROLE = {name: role for role, names in ROLES.items() for name in (role, *names.split())}
DIALOGUES = ('messages', 'conversations', 'conversation', 'dialogue', 'dialog')
QUESTIONS = ('prompt', 'instruction', 'question', 'query', 'human', 'user', '问', '问题')
ANSWERS = ('output', 'answer', 'response', 'completion', 'target', 'assistant', '答', '答案', '回答')
CHOSEN, REJECTED = ('chosen', 'response_chosen'), ('rejected', 'response_rejected')
COMPLETIONS, SCORES = ('completions', 'responses'), ('scores', 'ratings')
CHOICES = (
  'text | messages | conversations | instruction+output | question+answer | prompt+completions+ranks | '
  'prompt+chosen+rejected | prompt'
)
_ABOUT = ('source', 'licence', 'url', 'title', 'date')


def parse(row, where):
  """A row as an item without id: kind, text, and messages, or prompt, completions, ranks and group; with
  the row's own source, licence, url, title and date where it has them.

  Raises InputError naming `where` and the field: roles that do not alternate, a last turn that is not
  the assistant's, empty texts, tools (the chat template has no turns for them), completions that are
  the same or answer different prompts.
  """
  row = {'dialogue': row} if isinstance(row, list) else row
  if not isinstance(row, dict):
    raise InputError(f'{where}: a row must be an object with the fields {CHOICES}')
  row = {k: v for k, v in row.items() if v is not None}
  row = {'licence': row['license'], **row} if 'license' in row else row
  about = {k: row[k] for k in _ABOUT if isinstance(row.get(k), str) and row[k].strip()}
  _refuse_tools(row, ('tools', 'functions'), where)
  if _first(row, (*CHOSEN, *REJECTED, *COMPLETIONS)):
    return {**_preference(row, where), **about}
  answer = _first(row, ANSWERS)
  name = _first(row, (*DIALOGUES, 'prompt')) or answer and _first(row, (*QUESTIONS, 'input'))
  if name:
    last = 'user' if name == 'prompt' and not answer else 'assistant'
    if last == 'user' and (ranks := _first(row, ('ranks', *SCORES))) and isinstance(row[ranks], list):
      raise InputError(f'{where}: completions: missing; {ranks} are of a prompt alone')
    messages = _asked(row, where)
    if answer and name not in DIALOGUES:
      messages.append(_message('assistant', row[answer], f'{where}: {answer}'))
    chat.validate(messages, last, f'{where}: {name}')
    kind = 'conversation' if last == 'assistant' else 'prompt'
    return {'kind': kind, 'messages': messages, 'text': _join(messages), **about}
  if 'text' in row:
    return {'kind': 'document', 'text': _text(row['text'], f'{where}: text'), **about}
  raise InputError(f'{where}: fields {sorted(row)} are none of {CHOICES}')


def _preference(row, where):
  name = _first(row, COMPLETIONS)
  if name:
    names, answers = f'{where}: {name}', row[name]
    if not isinstance(answers, list) or len(answers) < 2:
      raise InputError(f'{names}: must be a list of at least two texts')
    ranks = _ranks(row, len(answers), where)
    places = [f'{names}[{i}]' for i in range(len(answers))]
  else:
    pair = [_first(row, CHOSEN) or CHOSEN[0], _first(row, REJECTED) or REJECTED[0]]
    if missing := [name for name in pair if name not in row]:
      raise InputError(f'{where}: {missing[0]}: missing')
    names, answers, ranks = f'{where}: {", ".join(pair)}', [row[name] for name in pair], [1, 2]
    places = [f'{where}: {name}' for name in pair]
  heads, completions = zip(*map(_completion, answers, places), strict=True)
  heads = [head for head in heads if head]
  prompt = _asked(row, where)
  if any(head != heads[0] for head in heads):
    raise InputError(f'{names}: they answer different prompts')
  if heads and prompt and prompt != heads[0] and not (len(prompt) == 1 and prompt[0] in heads[0]):
    raise InputError(f'{names}: they answer another prompt than the one beside them')
  prompt = heads[0] if heads else prompt
  if not prompt:
    raise InputError(f'{names}: there is no prompt beside them')
  chat.validate(prompt, 'user', f'{where}: prompt')
  if len({text.strip() for text in completions}) < len(completions):
    raise InputError(f'{names}: two completions are the same text')
  return {
    'kind': 'preference',
    'group': _join(prompt),
    'prompt': prompt,
    'completions': list(completions),
    'ranks': ranks,
    'text': '\n'.join([_join(prompt), *completions]),
  }


def _ranks(row, count, where):
  """row['ranks'], or 1 + how many have a higher score: `count` of them, for so many completions."""
  name = 'ranks' if 'ranks' in row else _first(row, SCORES)
  if not name:
    raise InputError(f'{where}: ranks: missing; give ranks, or scores, one a completion')
  found = row[name] if isinstance(row[name], list) else ()
  if name == 'ranks':
    fit, what = all(type(r) is int and r >= 1 for r in found), 'whole numbers from 1'
  else:
    fit, what = all(type(s) in (int, float) and math.isfinite(s) for s in found), 'numbers'
  if not fit or len(found) != count or len(set(found)) < 2:
    told = json.dumps(row[name], ensure_ascii=False, default=str)
    told = told if len(told) <= 60 else f'{told[:60]}…'
    raise InputError(f'{where}: {name}: must be {count} {what}, not all equal, and not {told}')
  return found if name == 'ranks' else [1 + sum(other > score for other in found) for score in found]


def _completion(answer, where):
  """(the turns before it, its text): it is a text, a turn, or a dialogue that ends with it."""
  turns = _turns(answer, where) if isinstance(answer, list) else _turn(answer, where, 'assistant')
  if not turns or turns[-1]['role'] != 'assistant':
    raise InputError(f'{where}: must end with a turn of the assistant')
  return turns[:-1], turns[-1]['content']


def _asked(row, where):
  """The messages of a row before its answer: system, history, and turns or a question."""
  messages = [_message('system', row['system'], f'{where}: system')] if row.get('system') else []
  history = row.get('history') or []
  if not isinstance(history, list):
    raise InputError(f'{where}: history: must be a list of [question, answer]')
  for i, turn in enumerate(history):
    at = f'{where}: history[{i}]'
    messages += _turns(turn, at) if isinstance(turn, list) else _turn(turn, at)
  name = _first(row, DIALOGUES) or ('prompt' if isinstance(row.get('prompt'), list) else None)
  if name:
    return messages + _turns(row[name], f'{where}: {name}')
  names = [name for name in (_first(row, QUESTIONS), 'context', 'input') if name in row]
  parts = [row[name] for name in names]
  if not all(isinstance(part, str) for part in parts) or names and not ''.join(parts).strip():
    raise InputError(f'{where}: {", ".join(names)}: must be text that is not empty')
  question = '\n'.join(part for part in parts if part.strip())
  return messages + ([{'role': 'user', 'content': question}] if names else [])


def _turns(turns, where):
  """The messages of a list of turns of any form; an empty system turn, which many files write, is none."""
  if not isinstance(turns, list) or not turns:
    raise InputError(f'{where}: must be a list of turns that is not empty')
  messages = []
  for i, turn in enumerate(turns):
    for message in _turn(turn, f'{where}[{i}]', ('user', 'assistant')[i % 2]):
      if message['role'] != 'system' or message not in messages:  # some repeat it in every turn
        messages.append(message)
  return messages


def _turn(turn, where, speaker='user'):
  """The messages of a turn: none, one, or a question with its answer. speaker: whose a lone text is."""
  if not isinstance(turn, dict):
    return [_message(speaker, turn, where)]
  _refuse_tools(turn, ('tool_calls', 'function_call'), where)
  who, said = _first(turn, ('role', 'from')), _first(turn, ('content', 'value', 'text', 'message'))
  if who and said:
    role = _ROLE.get(str(turn[who]).strip().lower())
    if role == 'tool':
      raise InputError(f'{where}.{who}: {turn[who]!r}: the chat template has no turns of tools')
    if role is None:
      names = '; '.join(f'{role}: {ROLES[role]}' for role in chat.ROLES)
      raise InputError(f'{where}.{who}: {turn[who]!r} is none of {", ".join(chat.ROLES)} (or {names})')
    empty = role == 'system' and turn[said] in ('', None)
    return [] if empty else [_message(role, turn[said], f'{where}.{said}')]
  if said:
    return [_message(speaker, turn[said], f'{where}.{said}')]
  answer = _first(turn, ANSWERS)
  if not answer or not _first(turn, (*QUESTIONS, 'input')):
    raise InputError(f'{where}: must be an object with "role" and "content", not with {sorted(turn)}')
  return [*_asked(turn, where), _message('assistant', turn[answer], f'{where}.{answer}')]


def _message(role, content, where):
  if isinstance(content, list):  # OpenAI's parts
    if not all(isinstance(part, dict) and isinstance(part.get('text'), str) for part in content):
      raise InputError(f'{where}: only parts of text can be read')
    content = ''.join(part['text'] for part in content)
  return {'role': role, 'content': _text(content, where)}


def _text(value, where):
  if not isinstance(value, str) or not value.strip():
    raise InputError(f'{where}: must be text that is not empty')
  return value


def _refuse_tools(row, names, where):
  """Tools in JSON that is none are an error of the file; sound ones have no place in the chat template."""
  for name in names:
    value = row.get(name)
    if isinstance(value, str):
      try:
        value = json.loads(value) if value.strip() else None
      except ValueError as error:
        raise InputError(f'{where}: {name}: not JSON: {error}') from None
    if value:
      raise InputError(f'{where}: {name}: the chat template has no turns of tools')


def _first(row, names):
  """The first of these fields that the row has; None when it has none."""
  return next((name for name in names if name in row), None)


def _join(messages):
  return '\n'.join(m['content'] for m in messages)
