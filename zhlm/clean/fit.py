"""Two sides of texts in, a linear model out, with what it is worth on texts it has not seen.

The loss is convex and summed in an order that the texts' hashes give: the same texts, the same model.
"""

import hashlib
from collections import Counter, defaultdict, deque

import numpy as np

from zhlm.clean import linear
from zhlm.errors import InputError


def objective(w, parts, totals, sign, weight, l2):
  """Weighted logistic loss + l2/2 |w|² and its gradient; `w` is the weights, then the bias (not decayed).

  parts: [(text of each n-gram, its place in w)]; for each text its n-grams, ±1, and its share of the loss.
  """
  root, sums, slope = np.sqrt(np.maximum(totals, 1)), np.zeros(len(totals)), l2 * w[:-1]
  for rows, columns in parts:
    sums += np.bincount(rows, w[columns], len(totals))
  z = sign * (sums / root + w[-1])
  loss = _dot(weight, np.logaddexp(0, -z)) + 0.5 * l2 * _dot(w[:-1], w[:-1])
  pull = -weight * sign * linear.sigmoid(-z)
  for rows, columns in parts:
    slope += np.bincount(columns, (pull / root)[rows], len(slope))
  return loss, np.append(slope, pull.sum())


def _parts(texts, settings):
  """(buckets that occur, parts and totals for `objective`, whose places are among those buckets)."""
  parts, totals, place = [], [np.zeros(0)], np.zeros((1 << settings['bits']) + 1, np.int32)
  for buckets, starts, total in linear.batches(texts, settings):
    rows = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(starts, append=buckets.shape[1]))
    inside = buckets < 1 << settings['bits']
    rows = np.broadcast_to(rows, buckets.shape)[inside] + np.int32(sum(map(len, totals)))
    parts.append((rows, buckets[inside].astype(np.int32)))
    totals.append(total)
    place[parts[-1][1]] = 1
  used = np.flatnonzero(place)
  place[used] = np.arange(len(used))
  return used, [(rows, place[buckets]) for rows, buckets in parts], np.concatenate(totals)


def _dot(a, b):
  # Not a @ b: BLAS takes all cores, which costs workers that share them fifty times as much, and it
  # rounds by their number.
  return float((a * b).sum())


def _descend(f, w, steps=100, memory=10, tolerance=1e-5):
  """Where L-BFGS ends (Nocedal and Wright, algorithm 7.4) on a convex `f(w) -> (loss, slope)`."""
  loss, slope = f(w)
  past = deque(maxlen=memory)
  for _ in range(steps):
    if np.abs(slope).max() < tolerance:
      break
    way, pulls = slope.copy(), []
    for s, y, sy in reversed(past):
      pulls.append(_dot(s, way) / sy)
      way -= pulls[-1] * y
    if past:
      way *= past[-1][2] / _dot(past[-1][1], past[-1][1])
    for (s, y, sy), pull in zip(past, reversed(pulls), strict=True):
      way += (pull - _dot(y, way) / sy) * s
    size, fall = 1.0, _dot(slope, way)
    while (found := f(w - size * way))[0] > loss - 1e-4 * size * fall and size > 1e-9:
      size /= 2
    past.append((-size * way, found[1] - slope, -size * _dot(way, found[1] - slope)))
    w, loss, slope = w - size * way, *found
    if past[-1][2] <= 0:  # no curvature left to tell from rounding
      break
  return w


def _draw(texts, characters, most):
  """{digest: beginning} of distinct texts, by digest, until there are `most` characters; streams."""
  kept, size = {}, 0

  def first():
    ends = np.cumsum([0, *(len(kept[digest]) for digest in sorted(kept))])
    return {digest: kept[digest] for digest, end in zip(sorted(kept), ends, strict=False) if end < most}

  for text in texts:
    text = text[:characters].strip()
    digest = hashlib.sha256(text.encode('utf-8', 'surrogatepass')).digest()
    if text and digest not in kept:
      kept[digest] = text
      size += len(text)
    if size > 2 * most:
      kept = first()
      size = sum(map(len, kept.values()))
  return first()


