"""Reviews people labelled: instructions to write one, pairs to rank, and a share for the judge.

The instruction is neutral (写一条提到“早餐”的酒店评价。), the pair a good review over a bad one;
both mention the word and are of like length, so that only what they say tells them apart. A word
belongs to one split, a review (its cluster) to one split or to the judge.
"""

import re
from collections import Counter, defaultdict

from zhlm.data.draw import fraction, split_of

_WITH = (
  '写一条提到“{word}”的{domain}{sort}。',
  '请写一条{domain}{sort}，要提到“{word}”。',
  '帮我写一条{domain}{sort}，说说“{word}”。',
  '给{domain}写一条{sort}，里面提到“{word}”。',
)
_WITHOUT = ('写一条{domain}{sort}。', '请写一条{domain}{sort}。', '帮我写一条{domain}{sort}。')
_SORT = {1: '好评', 0: '差评', None: '评价'}
_REUSE = 4  # pairs that one review may be part of


def cut(text, most, least):
  """Whole sentences from the beginning, at most `most` characters; '' if that leaves below `least`.

  A first sentence that is too long ends at its last comma or space that fits.
  """
  text = ' '.join(text.split())
  out = ''
  for sentence in re.findall('[^。！？!?；;…~～]*[。！？!?；;…~～]*', text):
    if len(out) + len(sentence) > most:
      break
    out += sentence
  if not out.strip():
    head = re.match(f'(.{{{least - 1},{most - 2}}})[，,、 ]', text)
    out = f'{head[1]}。' if head else ''
  out = out.strip()
  return out if len(out) >= least else ''


def keywords(items, config):
  """{(domain, word)} that enough good and bad reviews mention, about as often each."""
  counts = {0: Counter(), 1: Counter()}
  totals = Counter((item['domain'], item['label']) for item in items)
  for item in items:
    counts[item['label']].update((item['domain'], w) for w in set(item['words']) if w in item['short'])
  out = set()
  for pair, good in counts[1].items():
    bad = counts[0][pair]
    if min(good, bad) >= config.keyword_reviews and pair[1] != pair[0]:
      ratio = good / totals[pair[0], 1] / (bad / totals[pair[0], 0])
      if 1 / config.keyword_ratio <= ratio <= config.keyword_ratio:
        out.add(pair)
  return out


def rows(items, config, notes):
  """(table, split, row) of conversations, preferences, prompts and the judge's texts."""
  items = [{**item, 'short': _cut(item, config)} for item in items]
  notes['reviews: no sentence of fitting length'] = sum(not item['short'] for item in items)
  items = [item for item in items if item['short']]
  items, notes['reviews: held out, but said in training too'] = decontaminate(items)
  for item in items:
    if item['split'].startswith('judge'):
      row = {'id': f'judge/{item["id"]}', 'source': 'judge', 'cluster': item['cluster']}
      row |= {'text': item['short'], 'label': item['label'], 'domain': item['domain']}
      yield 'judge', item['split'].removeprefix('judge-'), row
  items = [item for item in items if not item['split'].startswith('judge')]
  pairs = keywords(items, config)
  notes['reviews: keywords'] = len(pairs)
  groups = defaultdict(lambda: {0: [], 1: []})  # (split, domain, word) → reviews by label
  for item in items:
    for word in sorted(set(item['words'])):
      pair = (item['domain'], word)
      if pair in pairs and word in item['short'] and _word_split(word, config) == item['split']:
        groups[item['split'], *pair][item['label']].append(item)
  yield from _conversations(items, groups, config)
  yield from _preferences(groups, config)
  for domain, word in sorted(pairs):
    for i, phrase in enumerate(_WITH):
      text = phrase.format(word=word, domain=domain, sort=_SORT[None])
      row = {'id': f'prompt/{domain}/{word}/{i}', 'source': f'review/{domain}', 'cluster': word}
      row |= {'prompt': _user(text), 'keyword': word, 'domain': domain}
      yield 'prompts', _word_split(word, config), row


