"""What in a document one may not want: labels by word lists and classifiers, and two bounds on them.

Labels are kept with the document ({'gambling': .9, …, 'quality': .7}: shares of its text, a probability).
By default only web pages are judged, and only the clearly harmful are dropped. Lists and classifiers are
data: `zhlm/lists` is small and replaceable, the quality model is made by launch.classify.
"""

import functools

from zhlm.clean import linear, lists
from zhlm.errors import InputError

BATCH = 64  # documents scored at once: a classifier's cost is mostly per call


@functools.cache
def _model(path):
  return linear.load(path)


def judged(stream, settings):
  """Yields the (item, broken) of `stream` in order, documents of `settings['presets']` with `labels`.

  settings: dict with the fields of `config.labels`. `broken` becomes ('max_harm', 'label share') or
  ('min_quality', probability) for what is beyond the bounds. Raises InputError for lists or a model that
  cannot be read.
  """
  presets = settings['presets'].split()
  if settings['min_quality'] and not settings['quality_model']:
    raise InputError('labels.min_quality needs labels.quality_model: make one with launch.classify')
  held = []
  for pair in stream:
    held.append(pair)
    if len(held) == BATCH:
      yield from _batch(held, presets, settings)
      held = []
  yield from _batch(held, presets, settings)


def _batch(held, presets, settings):
  chosen = [
    i
    for i, (item, broken) in enumerate(held)
    if broken is None and item['kind'] == 'document' and item['preset'] in presets
  ]
  texts = [held[i][0]['text'] for i in chosen]
  found = dict(zip(chosen, _labels(texts, settings), strict=True))
  for i, (item, broken) in enumerate(held):
    if i in found:
      item = {
        **item,
        'labels': {name: round(share, 3) for name, share in found[i].items() if share >= 0.005},
      }
      broken = _broken(found[i], settings)
    yield item, broken


def _labels(texts, settings):
  if not texts:
    return []
  folder = settings['lists'] or lists.SHIPPED
  found = [dict(labels) for labels in lists.labels(texts, folder)]
  if settings['quality_model']:
    for labels, quality in zip(found, linear.scores(texts, _model(settings['quality_model'])), strict=True):
      labels['quality'] = float(quality)
  return found


def _broken(labels, settings):
  quality = labels.get('quality', 1.0)
  worst = max((name for name in labels if name != 'quality'), key=labels.get, default=None)
  if worst is not None and labels[worst] > settings['max_harm']:
    return 'max_harm', f'{worst} {labels[worst]:.2f}'
  if quality < settings['min_quality']:
    return 'min_quality', round(quality, 3)
  return None
