"""One item cleaned: written plainly, private data masked, script named and converted, held against rules.

What makes an item the one it is (its id, source, address …) is left as it came. Order matters: masks and
rules see normal text, and the rules see what would be kept.
"""

from zhlm.clean import private, rules, script
from zhlm.clean.normalise import each, normalise

_AS_IT_CAME = frozenset(['id', 'kind', 'source', 'licence', 'preset', 'group', 'url', 'html'])


def clean(item, preset):
  """(item, None) when it may stay, else (item, (rule, value)) with the rule that it breaks.

  Args:
    item: dict with `text`; every string in it is cleaned, that in lists and dicts too.
    preset: dict of `configs/rules.py`: bounds, `off`, `convert`, `private`.

  The new item also holds `script` (of the text as it came), `stats` {characters, han_share} and, when
  something was masked in the text, `private` {kind: count}. Raises InputError for a preset's mistakes.
  """
  new = _each(normalise, item)
  new['script'] = script.script(new['text'])
  if preset['private']:
    text, counts = private.mask(new['text'])  # once, for it is the longest
    rest = {k: v for k, v in new.items() if k != 'text'}
    new = {**_each(lambda value: private.mask(value)[0], rest), 'text': text}
    if counts:
      new['private'] = counts
  if preset['convert']:
    new = _each(lambda text: script.convert(text, preset['convert']), new)
  new['stats'] = {'characters': len(new['text']), 'han_share': rules.han_share(new['text'])}
  return new, rules.broken(new['text'], preset)


def _each(function, item):
  """`function` on every string that the item's maker did not mean as a name."""
  return {k: v if k in _AS_IT_CAME else each(function, v) for k, v in item.items()}
