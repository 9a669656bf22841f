"""What a model is asked: items with a split become documents, conversations, preferences, prompts.

Every row has `id` and `source`; a row belongs to a split only if all its parts do. Facts have one
exact answer each, to be checked by comparing. Reviews are the affair of `zhlm.data.reviews`.
"""

from zhlm.data import reviews
from zhlm.data.dedup import fraction

TABLES = ('documents', 'conversations', 'preferences', 'prompts', 'judge')
_QUESTIONS = {
  'definition': ('“{}”是什么意思？', '请解释“{}”。', '“{}”这个词怎么解释？', '说说“{}”的意思。'),
  'character': ('“{}”字是什么意思？', '请解释“{}”这个字。'),
  'riddle': ('歇后语“{}”的下半句是什么？', '“{}”，歇后语的后半句怎么说？', '接歇后语：{}——'),
  'question': ('{}',),
  'joke': ('讲个笑话。', '给我讲一个笑话吧。', '来个笑话。', '说个笑话听听。'),
}
_ANSWERS = {
  'definition': '“{key}”的意思是：{answer}',
  'character': '“{key}”的意思是：{answer}',
  'riddle': '{key}——{answer}',
  'question': '{answer}',
  'joke': '{answer}',
}
_MISSES = 3  # near misses a right definition is ranked over, at most


def build(items, config, notes):
  """{table: {split: [row]}} of items from any source; what was left out is counted into `notes`."""
  tables = {table: {} for table in TABLES}
  for item in items:
    for table, split, row in _direct(item, config):
      tables[table].setdefault(split, []).append(row)
  for table, split, row in reviews.rows([i for i in items if i['kind'] == 'review'], config, notes):
    tables[table].setdefault(split, []).append(row)
  for split, row in _definitions([i for i in items if i.get('task') == 'definition'], config):
    tables['preferences'].setdefault(split, []).append(row)
  if not tables['prompts']:
    _prompts_of_others(tables)
  return tables


def user(text):
  """A prompt of one turn."""
  return [{'role': 'user', 'content': text}]


def pick(choices, *key):
  """One of the choices by hash of the key, so that a draw never depends on those before it."""
  return choices[int(fraction(*key) * len(choices))]


def _direct(item, config):
  """(table, split, row) of the items that are already what a table holds."""
  row = {k: item[k] for k in ('id', 'source', 'cluster')}
  kind, split = item['kind'], item['split']
  if kind == 'document' or (kind == 'review' and not split.startswith('judge')):
    row.update({k: item[k] for k in ('licence', 'label', 'domain') if k in item})
    yield 'documents', split, {**row, 'text': item['text']}
  elif kind == 'fact' and len(item['answer']) <= config.answer_characters:
    question = pick(_QUESTIONS[item['task']], 'question', config.seed, item['id'])
    answer = _ANSWERS[item['task']].format(key=item['key'], answer=item['answer'])
    messages = [*user(question.format(item['key'])), {'role': 'assistant', 'content': answer}]
    yield 'conversations', split, {**row, 'messages': messages}
  elif kind == 'conversation':
    yield 'conversations', split, {**row, 'messages': item['messages']}
  elif kind == 'preference':
    yield 'preferences', split, {**row, **{k: item[k] for k in ('prompt', 'completions', 'ranks')}}
  elif kind == 'prompt':
    yield 'prompts', split, {**row, 'prompt': item['messages']}


def _definitions(items, config):
  """(split, preference): the right definition over those of words that share a character with it.

  Near misses are the nearest in length, so that length tells nothing; they tie among themselves.
  """
  items = [i for i in items if 4 <= len(i['answer']) <= config.answer_characters]
  sharing = {}
  for item in items:
    for character in set(item['key']):
      sharing.setdefault((item['split'], character), []).append(item)
  items.sort(key=lambda item: fraction('definition', config.seed, item['id']))
  share = config.definition_preferences / max(len(items), 1)
  for item in items:
    # Three times the share where they are measured: the held-out splits are small.
    wanted = share if item['split'] == 'train' else 3 * share
    if fraction('definition preference', config.seed, item['cluster']) >= wanted:
      continue
    near = {}
    for character in item['key']:
      for other in sharing[item['split'], character]:
        if other['cluster'] != item['cluster'] and other['answer'] != item['answer']:
          near.setdefault(other['answer'], len(other['answer']))
    size = 1 + int(fraction('misses', config.seed, item['id']) * _MISSES)
    misses = sorted(near, key=lambda text: (abs(near[text] - len(item['answer'])), text))[:size]
    if not misses:
      continue
    question = pick(_QUESTIONS['definition'], 'question', config.seed, item['id'])
    answers = [item['answer'], *misses]
    yield (
      item['split'],
      {
        'id': f'preference/{item["id"]}',
        'source': 'definition',
        'cluster': item['cluster'],
        'prompt': user(question.format(item['key'])),
        'completions': [_ANSWERS['definition'].format(key=item['key'], answer=a) for a in answers],
        'ranks': [1] + [2] * len(misses),
      },
    )


def _prompts_of_others(tables):
  """A source without prompts of its own lends those of its preferences and conversations."""
  for table in ('preferences', 'conversations'):
    for split, rows in tables[table].items():
      for row in rows:
        prompt = row['prompt'] if 'prompt' in row else row['messages'][:-1]
        new = {'id': f'prompt/{row["id"]}', 'source': row['source'], 'cluster': row['cluster']}
        tables['prompts'].setdefault(split, []).append({**new, 'prompt': prompt})
