"""Texts that were left out: how many by source and rule, and some of each to look at."""

import heapq
from collections import Counter, defaultdict

from zhlm.data.draw import fraction

SAMPLES = 50  # rejected texts kept a rule
SHOWN = 200  # characters of each


class Rejected:
  """Counts by source and rule, and of each rule the samples with the smallest draw: no order matters."""

  def __init__(self):
    self.dropped, self.heaps = defaultdict(Counter), defaultdict(list)

  def add(self, item, rule, value):
    """One text that `rule` dropped, and the value that broke it."""
    self.dropped[item['source']][rule] += 1
    place = fraction('sample', item['id'])
    heap = self.heaps[rule]
    if len(heap) >= SAMPLES and place >= -heap[0][0]:
      return
    text = (item['text'] if 'text' in item else item['html'])[:SHOWN]
    row = {'rule': rule, 'value': value, 'id': item['id'], 'source': item['source'], 'text': text}
    if 'url' in item:
      row['url'] = item['url']
    (heapq.heappush if len(heap) < SAMPLES else heapq.heapreplace)(heap, (-place, item['id'], row))

  def rows(self):
    """The samples, rule by rule."""
    return [row for rule in sorted(self.heaps) for _, _, row in sorted(self.heaps[rule], reverse=True)]

  def counts(self):
    """{source: {rule: count}}."""
    return {source: dict(rules) for source, rules in self.dropped.items()}
