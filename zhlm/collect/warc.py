"""Web archives as items: the pages of a WARC (`html`), the texts of a WET (`text`).

fastwarc and warcio read a cut .gz to its end without a word; so the file is unpacked by `files.open_bytes`,
which does say, and a record that holds fewer bytes than it names is an error as well.
"""

from zhlm.collect import pages
from zhlm.collect.files import Bad, open_bytes
from zhlm.errors import InputError

MAX_PAGE = 20_000_000  # bytes of one page once decompressed; larger ones are logs, dumps or bombs
_HTML = ('text/html', 'application/xhtml+xml')
_PLAIN = 'text/plain'


def read(source):
  """Yields an item for every page of a WARC or WET file, and a Bad for every page that cannot be read.

  What is no answer 200 with a page or text in it is passed over. An item has `url`, `date` (when it was
  fetched), `group` (its host), and `html` or `text`. `source.charset` goes before what a page says itself.
  Raises InputError for a file that is cut, damaged, or holds no response.
  """
  path, found = source.path, 0
  charset = getattr(source, 'charset', '') or ''
  for where, record, block in _records(path):
    kind = record.headers.get('WARC-Type', '').lower()
    if kind not in ('response', 'conversion'):
      continue
    found += 1
    if len(block) > MAX_PAGE:
      yield Bad(where, f'a record of more than {MAX_PAGE:,} bytes')
      continue
    if b'\r\n\r\nWARC/1.' in block:
      yield Bad(where, 'the record runs into the next one: its Content-Length is wrong')
      continue
    try:
      item = _page(block, charset) if kind == 'response' else _text(block, _PLAIN, '', charset)
    except ValueError as error:  # InputError and UnicodeDecodeError are ValueErrors
      yield Bad(where, str(error))
      continue
    if item:
      url = record.headers.get('WARC-Target-URI', '').strip('<>')
      date = record.headers.get('WARC-Date', '')[:10]
      about = {'url': url, 'date': date, 'group': pages.host(url)}  # an empty group would be a group too
      yield {'kind': 'document', **{k: v for k, v in about.items() if v}, **item}
  if not found:
    raise InputError(f'{path}: no response (WARC) or conversion (WET) records; is it a web archive?')


def _records(path):
  """(path:offset, record, its block of bytes) one by one; offsets count decompressed bytes."""
  from fastwarc.warc import ArchiveIterator

  where = f'{path}:0'
  with open_bytes(path) as file:
    try:
      # Lenient, so that a record with a wrong length costs itself and not the rest of the file.
      for record in ArchiveIterator(file, parse_http=False, quirks_mode=True, stream_detect=False):
        where = f'{path}:{record.stream_pos}'
        wanted = record.headers.get('Content-Length', '')
        block = record.reader.read(MAX_PAGE + 1)
        if not wanted.isdecimal() or len(block) < min(int(wanted), MAX_PAGE + 1):
          raise InputError(f'{where}: the file ends inside this record; fetch it again')
        yield where, record, block
    except OSError as error:
      raise InputError(f'{path}: damaged after {where}: {error}; fetch it again') from None


def _page(block, charset):
  """{'html'} or {'text'} of an answer 200; None for any other answer."""
  http = _http(block, 'none')
  kind, _, rest = (http.http_headers.get('Content-Type') or '').partition(';')
  kind = kind.strip().lower()
  if http.http_headers.status_code != 200 or kind not in (*_HTML, _PLAIN, ''):
    return None
  body = http.reader.read()
  if http.http_headers.get('Content-Encoding') or http.http_headers.get('Transfer-Encoding'):
    try:
      body = _http(block, 'all').reader.read(MAX_PAGE + 1)
    except OSError as error:
      # Many crawlers store the body decoded, under the headers that it came with.
      if not body.lstrip().startswith(b'<'):
        raise InputError(f'the body is not in the encoding that its headers name: {error}') from None
  if len(body) > MAX_PAGE:
    raise InputError(f'a page of more than {MAX_PAGE:,} bytes')
  header = rest.lower().partition('charset=')[2].split(';')[0].strip()
  return _text(body, kind, header, charset)


def _text(body, kind, header, charset):
  if not body.strip():
    return None
  if kind != _PLAIN:
    return {'html': pages.decode(body, header, charset)}
  return {'text': pages.decode(body, header, charset, meta=False)}


def _http(block, auto_decode):
  """A block of bytes as a fastwarc record with HTTP headers; anew, since a record is decoded but once."""
  from fastwarc.warc import WarcRecord, WarcRecordType

  record = WarcRecord()
  record.init_headers(WarcRecordType.response)
  record.is_http = True
  record.set_bytes_content(block)
  record.parse_http(auto_decode=auto_decode, quirks_mode=True)
  return record
