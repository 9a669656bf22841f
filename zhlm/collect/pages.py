"""Web pages: their bytes as text, and of that text the part that was written to be read.

Two extractors vote. trafilatura, asked for precision, leaves almost no noise but loses whole bodies on
pages of tables, line breaks or bare divs; resiliparse loses nothing and keeps the menus, which the rules
for lines below take out. So: the precise text where it is not much shorter than the other, else the other.
"""

import itertools
import logging
import re
from html import unescape
from urllib.parse import urlsplit

from zhlm.collect import files, noise
from zhlm.errors import InputError

MIN_HAN = 20  # Chinese characters; a page with fewer has no main text
ENOUGH_HAN = 100  # Chinese characters from which on the precise extractor may be believed …
ENOUGH_SHARE = 0.6  # … if it also found this share of what the generous one found
MAX_BROKEN = 0.001  # share of bytes replaced: a cut last character, not a wrong charset
MAX_DEPTH = 1_000  # elements in elements; real pages have fewer than 100
MAX_LINKS = 500  # link texts kept, the shortest: a menu has no more

_HAN = re.compile('[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]')
_META = re.compile(rb'<(?:meta|\?xml)\b[^<>]{0,400}?(?:charset|encoding)\s*=\s*["\']?\s*([\w.:-]+)', re.I)
_HEAD = 100_000  # searched for charset and date; the standard's 1,024 bytes are not enough for real pages
# Single-byte charsets take any bytes at all, and servers name them by default: they say nothing.
_NAMED = re.compile('gb|big5|utf|euc|shift|hz|iso2022|cp9|johab')
_SEVEN_BIT = ('hz', 'iso2022_jp', 'iso2022_kr')  # pure ASCII to the eye, so UTF-8 must not come first

_IN_ADDRESS = re.compile(r'/((?:19|20)\d\d[-/_]?[01]\d[-/_]?[0-3]\d)(?!\d)')
# Without re.I, and apart: so each is found by its first letters, ten times faster.
_PUBLISHED = [
  re.compile(pattern + '(' + noise.DATE + ')')
  for pattern in (
    r'<meta\b[^<>]*?(?i:publish|pubdate|og:release|dc\.date|"date")[^<>]*?content\s*=\s*["\']?\s*',
    r'<time\b[^<>]*?datetime\s*=\s*["\']?',
    r'(?:发布|发表|更新|时间|時間|日期)(?<!注册时间)[^<>\d]{0,6}(?:<[^<>]*>\s*){0,4}',
    r'(?=[12]\d{3}\s?[-/.年][\d\s/.月日-]{4,9}\d:\d\d)',
  )
]
_ANCHOR = re.compile(r'<a\b[^<>]*>(?:\s*<[^<>/][^<>]*>)*([^<]{1,200})', re.I)
_NEST = re.compile(r'<(/?)(?:div|span|font|center|section|table|ul|ol|dl|blockquote|[abiu])\b', re.I)
_LINK = re.compile(r'<link\b[^<>]*rel\s*=\s*["\']?canonical[^<>]*>', re.I)
_HREF = re.compile(r'href\s*=\s*["\']?([^"\'\s>]+)', re.I)

_SITE = re.compile(r'\s*(?:[_|｜–—]|\s-\s|-(?=[^-]*$)).*$')


def read(source):
  """Yields the page of an .html file: an item with `html`; `url` and `group` where the page names itself.

  Raises InputError for an empty file, and for bytes in no known charset.
  """
  with files.open_bytes(source.path) as file:
    data = file.read()
  if not data.strip():
    raise InputError(f'{source.path}: the file is empty')
  try:
    html = decode(data, charset=getattr(source, 'charset', '') or '')
  except ValueError as error:
    raise InputError(f'{source.path}: {error}') from None
  link = _LINK.search(html, 0, _HEAD)
  link = link and _HREF.search(link[0])
  address = {'url': link[1], 'group': host(link[1])} if link else {}
  yield {'kind': 'document', 'html': html, **{k: v for k, v in address.items() if v}}


def host(url):
  """The host of an address, '' when it has none."""
  try:
    return urlsplit(url).hostname or ''
  except ValueError:
    return ''