def train(
  positive,
  negative,
  bits=17,
  sizes=(1, 3),
  characters=2000,
  most=5_000_000,
  l2=1e-5,
  prior=0.5,
  held_out=0.1,
  precision=None,
):
  """A model that tells positive texts from negative ones, the same for any order of either.

  Args:
    positive, negative: iterables of texts; repeats count once, what stands on both sides not at all.
    bits, sizes, characters: log2 of the buckets; shortest and longest n-gram; how much of a text is read.
    most: characters to learn from on each side, drawn by hash: 24 bytes of memory each.
    l2: decay of the weights, against a loss that is a mean over texts.
    prior: the share of positives that probabilities assume, whatever the number of texts.
    held_out: the share of texts, by hash, that only the threshold and the report see.
    precision: the threshold is the lowest with this precision there; None takes the best F1.

  Raises InputError when a side is empty.
  """
  sides = [_draw(texts, characters, most) for texts in (positive, negative)]
  drawn = [
    (digest, text, sign)
    for sign, own, other in zip((1, -1), sides, sides[::-1], strict=True)
    for digest, text in own.items()
    if digest not in other
  ]
  learn, check = [], []
  for digest, text, sign in drawn:
    # Not the digest's beginning: by that the texts were drawn.
    (check if int.from_bytes(digest[-4:], 'big') < held_out * 2**32 else learn).append((text, sign))
  sign = np.array([s for _, s in learn])
  for s, name in ((1, 'positive (good)'), (-1, 'negative (bad)')):
    if not (sign == s).any():
      raise InputError(f'no {name} text to learn from: give more texts, and not the same on both sides')
  settings = {'bits': bits, 'sizes': list(sizes), 'characters': characters}
  used, parts, totals = _parts([text for text, _ in learn], settings)
  weight = np.where(sign > 0, prior / (sign > 0).sum(), (1 - prior) / (sign < 0).sum())
  best = _descend(lambda w: objective(w, parts, totals, sign, weight, l2), np.zeros(len(used) + 1))
  weights = np.zeros((1 << bits) + 1)
  weights[used] = best[:-1].astype(np.float16)
  model = linear.Model(weights, float(best[-1]), settings, 0.5, {})
  threshold, report = _held_out(model, check, precision)
  report['learned_from'] = {'positive': int((sign > 0).sum()), 'negative': int((sign < 0).sum())}
  report['telling'] = _telling(model, [text for text, _ in learn])
  return model._replace(threshold=threshold, report=report)


def _held_out(model, check, precision):
  """(threshold, report) of texts that were not learned from; 0.5 when a side is missing there."""
  truth = np.array([s > 0 for _, s in check], bool)
  report = {'held_out': {'positive': int(truth.sum()), 'negative': int((~truth).sum())}}
  if not truth.any() or truth.all():
    return 0.5, report
  score = linear.scores([text for text, _ in check], model)
  threshold = choose(score, truth, precision)
  return threshold, {**report, **measure(score, truth, threshold), 'auc': auc(score, truth)}


def choose(score, truth, precision=None):
  """The threshold of the best F1, or the lowest with at least this precision (if none: the top score)."""
  order = np.argsort(-score, kind='stable')
  hits = np.cumsum(truth[order])
  last = np.append(np.diff(score[order]) != 0, True)  # equal scores fall on one side
  count = np.arange(1, len(score) + 1)
  if precision is None:
    return float(score[order][np.argmax(np.where(last, 2 * hits / (count + truth.sum()), -1))])
  enough = np.flatnonzero(last & (hits / count >= precision))
  return float(score[order][enough[-1] if len(enough) else 0])


def measure(score, truth, threshold):
  """{'precision', 'recall', 'f1'} of calling scores from `threshold` on positive."""
  called = score >= threshold
  hits = float((called & truth).sum())
  return {
    'precision': hits / max(int(called.sum()), 1),
    'recall': hits / max(int(truth.sum()), 1),
    'f1': 2 * hits / max(int(called.sum() + truth.sum()), 1),
  }


def auc(score, truth):
  """The chance that a positive scores above a negative, ties half; by ranks."""
  _, place, count = np.unique(score, return_inverse=True, return_counts=True)
  rank = (np.cumsum(count) - (count - 1) / 2)[place]
  p, n = int(truth.sum()), int((~truth).sum())
  return float((rank[truth].sum() - p * (p + 1) / 2) / (p * n))


def _telling(model, texts, most=30):
  """{'positive': n-grams, 'negative': n-grams}: the commonest n-gram of each of the heaviest buckets."""
  order = np.argsort(model.weights[:-1], kind='stable')
  sides = {'positive': order[::-1][:most], 'negative': order[:most]}
  wanted = np.zeros(len(model.weights), bool)
  wanted[np.concatenate(list(sides.values()))] = True
  found = defaultdict(Counter)
  for text in texts[:20_000]:
    buckets, folded = linear.features([text], model.settings)[0], linear.fold(text, model.settings)
    for size, i in np.argwhere(wanted[buckets]).tolist():
      found[int(buckets[size, i])][folded[i : i + size + model.settings['sizes'][0]]] += 1
  return {
    side: [
      max(found[b].items(), key=lambda item: (item[1], item[0]))[0] for b in map(int, best) if found[b]
    ]
    for side, best in sides.items()
  }


def describe(model):
  """A few lines on what a model is worth and what it looks at."""
  report = model.report
  counts = ' · '.join(
    f'{name} {report[part]["positive"]} + {report[part]["negative"]}'
    for part, name in (('learned_from', '学习 learned from'), ('held_out', '留出 held out'))
  )
  lines = [f'{counts} (好 good + 坏 bad)']
  if 'auc' in report:
    worth = ' '.join(f'{name} {report[name]:.3f}' for name in ('precision', 'recall', 'f1', 'auc'))
    lines.append(f'留出部分 held out: {worth}, 阈值 threshold {model.threshold:.3f}')
  else:
    lines.append('留出部分缺一方，无法评估 a side is missing among the held out: nothing measured')
  for side, name in (('positive', '好 good'), ('negative', '坏 bad')):
    lines.append(f'{name}: {" ".join(map(repr, report["telling"][side]))}')
  return '\n'.join(lines)
