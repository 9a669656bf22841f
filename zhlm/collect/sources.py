"""Which files hold text, and how each is read: a file or a folder, described by a `sources.toml` or not.

[[source]]                    the first that matches a file decides; what none matches is read by its ending
files = 'law/*.jsonl.xz'      a glob below the folder (** for folders in folders)
name = 'law'                  in reports and ids; else the first folder, or the file (pages: the folder)
preset = 'news'               which rules clean its documents: web wiki manual news book …
licence = 'CC0-1.0'           of rows that do not name their own
format = 'jsonl'              where the ending does not tell
charset = 'big5'              where it is none of UTF-8, GB18030 or what a byte-order mark says
kind = 'document'             of its rows: document conversation preference prompt; else by their fields
text = ['body']               fields of which the first that is not null is the text (a list: its lines)
head = ['title', 'author']    fields that go before the text, each on a line of its own
id = 'id'                     field with an id that is unique in its file; else rows are counted
group = 'book'                field whose value keeps rows in one split
query = 'SELECT … FROM …'     of SQLite; else its only table
split = 'chapters'            of books: chapters paragraphs whole
"""

import glob
import os
import tomllib
from typing import NamedTuple

from zhlm.collect import books, files
from zhlm.collect.files import Bad
from zhlm.errors import InputError

# A format: which rules clean it unless a description says others, and the endings that tell it.
FORMATS = {
  'jsonl': ('web', ('.jsonl', '.ndjson')),
  'json': ('web', ('.json',)),
  'csv': ('web', ('.csv',)),
  'tsv': ('web', ('.tsv',)),
  'parquet': ('web', ('.parquet',)),
  'sqlite': ('web', ('.sqlite', '.sqlite3', '.db')),
  'text': ('book', ('.txt', '.md')),
  'epub': ('book', ('.epub',)),
  'html': ('web', ('.html', '.htm')),
  'warc': ('web', ('.warc', '.wet')),
  'wiki': ('wiki', ('.xml',)),
}
_ENDINGS = {ending: name for name, (_, endings) in FORMATS.items() for ending in endings}
_VALID = f'{" ".join(_ENDINGS)} (or these with {" ".join(files.PACKED)})'
PRESETS = ('web', 'wiki', 'manual', 'news', 'book', 'poem', 'chat', 'plain', 'fineweb2')
KINDS = ('document', 'conversation', 'preference', 'prompt')
_ONE_BY_ONE = ('parquet', 'sqlite', 'epub')  # read at any place, so not through a decompressor
_ABOUT = ('readme', 'license', 'licence', 'copying')  # files about a folder, not of it


class Source(NamedTuple):
  """One file and how it is read; plain values only, see above for what they mean."""

  path: str
  name: str
  file: str  # its name in ids: the path below the folder, with /
  format: str
  preset: str
  licence: str = ''
  charset: str = ''  # '' is to be found out
  kind: str = ''
  text: tuple = ()
  head: tuple = ()
  id: str = ''
  group: str = ''
  query: str = ''
  split: str = ''


_CHOICES = {'preset': PRESETS, 'kind': KINDS, 'split': books.SPLITS, 'format': tuple(FORMATS)}
_KEYS = ('files', 'name', *Source._fields[3:])


def find(path, described='', preset=''):
  """The sources of a file or folder, sorted by name; hidden files, READMEs and licences are passed over.

  `described` is a TOML file (see above), else `sources.toml` in the folder if there is one; `preset` goes
  for documents that it does not describe ('': as their format suggests). Raises InputError naming file,
  key and choices.
  """
  if preset and preset not in PRESETS:
    raise InputError(f'preset={preset}: none of {", ".join(PRESETS)}')
  path = os.path.abspath(os.path.expanduser(path))
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  if not os.path.exists(path):
    raise InputError(f'source={path}: there is no such file or folder (and it is not `demo`)')
  beside = os.path.join(path, 'sources.toml')
  described = described or (beside if os.path.isfile(beside) else '')
  tables = _described(described, folder) if described else []
  if path != folder:
    names = [os.path.basename(path)]
  else:
    names = sorted({*_walk(folder), *(name for _, matched in tables for name in matched)})
  found = []
  for name in names:
    table = next((table for table, matched in tables if name in matched), None)
    if table is None and path == folder and not _usual(name):
      continue
    found.append(_source(folder, name, table or {}, described, preset))
  if not found:
    raise InputError(f'{path}: no file here ends in {_VALID}')
  return sorted(found, key=lambda source: (source.name, source.file))


def read(source):
  """Yields the items of a source, and a Bad for each record that cannot be read.

  An item has id, kind, text (of a web page: html), source, licence, preset, and what its record names
  beside: url, title, date, group, messages, …. Its id counts the file's records from 1. Raises InputError
  for a file that cannot be read, holds nothing, or of which all records are bad.
  """
  number, good, first = 0, 0, None
  for number, record in enumerate(_records(source), 1):
    if isinstance(record, Bad):
      first = first or record
      yield record
      continue
    good += 1
    own = record.get('id', f'{number:08}')
    common = {'source': source.name, 'licence': source.licence, 'preset': _preset(source, record['kind'])}
    yield {**common, **record, 'id': f'{source.name}/{source.file}:{own}'}
  if first and not good and source.format != 'html':
    raise InputError(
      f'{source.path}: all {number:,} records are bad; the first: {first.where}: {first.why}'
    )
  if not number and source.format != 'parquet':  # many programs write parts without rows
    raise InputError(f'{source.path}: holds no record')


