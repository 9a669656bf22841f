"""Articles of a MediaWiki dump as items; of wikitext it knows what is no article."""

import re
from urllib.parse import quote
from xml.etree import ElementTree

from zhlm.collect import files, wikitext
from zhlm.errors import InputError

_DISAMBIGUATION = (
  'disambig disambiguation dab hndis geodis schooldis roaddis numberdis 消歧义 消歧義 消歧义页 消歧義頁'
  ' 消歧页 人名消歧义 人名消歧義 地名消歧义 地名消歧義'
)
_DISAMBIGUATION = frozenset(_DISAMBIGUATION.split())
_REDIRECT = re.compile(r'\s*#\s*(?:redirect|重定向)', re.I)


def read(source):
  """Yields the articles of a dump (.xml, also packed): `text`, `title`, `url`, and `date` of the revision.

  Only namespace 0, without redirects, disambiguation pages and pages without prose; of a dump with all
  revisions the newest. Raises InputError with file and line where the XML is broken or cut.
  """
  pages = 0
  for title, date, source_text, base in _pages(source.path):
    pages += 1
    if source_text is None or is_disambiguation(title, source_text):
      continue
    text = wikitext.plain(source_text)
    if text:
      url = base and f'{base}/{quote(title.replace(" ", "_"))}'
      yield {'kind': 'document', 'text': text, 'title': title, 'url': url, 'date': date}
  if not pages:
    raise InputError(f'{source.path}: no pages in it; is it a MediaWiki XML dump (pages-articles)?')


def _pages(path):
  """(title, date, text or None for what is no article, address that titles are added to) of each page."""
  root, base, page = None, '', {}
  for event, element in _events(path):
    name = element.tag.rpartition('}')[2]
    if event == 'start':
      root = element if root is None else root
      if name == 'page':
        page = {}
    elif name == 'base':
      base = (element.text or '').rpartition('/')[0]
    elif name in ('title', 'ns') and name not in page:
      page[name] = element.text or ''
    elif name == 'redirect':
      page['redirect'] = True
    elif name == 'revision':
      fields = {child.tag.rpartition('}')[2]: child.text or '' for child in element}
      if fields.get('timestamp', '') >= page.get('timestamp', ''):
        page |= fields
      element.clear()
    elif name == 'page':
      article = page.get('ns', '0') == '0' and 'redirect' not in page
      article = article and page.get('model', 'wikitext') == 'wikitext'
      text = page.get('text', '')
      if not article or _REDIRECT.match(text):
        text = None
      yield page.get('title', ''), page.get('timestamp', '')[:10], text, base
      root.clear()  # or the whole dump would stay in memory


def _events(path):
  parser, line = ElementTree.XMLPullParser(('start', 'end')), 1
  with files.open_bytes(path) as file:
    try:
      while chunk := file.read(1 << 16):
        parser.feed(chunk)
        yield from parser.read_events()
        line += chunk.count(b'\n')
      parser.close()
      yield from parser.read_events()
    except ElementTree.ParseError as error:
      raise InputError(
        f'{path}:{error.position[0]}: the XML is broken or cut ({error}); fetch the dump again'
      ) from None
    except InputError as error:
      raise InputError(f'{error} (after line {line})') from None


def is_disambiguation(title, text):
  """Whether a page only lists the meanings of its title."""
  if re.search(r'[(（]消歧[义義][)）]\s*\Z', title):
    return True
  names = re.findall(r'\{\{\s*([^{}|\n]{1,40}?)\s*[|}]', text)
  return any(name.lower() in _DISAMBIGUATION for name in names)
