"""What in a document one may not want: labels by word lists and classifiers, and bounds on them.

Labels are kept with the document ({'gambling': .9, …, 'quality': .7}: shares of its text, a probability).
By default web pages and news are judged, and only what is clearly of a kind is dropped. Lists and
classifiers are data: `zhlm/lists` is small and replaceable, the quality model is made by launch.classify.
"""

import functools
import os

from zhlm.clean import linear, lists
from zhlm.errors import InputError

BATCH = 64  # documents scored at once: a classifier's cost is mostly per call


@functools.cache
def _model(path):
  return linear.load(path)


def judged(stream, settings):
  """Yields the (item, broken) of `stream` in order, documents of `settings['presets']` with `labels`.

  settings: dict with the fields of `config.labels`. `broken` becomes ('max_LABEL', share) or
  ('min_quality', probability) for what is beyond the bounds. Raises InputError for lists or a model that
  cannot be read, and for bounds on what is no label.
  """
  presets, bounds = settings['presets'].split(), _bounds(settings)
  if settings['min_quality'] and not settings['quality_model']:
    raise InputError('labels.min_quality needs labels.quality_model: make one with launch.classify')
  held = []
  for pair in stream:
    held.append(pair)
    if len(held) == BATCH:
      yield from _batch(held, presets, bounds, settings)
      held = []
  yield from _batch(held, presets, bounds, settings)


def _folder(settings):
  return os.path.expanduser(settings['lists']) or lists.SHIPPED


def _bounds(settings):
  """{label: bound} of `settings['bounds']`, label=number with spaces between them."""
  bounds = {}
  for pair in settings['bounds'].split():
    label, _, bound = pair.partition('=')
    try:
      bounds[label] = float(bound)
    except ValueError:
      raise InputError(f'labels.bounds: {pair} is not LABEL=NUMBER, such as ad=0.3') from None
  return bounds


def _batch(held, presets, bounds, settings):
  chosen = [
    i
    for i, (item, broken) in enumerate(held)
    if broken is None and item['kind'] == 'document' and item['preset'] in presets
  ]
  texts = [held[i][0]['text'] for i in chosen]
  found = dict(zip(chosen, _labels(texts, bounds, settings), strict=True))
  for i, (item, broken) in enumerate(held):
    if i in found:
      shown = {k: round(share, 3) for k, share in found[i].items() if share >= 0.005 or k == 'quality'}
      item, broken = {**item, 'labels': shown}, _broken(found[i], bounds, settings)
    yield item, broken


def _labels(texts, bounds, settings):
  if not texts:
    return []
  found = [dict(labels) for labels in lists.labels(texts, _folder(settings))]
  unknown = sorted(set(bounds) - set(found[0]))
  if unknown and not settings['lists']:  # a folder of one's own need not have all that the default bounds
    raise InputError(f'labels.bounds: no label {", ".join(unknown)}; the labels are {", ".join(found[0])}')
  if settings['quality_model']:
    for labels, quality in zip(found, linear.scores(texts, _model(settings['quality_model'])), strict=True):
      labels['quality'] = float(quality)
  return found


def _broken(labels, bounds, settings):
  """(rule, value) of the label that is furthest beyond its bound; then that of the quality; or None."""
  quality = labels.get('quality', 1.0)
  over = {
    name: share - bounds.get(name, settings['max_harm'])
    for name, share in labels.items()
    if name != 'quality'
  }
  worst = max(over, key=over.get, default=None)
  if worst is not None and over[worst] > 0:
    return f'max_{worst}', round(labels[worst], 3)
  if quality < settings['min_quality']:
    return 'min_quality', round(quality, 3)
  return None