def decontaminate(items):
  """(items, count of dropped ones): no held-out text may stand inside a training review.

  Near-duplicates are gone by now; this finds a short review that is one sentence of a longer one.
  """
  splits = defaultdict(list)
  for item in items:
    splits[item['split']].append(' '.join(item['text'].split()))
  text = {split: '\n'.join(texts) for split, texts in splits.items()}
  against = {
    'test': ('train', 'judge-train'),
    'validation': ('train', 'judge-train'),
    'judge-train': ('train',),
    'judge-test': ('train', 'judge-train'),
  }
  kept = [
    item
    for item in items
    if not any(
      item['short'].rstrip('。') in text.get(other, '') for other in against.get(item['split'], ())
    )
  ]
  return kept, len(items) - len(kept)


def _cut(item, config):
  return cut(item['text'], config.review_characters, config.review_min_characters)


def _word_split(word, config):
  test, validation = config.keyword_test_share, config.keyword_validation_share
  return split_of(f'word/{word}', config.seed, test, validation)


def _user(text):
  return [{'role': 'user', 'content': text}]


def _phrase(choices, config, key, **words):
  return choices[int(fraction('phrase', config.seed, key) * len(choices))].format(**words)


def _conversations(items, groups, config):
  """Each review answers an instruction with a keyword, if it has one, and one without.

  Half of each are neutral (评价): as many good as bad for every word, the others say 好评 or 差评.
  """
  chosen = {}
  for item in items:
    words = [key for key in _keys_of(item, groups)]
    if words:
      chosen[item['id']] = words[int(fraction('word', config.seed, item['id']) * len(words))]
  members = defaultdict(lambda: {0: [], 1: []})
  for item in items:
    members[chosen.get(item['id'])][item['label']].append(item)
    members[item['split'], item['domain'], None][item['label']].append(item)
  members.pop(None, None)
  for (split, domain, word), by_label in members.items():
    neutral = min(map(len, by_label.values())) * 2 // 3
    for label, reviews in by_label.items():
      order = sorted(reviews, key=lambda i: fraction('neutral', config.seed, word, i['id']))
      for place, item in enumerate(order):
        sort = _SORT[None if place < neutral else label]
        key = f'{item["id"]}/{word or ""}'
        phrases = _WITH if word else _WITHOUT
        text = _phrase(phrases, config, key, word=word, domain=domain, sort=sort)
        row = {'id': f'chat/{key}', 'source': f'review/{domain}', 'cluster': item['cluster']}
        answer = {'role': 'assistant', 'content': item['short']}
        row |= {'messages': [*_user(text), answer], 'label': label, 'keyword': word}
        yield 'conversations', split, row


def _keys_of(item, groups):
  for word in sorted(set(item['words'])):
    key = (item['split'], item['domain'], word)
    if key in groups and word in item['short']:
      yield key


def _preferences(groups, config):
  """Pairs of a good over a bad review of like length, no review in more than a few of them."""
  found = defaultdict(list)
  for key, by_label in groups.items():
    for good in by_label[1]:
      length = len(good['short'])
      near = [bad for bad in by_label[0] if abs(len(bad['short']) - length) <= 2 + length // 5]
      near.sort(key=lambda bad: fraction('pair', config.seed, key, good['id'], bad['id']))
      for bad in near[:_REUSE]:
        order = fraction('keep', config.seed, key, good['id'], bad['id'])
        found[key[0]].append((order, key, good, bad))
  for split, pairs in found.items():
    used, kept = Counter(), 0
    for _, (_, domain, word), good, bad in sorted(pairs, key=lambda pair: pair[0]):
      if kept == config.review_preferences:
        break
      if max(used[good['id']], used[bad['id']]) >= _REUSE:
        continue
      used.update([good['id'], bad['id']])
      kept += 1
      place = f'{domain}/{word}/{good["id"]}/{bad["id"]}'
      text = _phrase(_WITH, config, place, word=word, domain=domain, sort=_SORT[None])
      row = {'id': f'preference/{place}', 'source': f'review/{domain}', 'cluster': good['cluster']}
      row |= {'prompt': _user(text), 'completions': [good['short'], bad['short']], 'ranks': [1, 2]}
      yield 'preferences', split, {**row, 'keyword': word}
