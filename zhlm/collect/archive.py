"""Pages as WARC 1.1 members: bytes to append to a .warc.gz; one gzip member a record. Knows no files."""

import io

# The body is stored as it reads, unpacked: so these headers are not true of it any more.
UNPACKED = ('content-encoding', 'content-length', 'transfer-encoding')


def opening(name, user_agent):
  """The warcinfo record that a WARC file begins with."""
  out, writer = _writer()
  fields = {
    'software': 'zhlm (scrapy, warcio)',
    'format': 'WARC File Format 1.1',
    'robots': 'obeyed (RFC 9309, Crawl-delay, meta robots, X-Robots-Tag)',
    'http-header-user-agent': user_agent,
  }
  writer.write_record(writer.create_warcinfo_record(name, fields))
  return out.getvalue()


def pair(url, answer):
  """Response and request records of one page; `answer` is an answer.Answer."""
  from warcio.statusandheaders import StatusAndHeaders

  out, writer = _writer()
  headers = [(k, v) for k, v in answer.headers if k.lower() not in UNPACKED]
  headers.append(('Content-Length', str(len(answer.body))))
  http = StatusAndHeaders(f'{answer.status} {_reason(answer.status)}', headers, protocol='HTTP/1.1')
  more = {'WARC-IP-Address': answer.ip} if answer.ip else {}
  response = writer.create_warc_record(
    url, 'response', io.BytesIO(answer.body), http_headers=http, warc_headers_dict=more
  )
  asked = StatusAndHeaders(f'GET {_path(url)} HTTP/1.1', answer.asked, is_http_request=True)
  request = writer.create_warc_record(url, 'request', http_headers=asked)
  writer.write_request_response_pair(request, response)
  return out.getvalue()


def _writer():
  from warcio.warcwriter import WARCWriter

  out = io.BytesIO()
  return out, WARCWriter(out, gzip=True, warc_version='1.1')


def _reason(status):
  from http import HTTPStatus

  return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else 'Unknown'


def _path(url):
  from urllib.parse import urlsplit

  parts = urlsplit(url)
  return parts.path + (f'?{parts.query}' if parts.query else '')
