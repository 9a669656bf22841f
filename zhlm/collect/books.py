"""Books as items: .txt and .md by chapters, by paragraphs or whole; .epub by the chapters of its spine.

chapters    from one heading (第一章 …) to the next, and what goes before the first; without two headings:
paragraphs  what lies between empty lines
whole       the file
"""

import itertools
import posixpath
import re
import urllib.parse
import zipfile
import zlib
from xml.etree import ElementTree

from zhlm.collect import files
from zhlm.collect.files import Bad
from zhlm.errors import InputError

SPLITS = ('chapters', 'paragraphs', 'whole')
_NUMBER = '[0-9０-９零〇○一二三四五六七八九十百千两廿卅]{1,9}'
# After 章 回 卷 a title may follow at once; 节 部 篇 集 begin too many words for that (第一节课, 第三部分).
_HEADING = re.compile(
  rf'[#*\s]*(?:正文\s*)?(?:第\s*{_NUMBER}\s*(?:'
  r'[章回卷节節部篇集幕折](?:[\s:：、·][^。；;]{0,40})?|(?:[章卷]|回(?!合))[^\s。，；,;]{1,30})'
  r'|序[章言]?|楔子|引子|前言|尾声|尾聲|后记|後記|跋|附录|附錄|番外[^。，]{0,12})[*\s]*'
)
_LONGEST_HEADING = 60  # characters of a line; longer ones need no look


def read(source):
  """Yields an item with `title` for every part of a book, and a Bad for every part that cannot be read.

  `source.split` is one of SPLITS; '' is 'chapters', of Markdown 'whole'. Raises InputError for a file that
  is cut, damaged or not of its format.
  """
  if source.format == 'epub':
    return _epub(source)
  plain = re.search(r'\.md(\.\w+)?$', source.file) is None
  return _text(source, source.split or ('chapters' if plain else 'whole'))


def is_heading(line):
  """Whether a line is the heading of a chapter."""
  return len(line) <= _LONGEST_HEADING and _HEADING.fullmatch(line.strip()) is not None


def _text(source, split):
  lines = files.lines(source.path, source.charset)
  if split == 'chapters':
    # Twice through the file, so that no book need be in memory as a whole.
    headed = len(list(itertools.islice(filter(is_heading, lines), 2))) == 2
    lines = files.lines(source.path, source.charset)
    split = 'chapters' if headed else 'paragraphs'
  title = re.sub(r'\.(txt|md)(\.\w+)?$', '', source.file.rpartition('/')[2])
  part, start, heading = [], 1, ''
  for number, line in enumerate(lines, 1):
    line = line.rstrip('\r\n')
    headed = split == 'chapters' and is_heading(line)
    if headed or (split == 'paragraphs' and not line.strip()):
      yield from _part(source, part, start, heading, title)
      part, start, heading = [], number, line.strip(' \t\u3000#*') if headed else ''
    part.append(line)
  yield from _part(source, part, start, heading, title)


def _part(source, part, start, heading, title):
  """One item or Bad; nothing for lines without text, or a heading alone (as in a table of contents)."""
  text = '\n'.join(part).strip()
  where = f'{source.path}:{start}'
  if why := files.undecodable(text):
    yield Bad(where, why)
  elif text and not (heading and text.endswith(heading) and '\n' not in text):
    yield {'kind': 'document', 'text': text, 'title': heading or title}


def _epub(source):
  from resiliparse.extract.html2text import extract_plain_text

  not_epub = (zipfile.BadZipFile, zlib.error, ElementTree.ParseError, OSError, RuntimeError)
  try:
    with zipfile.ZipFile(source.path) as book:
      title, names = _spine(book)
      found = []
      for name in names:
        where = f'{source.path}:{name}'
        try:
          html = files.decode(book.read(name), source.charset, where)[0]
        except (InputError, KeyError) as error:
          found.append(Bad(where, str(error).removeprefix(f'{where}: ').strip('"')))
          continue
        text = extract_plain_text(html, preserve_formatting=True, list_bullets=False, alt_texts=False)
        if text.strip():
          found.append({'kind': 'document', 'text': text.strip(), 'title': title})
  except (*not_epub, AttributeError, KeyError) as error:
    raise InputError(f'{source.path}: not an EPUB, damaged or encrypted: {error}') from None
  bad = [part for part in found if isinstance(part, Bad)]
  if source.split == 'whole' and not bad and found:
    text = '\n\n'.join(part['text'] for part in found)
    found = [{'kind': 'document', 'text': text, 'title': title}]
  yield from found


def _spine(book):
  """(title, names of its documents in reading order)."""
  container = ElementTree.fromstring(book.read('META-INF/container.xml'))
  place = container.find('.//{*}rootfile').attrib['full-path']
  package = ElementTree.fromstring(book.read(place))
  hrefs = {item.attrib['id']: item.attrib['href'] for item in package.iterfind('.//{*}manifest/{*}item')}
  refs = [ref.attrib['idref'] for ref in package.iterfind('.//{*}spine/{*}itemref')]
  paths = [posixpath.join(posixpath.dirname(place), urllib.parse.unquote(hrefs[ref])) for ref in refs]
  title = package.findtext('.//{http://purl.org/dc/elements/1.1/}title') or ''
  return title.strip(), [posixpath.normpath(path) for path in paths]