def decode(data, header='', charset='', meta=True):
  """The text of a page's bytes. Raises InputError when no charset fits.

  The order: 1. the `charset` asked for; 2. a byte order mark, and UTF-8, which other charsets hardly ever
  look like; 3. what the HTTP `header` says; 4. what the page's <meta> says; 5. GB18030, all strict; 6. the
  first of 3 to 5 with U+FFFD for a few broken bytes: crawlers cut long pages inside a character.
  """
  if charset:
    return files.decode(data, charset)[0]
  found = _META.search(data, 0, _HEAD) if meta else None
  declared = [c for c in (_codec(header), _codec(found[1].decode() if found else '')) if c]
  guessed = files.guess(data)
  if guessed != 'gb18030' and not set(declared) & set(_SEVEN_BIT):
    return data.decode(guessed, 'replace')
  for name in (*declared, guessed):
    try:
      return data.decode(name)
    except UnicodeDecodeError:
      continue
  for name in (*declared, guessed):
    text = data.decode(name, 'replace')
    if text.count('\ufffd') <= max(1, MAX_BROKEN * len(data)):
      return text
  declared = ' '.join(declared) or 'nothing'
  raise InputError(f'the bytes are neither UTF-8 nor GB18030, nor what the page declares: {declared}')


def _codec(name):
  """The Python codec meant by a declared name; '' for none, unknown and single-byte ones."""
  try:
    name = files.known(name.removeprefix('x-').replace('hz-gb-2312', 'hz'))
  except InputError:
    return ''
  return name if _NAMED.match(name) else ''


def extract(html, url='', thorough=True):
  """{'text', 'title', 'date'} of a page, or None when it has no main text.

  `text` has a paragraph a line; `date` is YYYY-MM-DD or ''. With thorough=False trafilatura is not asked:
  many times faster, with a little more noise.
  """
  if html.isascii() or next(itertools.islice(_HAN.finditer(html), MIN_HAN - 1, None), None) is None:
    return None
  from resiliparse.extract.html2text import extract_plain_text
  from resiliparse.parse.html import HTMLTree

  html = html.encode('utf-8', 'replace').decode()  # half surrogate pairs, from JSON
  tree = HTMLTree.parse(html)
  if tree.body is None:
    return None
  links = _links(html)
  deep = _is_deep(html)
  text = extract_plain_text(
    tree, main_content=not deep, alt_texts=False, list_bullets=False, comments=False, post_meta=False
  )
  text = _tidy(text, links)
  size = len(_HAN.findall(text))
  if size < MIN_HAN:
    return None
  if thorough and not deep and size >= ENOUGH_HAN:
    precise = _tidy(_precise(html), links)
    if len(_HAN.findall(precise)) >= max(ENOUGH_HAN, ENOUGH_SHARE * size):
      text = precise
  return {'text': text, 'title': _title(tree), 'date': _date(html, url)}


def _is_deep(html):
  """Whether elements are nested so deep that finding the main part, quadratic in it, would take minutes."""
  if html.count('<') < MAX_DEPTH:
    return False
  depths = itertools.accumulate(-1 if tag[1] else 1 for tag in _NEST.finditer(html))
  return any(depth > MAX_DEPTH for depth in depths)


def _precise(html):
  try:
    import trafilatura
  except ImportError:
    raise InputError('extract: trafilatura is missing: pip install trafilatura') from None
  logging.getLogger('trafilatura').setLevel(logging.CRITICAL)  # to it, a page without a body is an error
  wanted = {'favor_precision': True, 'include_comments': False, 'include_tables': False}
  return trafilatura.extract(html, fast=True, **wanted) or ''


def _tidy(text, links):
  lines = (' '.join(line.split()) for line in text.split('\n'))
  return '\n'.join(line for line in lines if line and not noise.is_noise(line, links))


def _links(html):
  """The texts of a page's links as keys of a dict, in the form and order that `noise.is_noise` wants."""
  # By pattern: the tree's own lists of elements are walked anew for every element.
  texts = {noise.APART.sub('', unescape(text)) for text in _ANCHOR.findall(html)}
  texts = [text for text in texts if len(text) > 1]
  return dict.fromkeys(sorted(texts, key=len, reverse=True)[-MAX_LINKS:])


def _title(tree):
  """The page's title without the name of its site; its first heading when that is the same but cleaner."""
  title = ' '.join((tree.title or '').split())
  heading = tree.body.query_selector('h1')
  heading = ' '.join(heading.text.split()) if heading else ''
  if heading and (heading in title or not title):
    return heading
  short = _SITE.sub('', title)
  return short if len(short) >= 2 else title


def _date(html, url):
  found = (pattern.search(html, 0, _HEAD) for pattern in _PUBLISHED)
  found = _IN_ADDRESS.search(url) or next(filter(None, found), None)
  if not found:
    return ''
  year, month, day = re.fullmatch(r'(\d{4})\D*(\d\d?)\D*(\d\d?)', found[1]).groups()
  good = 1 <= int(month) <= 12 and 1 <= int(day) <= 31
  return f'{year}-{month:0>2}-{day:0>2}' if good else ''
