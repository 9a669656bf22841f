"""Curves as SVG text that takes its colours from the page, so one drawing serves light and dark.

It knows series of numbers, not what they mean. The same numbers give the same bytes.
"""

import math
from html import escape

WIDTH, HEIGHT = 320, 168
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 22  # margins
POINTS = 160  # most points of a line: more than pixels can show


def ticks(low, high, wanted=4):
  """Round numbers (1, 2 or 5 times a power of ten) inside [low, high], about `wanted` of them."""
  size = (high - low) / wanted
  power = 10 ** math.floor(math.log10(size))
  step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / size)))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [i * step for i in range(first, last + 1)]


def short(x):
  """An axis label: 1500 -> 1.5k, 0.00030000001 -> 3e-04."""
  for size, letter in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if abs(x) >= size:
      return f'{x / size:.3g}{letter}'
  return f'{x:.0e}' if 0 < abs(x) < 1e-3 else f'{x:.4g}'


def bucket(points):
  """Means of neighbouring points, at most POINTS of them."""
  size = max(-(-len(points) // POINTS), 1)
  groups = [points[i : i + size] for i in range(0, len(points), size)]
  return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def smooth(points):
  """Each point's y as the mean of its neighbourhood, a tenth of the line wide."""
  reach = len(points) // 20
  out = []
  for i, (x, _) in enumerate(points):
    r = min(reach, i, len(points) - 1 - i)  # shrinks at both ends, where a lopsided mean would lie
    near = points[i - r : i + r + 1]
    out.append((x, sum(y for _, y in near) / len(near)))
  return out


def limits(values):
  """Lowest and highest with a little air, also where all are the same."""
  low, high = min(values), max(values)
  air = (high - low) * 0.04 or abs(high) * 0.1 or 1
  return low - air, high + air


def line(points, place, kind):
  """One path, or one dot where there is one point."""
  if len(points) == 1:
    x, y = place(*points[0])
    return f'<circle class="{kind} dot" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'
  path = 'L'.join('{:.1f} {:.1f}'.format(*place(x, y)) for x, y in points)
  return f'<path class="{kind}" d="M{path}"/>'


def chart(label, train, validation):
  """SVG of two series of (step, value); one may be empty. `label` is read aloud."""
  drawn = bucket(train), bucket(validation)
  everything = drawn[0] + drawn[1]
  x0, x1 = min(x for x, _ in everything), max(x for x, _ in everything)
  if x0 == x1:
    x0, x1 = x0 - 1, x1 + 1
  y0, y1 = limits([y for _, y in everything])

  def place(x, y):
    return (
      LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
      HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
    )

  parts = []
  for y in ticks(y0, y1):
    at = place(x0, y)[1]
    parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{short(y)}</text>')
  for x in ticks(x0, x1):
    at = place(x, y0)[0]
    anchor = 'end' if at > WIDTH - 24 else 'middle'
    parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{short(x)}</text>')
  if len(drawn[0]) > 40:
    parts += [line(drawn[0], place, 'train faint'), line(smooth(drawn[0]), place, 'train')]
  elif drawn[0]:
    parts.append(line(drawn[0], place, 'train'))
  if drawn[1]:
    dots = drawn[1] if 1 < len(drawn[1]) <= 30 else []
    parts += [line(part, place, 'valid') for part in (drawn[1], *([dot] for dot in dots))]
  return (
    f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
  )
