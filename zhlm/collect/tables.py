"""Rows of tables as items: with a text field a document, without one what `conversations` makes of it.

How rows lie in a file is for `rows` to know. A document's title is a field beside its text; the source's
`head` names fields that go before the text as well (of a poem, if nothing else is said, the title).
"""

from zhlm.collect import rows
from zhlm.collect.files import Bad
from zhlm.errors import InputError

# The text of a document: of these fields the first that holds one, unless the source names its own.
TEXT = ('text', 'content', 'body', 'paragraphs', 'para', 'pairs', 'article', 'raw_content', 'contents')
# With one of these a row is no document, though it have a text: that is the same conversation flattened.
_DIALOGUE = {'messages', 'conversations', 'conversation', 'instruction', 'chosen', 'completions'}
_KEPT = ('url', 'title', 'date', 'source', 'licence')  # and the other spelling, `license`


def read(source):
  """Yields an item or a Bad for every row; `id`, `source`, `licence` only where the row has them.

  `source` is a `sources.Source`. Raises InputError for a file that is cut, damaged or not of its format.
  """
  seen = set()
  for where, row, why in rows.read(source):
    item = None
    if not why:
      try:
        item = parse(row, source, where)
      except (InputError, RecursionError) as error:
        why = str(error).removeprefix(f'{where}: ')
    if item and source.id:
      if item['id'] in seen:
        item, why = None, f'{source.id}: {item["id"]!r} is the id of an earlier row'
      else:
        seen.add(item['id'])
    yield item or Bad(where, why)


def parse(row, source, where):
  """One row as an item. Raises InputError naming `where` and the field."""
  if not isinstance(row, dict):
    raise InputError(f'{where}: a {type(row).__name__} and not an object with fields')
  kept = {name: str(row[name]) for name in _KEPT if _plain(row, name)}
  if 'licence' not in kept and _plain(row, 'license'):
    kept['licence'] = str(row['license'])
  for ours, name in (('id', source.id), ('group', source.group)):
    if name and not _plain(row, name):
      raise InputError(f'{where}: {name}: must hold a text or a number')
    if name:
      kept[ours] = str(row[name])
  names = [name for name in source.text or TEXT if name in row]
  by_fields = not source.kind and names and not _DIALOGUE & row.keys()
  if source.text or source.kind == 'document' or by_fields:
    return {'kind': 'document', 'text': _text(row, names, source, where), **kept}
  from zhlm.collect import conversations

  item = {**conversations.parse(row, where), **kept}
  if source.kind not in ('', item['kind']):
    raise InputError(f'{where}: a {item["kind"]}, not the {source.kind} that its source is said to hold')
  return item


def _plain(row, name):
  """Whether the field is there and holds one value that is not empty."""
  return name in row and row[name] not in (None, '') and not isinstance(row[name], (list, dict, bytes))


def _text(row, names, source, where):
  """The first field that is not null, with the source's `head` fields on lines before it."""
  if not names:
    raise InputError(f'{where}: has the fields {", ".join(row)}; none is {", ".join(source.text or TEXT)}')
  name = next((n for n in names if row[n] is not None), None)
  if name is None:
    raise InputError(f'{where}: {", ".join(names)}: must be a text or a list of texts, not null')
  text = '\n'.join(_flat(row[name], f'{where}: {name}'))
  if not text.strip():
    raise InputError(f'{where}: {name}: is empty')
  head = [str(row[n]) for n in source.head if _plain(row, n)]
  first = text.partition('\n')[0].strip('#* ')
  return '\n'.join([h for h in head if h != first] + [text])


def _flat(value, where):
  if isinstance(value, str):
    return [value]
  if isinstance(value, list):
    return [text for part in value for text in _flat(part, where)]
  raise InputError(f'{where}: must be a text or a list of texts, not {type(value).__name__}')