def _records(source):
  if source.format != 'html':
    if not os.path.getsize(source.path):
      raise InputError(f'{source.path}: the file is empty')
    yield from _reader(source.format)(source)
    return
  try:
    yield from _reader('html')(source)
  except InputError as error:  # one page among many: no reason to stop
    yield Bad(source.path, str(error).removeprefix(f'{source.path}: '))


def _preset(source, kind):
  return source.preset if kind == 'document' else 'chat'


def _reader(name):
  if name in ('text', 'epub'):
    return books.read
  if name == 'warc':
    from zhlm.collect import warc

    return warc.read
  if name == 'wiki':
    from zhlm.collect import wiki

    return wiki.read
  if name == 'html':
    from zhlm.collect import pages

    return pages.read
  from zhlm.collect import tables

  return tables.read


def _walk(folder):
  """Names below a folder, with /, hidden ones left out."""
  for at, folders, names in os.walk(folder):
    folders[:] = [name for name in folders if not name.startswith('.')]
    for name in names:
      if not name.startswith('.'):
        yield os.path.relpath(os.path.join(at, name), folder).replace(os.sep, '/')


def _endings(name):
  """('law', '.jsonl', '.xz') of 'a/law.jsonl.xz'."""
  base = name.rpartition('/')[2]
  packed = next((e for e in files.PACKED if base.lower().endswith(e)), '')
  stem, ending = os.path.splitext(base[: len(base) - len(packed)])
  return stem, ending.lower(), packed


def _usual(name):
  """Whether the name tells what is in the file, and that this is no file about the others."""
  stem, ending, _ = _endings(name)
  return ending in _ENDINGS and not stem.lower().startswith(_ABOUT)


def _source(folder, name, table, described, preset):
  path = os.path.join(folder, name)
  stem, ending, packed = _endings(name)
  if 'format' not in table and ending not in _ENDINGS:
    where = f'{described}: format: {path}' if table else path
    raise InputError(f'{where}: the name must end in one of {_VALID}')
  kind = table['format'] if 'format' in table else _ENDINGS[ending]
  if packed and kind in _ONE_BY_ONE:
    raise InputError(f'{path}: {kind} is not read from a {packed}; decompress it')
  if 'query' in table and kind != 'sqlite':
    raise InputError(f'{described}: query: is for SQLite; {path} is {kind}')
  try:
    path.encode()
  except UnicodeEncodeError:
    raise InputError(f'{path!r}: the name is not UTF-8; rename it, e.g. with convmv') from None
  preset = table.get('preset', preset or FORMATS[kind][0])
  alone = os.path.basename(folder) if kind == 'html' else stem  # pages are many, a file of rows is a source
  common = {'name': name.partition('/')[0] if '/' in name else alone, 'format': kind, 'preset': preset}
  common['head'] = ('title',) if preset == 'poem' else ()
  fields = {k: v for k, v in table.items() if k != 'files'}
  return Source(**{'path': path, 'file': name, **common, **fields})


def _described(path, folder):
  """[(fields, names that its glob matches)] of a TOML file. Raises InputError."""
  try:
    with open(os.path.expanduser(path), 'rb') as file:
      tree = tomllib.load(file)
  except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
    raise InputError(f'{path}: not a TOML file: {error}') from None
  if list(tree) != ['source'] or not isinstance(tree['source'], list):
    raise InputError(
      f'{path}: must hold tables [[source]] and nothing else, not {", ".join(tree) or "nothing"}'
    )
  return [_checked(f'{path}: source {i}', table, folder) for i, table in enumerate(tree['source'], 1)]


def _checked(where, table, folder):
  for key, value in table.items():
    if key not in _KEYS:
      raise InputError(f'{where}: {key}: no such key; the keys are {", ".join(_KEYS)}')
    if key in ('text', 'head'):
      value = [value] if isinstance(value, str) else value
      if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise InputError(f'{where}: {key}: must be the name of a field or a list of names')
      table[key] = tuple(value)
    elif not isinstance(value, str):
      raise InputError(f'{where}: {key}: must be a text, not {value!r}')
    elif key in _CHOICES and value not in _CHOICES[key]:
      raise InputError(f'{where}: {key}: {value!r} is none of {", ".join(_CHOICES[key])}')
    elif key == 'charset':
      try:
        files.known(value)
      except InputError as error:
        raise InputError(f'{where}: {error}') from None
  if 'files' not in table:
    raise InputError(f'{where}: files: is missing: a glob below {folder}')
  found = glob.glob(table['files'], root_dir=folder, recursive=True)
  matched = {n.replace(os.sep, '/') for n in found if os.path.isfile(os.path.join(folder, n))}
  if not matched:
    raise InputError(f'{where}: files: {table["files"]!r} matches no file below {folder}')
  return table, matched
