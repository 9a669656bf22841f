"""What the demo's model is asked: facts and reviews become conversations, preferences, prompts.

Every row has `id` and `source`; a row belongs to a split only if all its parts do. Facts have one
exact answer each, to be checked by comparing. Reviews are the affair of `zhlm.demo.reviews`.
"""

from zhlm.data.draw import fraction, pick
from zhlm.demo import reviews

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
  """Yields (table, split, row) of facts and reviews; what was left out is counted into `notes`."""
  for item in items:
    yield from _direct(item, config)
  yield from reviews.rows([i for i in items if i['kind'] == 'review'], config, notes)
  for split, row in _definitions([i for i in items if 'task' in i and i['task'] == 'definition'], config):
    yield 'preferences', split, row


def user(text):
  """A prompt of one turn."""
  return [{'role': 'user', 'content': text}]


def _direct(item, config):
  """(table, split, row) of a review as a document, and of a fact as a conversation."""
  row = {k: item[k] for k in ('id', 'source', 'cluster')}
  if item['kind'] == 'review' and not item['split'].startswith('judge'):
    row.update({k: item[k] for k in ('licence', 'label', 'domain', 'cluster_size')})
    yield 'documents', item['split'], {**row, 'text': item['text']}
  elif item['kind'] == 'fact' and len(item['answer']) <= config.answer_characters:
    question = pick(_QUESTIONS[item['task']], 'question', config.seed, item['id'])
    answer = _ANSWERS[item['task']].format(key=item['key'], answer=item['answer'])
    messages = [*user(question.format(item['key'])), {'role': 'assistant', 'content': answer}]
    yield 'conversations', item['split'], {**row, 'messages': messages}


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
