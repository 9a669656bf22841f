"""The parts of a report's page: bilingual text, numbers, tables of any nested dict, one HTML file.

It knows how to show things, not what they mean. What comes from outside passes `text`; the page
asks the network for nothing.
"""

import html
import math
import re

from zhlm.report.style import CHINESE, CSS


def text(x):
  """Any value as text that HTML cannot mistake for markup."""
  return html.escape(str(x))


def both(zh, en, block=False):
  """Chinese, then English: beside it, or as a line beneath (`block`)."""
  kind = 'en line' if block else 'en'
  return f'{text(zh)} <span class="{kind}" lang="en">{text(en)}</span>'


def name(key):
  """A field's name: Chinese and the field where we know it, else the field."""
  last = str(key).split('/')[-1]
  return both(CHINESE[last], key) if last in CHINESE else text(key)


def is_number(x):
  """is a number"""
  return isinstance(x, (int, float)) and not isinstance(x, bool)


def number(x):
  """1234567 -> 1,234,567; 0.123456 -> 0.1235; True, None and text as a reader would say them."""
  if isinstance(x, float) and math.isfinite(x):
    if abs(x) >= 1000:
      return f'{x:,.0f}'
    return f'{x:.4g}'
  if is_number(x):
    return f'{x:,}'
  if isinstance(x, (list, tuple)):
    return text('　'.join(map(str, x)))
  if isinstance(x, str) and re.fullmatch('[0-9a-f]{40,}', x):
    return f'{x[:12]}…'  # a digest: enough to compare by eye
  return text({True: '是 yes', False: '否 no', None: '—'}[x] if x is None or x in (True, False) else x)


def duration(seconds):
  """(Chinese, English) of a time span in seconds."""
  minutes, s = divmod(round(seconds), 60)
  hours, m = divmod(minutes, 60)
  if hours:
    return f'{hours} 小时 {m} 分', f'{hours} h {m} min'
  return (f'{m} 分 {s} 秒', f'{m} min {s} s') if m else (f'{s} 秒', f'{s} s')


def facts(pairs):
  """A row of (label HTML, value HTML)."""
  items = ''.join(f'<div><dt>{label}</dt><dd>{value}</dd></div>' for label, value in pairs)
  return f'<dl class="facts">{items}</dl>' if items else ''


def table(head, rows, kind='', labels=()):
  """Rows of cells (HTML, is a number?); the first cell of a row is its heading.

  `kind` is a CSS class; "stack" puts cells under each other on a phone, each under its label.
  """
  labels = [f' data-name="{text(label)}"' for label in labels] or [''] * 99
  top = ''.join(f'<th{" class=n" if right else ""}>{cell}</th>' for cell, right in head)
  body = ''.join(
    '<tr>'
    + f'<th>{row[0][0]}</th>'
    + ''.join(
      f'<td{label}{" class=n" if right else ""}>{cell}</td>'
      for label, (cell, right) in zip(labels, row[1:], strict=False)
    )
    + '</tr>'
    for row in rows
  )
  top = f'<thead><tr>{top}</tr></thead>' if top else ''
  return f'<div class="scroll"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def is_plain(x):
  """True of a value that fits a cell: no dict, no list of dicts."""
  return not isinstance(x, dict) and not (
    isinstance(x, list) and any(isinstance(y, (dict, list)) for y in x)
  )


def tree(value, title=''):
  """Any nest of dicts, lists and scalars as tables: a dict of dicts becomes rows and columns."""
  if is_plain(value):
    return f'<p>{number(value)}</p>'
  if isinstance(value, list):
    value = {i: x for i, x in enumerate(value, start=1)}
  plain = {k: v for k, v in value.items() if is_plain(v)}
  deep = {k: dict(enumerate(v, 1)) if isinstance(v, list) else v for k, v in value.items()}
  deep = {k: v for k, v in deep.items() if k not in plain}
  heading = f'<h3>{title}</h3>' if title else ''
  out = ''
  if plain:
    out += heading + pairs_table(plain)
  below = [x for row in deep.values() for x in row.values()]
  if below and not any(map(is_plain, below)):
    # Two levels of names before the numbers: "source · rule" names a row.
    return out + tree({f'{a} · {b}': x for a, row in deep.items() for b, x in row.items()}, title)
  if deep:
    out += heading * (not plain) + rows_table(deep)
    for column in dict.fromkeys(k for row in deep.values() for k, x in row.items()):
      part = {k: row[column] for k, row in deep.items() if not is_plain(row.get(column))}
      if part:
        out += tree(part, f'{title} · {name(column)}' if title else name(column))
  return out


def pairs_table(plain):
  """Name and value; numbers get a bar, as parts of their largest, where there are three or more."""
  numeric = [v for v in plain.values() if is_number(v)]
  most = max(numeric, default=0)
  bars = len(numeric) == len(plain) >= 3 and min(numeric) >= 0 and most > 0
  rows = []
  for key, value in plain.items():
    cells = [(name(key), False), (number(value), is_number(value))]
    if bars:
      width = f'<div class="bar"><i style="width:{100 * value / most:.2f}%"></i></div>'
      cells.append((width, False))
    rows.append(cells)
  return table([], rows)


def rows_table(deep):
  """One row a key, one column a name that holds something plain in any row."""
  columns = dict.fromkeys(k for row in deep.values() for k, x in row.items() if is_plain(x))
  numeric = {c: all(is_number(r.get(c, 0)) for r in deep.values()) for c in columns}
  head = [('', False), *((name(c), numeric[c]) for c in columns)]
  rows = [
    [(name(key), False), *((number(row.get(c)), numeric[c]) for c in columns)] for key, row in deep.items()
  ]
  return table(head, rows)


def section(anchor, zh, en, body):
  """A part of the page; without a body it says so."""
  missing = both('还没有这些数据。', 'Not there yet.')
  body = body or f'<div class="card off">{missing}</div>'
  return f'<section id="{anchor}"><header><h2>{both(zh, en)}</h2></header>{body}</section>'


def page(title, body):
  """A whole HTML document; it asks the network for nothing."""
  return (
    '<!doctype html><html lang="zh-Hans"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:\">"
    f'<link rel="icon" href="data:,"><title>{text(title)}</title><style>{CSS}</style></head>'
    f'<body><main>{body}</main></body></html>\n'
  )
