"""What a long preparation says while it works: a line a step every few seconds, and one at its end."""

import time
from collections import Counter

EVERY = 5.0  # seconds between two lines of one step


def clock(seconds):
  """75 -> '01:15'."""
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes:02}:{seconds:02}' if minutes < 60 else f'{minutes // 60}:{minutes % 60:02}:{seconds:02}'


class Meter:
  """Counts what tasks report: {'in', 'kept', 'bytes_in', 'bytes', 'dropped': {rule: count}}."""

  def __init__(self, say):
    self.say, self.steps = say, {}

  def begin(self, step, tasks, finished):
    """A step of so many tasks begins; the markers of those that need not be done are `finished`."""
    self.step, self.tasks, self.done, self.before = step, tasks, 0, len(finished)
    self.count, self.dropped = Counter(), Counter()
    self.cpu, self.peak = 0.0, 0
    self.fresh = Counter()  # of what is computed now: speed and time to go are of these alone
    self.start = self.said = time.time()
    for marker in finished:
      self._add(marker)

  def _add(self, marker):
    self.done += 1
    self.cpu += marker['seconds']
    self.peak = max(self.peak, marker['peak'])
    result = marker['result']
    self.dropped.update(result['dropped'])
    for name in ('in', 'kept', 'bytes_in', 'bytes'):
      self.count[name] += result.get(name, 0)

  def advance(self, marker):
    """One task was done now."""
    self._add(marker)
    for name in ('in', 'bytes_in'):
      self.fresh[name] += marker['result'].get(name, 0)
    now = time.time()
    if now - self.said >= EVERY and self.done < self.tasks:
      self.said = now
      rest = (now - self.start) / (self.done - self.before) * (self.tasks - self.done)
      self.say(
        f'{self.step} {self.done}/{self.tasks} tasks | {self._text(now - self.start)} | ETA {clock(rest)}'
      )

  def _text(self, seconds):
    count, parts = self.count, []
    if count['bytes_in']:
      parts.append(f'{count["bytes_in"] / 1e6:,.1f} MB')
    if count['in']:
      parts.append(f'{count["in"]:,} in')
      if self.fresh['bytes_in'] and seconds > 0.5:
        parts.append(f'{self.fresh["bytes_in"] / seconds / 1e6:.1f} MB/s')
      if count['kept']:
        parts.append(f'kept {count["kept"]:,} ({count["kept"] / count["in"]:.1%})')
      for rule, number in self.dropped.most_common(1):
        parts.append(f'top drop: {rule} {number / count["in"]:.1%}')
    return ' | '.join(parts)

  def end(self, seconds, fresh):
    """The step is done; `fresh` tasks of it were done now, in `seconds`."""
    megabytes = self.count['bytes_in'] / 1e6
    self.steps[self.step] = {
      'tasks': self.tasks,
      'fresh': fresh,
      'seconds': round(seconds, 1),
      'cpu_seconds': round(self.cpu, 1),
      'megabytes': round(megabytes, 2),
      'megabytes_per_cpu_second': round(megabytes / self.cpu, 2) if self.cpu else None,
      'peak_megabytes': round(self.peak / 1e6),
    }
    text = self._text(seconds) if fresh else 'done before'
    self.say(f'{self.step:<10} {seconds:6.1f} s  {text}'.rstrip())
