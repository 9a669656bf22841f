"""A web site on loopback, with what a crawler meets: robots.txt, traps, redirects, errors, odd pages.

It answers for every host name when it is used as a proxy (http_proxy), so that a test can have many hosts.
"""

import contextlib
import gzip
import http.server
import itertools
import threading
import time

from configs import crawl

FAST = {'contact': 'me@example.cn', 'delay': 0.0, 'retries': 1, 'retry_wait': 0.05, 'timeout': 5.0}

ROBOTS = """# of www.site.test and site.test
User-agent: *
Disallow: /private/
Allow: /private/open.html
Disallow: /*.php$
Disallow: /*?*print=
"""
LINKS = """
/private/secret.html /private/open.html /a.php /a.php?y=1 /news/1.html?print=1
/news/1.html?x=1&print=1 /calendar?month=1 /session/a;jsessionid=0A1B2C?x=1 /loop/1 /deep/1 /repeat/
/moved /round/1 /itself /hops/0 /away /busy.html /busy-date.html /down.html /gbk.html /picture.html
/file.pdf /download /fake.html /huge.html /endless.html /bomb.html /packed.html /refresh.html
/plain.txt /nofollow.html /nofollow-all.html /noindex.html /noai.html /cut.html /empty.html
/missing.html /nested.html http://other.test/ http://[bad/ mailto:a@b.cn javascript:x()
ftp://site.test/ /news/1.html#top ./news/../news/1.html HTTP://SITE.test:80/news/1.html
http://www.site.test/news/www.html /untyped /news/1.html?utm_source=x /scheme/../base/ /utf16.html
/news/%31.html?
"""


def html(*links, head='', body=''):
  """A page: its links, each `href` or ready-made."""
  tags = (link if link.startswith('<') else f'<a href="{link}">链接</a>' for link in links)
  return f'<html><head>{head}</head><body><p>这是一页中文。{body}</p>{" ".join(tags)}</body></html>'


def site_test(path, seen):
  """The answer of site.test: (status, headers, body), or the body; `seen` counts the path's requests."""
  part, _, last = path.strip('/').partition('/')
  meta = '<meta name="robots" content="%s">'
  refresh = '<meta http-equiv="refresh" content="0; url=/refreshed.html">'
  if path.startswith('/calendar?month='):  # endless: a fan and a chain
    month = int(path.rpartition('=')[2])
    return html(*(f'/calendar?month={month + i}' for i in (1, 2)))
  if part == 'session':  # a new id with every page
    return html(*(f'/session/{x}?PHPSESSID={time.time_ns()}&sid={time.time_ns():032x}' for x in 'abc'))
  if part == 'deep':
    return html(f'/deep/{int(last) + 1}')
  if part == 'repeat':
    return html('x/')
  if part == 'hops':
    return 302, {'Location': f'/hops/{int(last) + 1}'}, ''
  if path == '/busy.html' or path == '/busy-date.html':
    soon = (
      {'Retry-After': '1'} if path == '/busy.html' else {'Retry-After': 'Sun, 06 Nov 1994 08:49:37 GMT'}
    )
    return (429, soon, 'busy') if seen == 1 else html(body='不忙了')
  return {
    '/robots.txt': (200, {'Content-Type': 'text/plain'}, ROBOTS),
    '/': html('/news/1.html', '/news/2.html', *LINKS.split()),
    '/news/1.html': html('/news/2.html', '3.html'),
    '/loop/1': html('/loop/2'),
    '/loop/2': html('/loop/1'),
    '/moved': (301, {'Location': '/target.html#part'}, ''),
    '/round/1': (302, {'Location': '/round/2'}, ''),
    '/round/2': (302, {'Location': '/round/1'}, ''),
    '/itself': (302, {'Location': '/itself?PHPSESSID=1234567890abcdef'}, ''),
    '/away': (301, {'Location': 'http://other.test/gone'}, ''),
    '/down.html': (503, {}, 'down'),
    '/gbk.html': (200, {'Content-Type': 'text/html'}, html('/搜索?q=中文').encode('gbk')),
    '/picture.html': (200, {'Content-Type': 'image/png'}, html()),
    '/download': (200, {'Content-Type': 'application/pdf'}, '%PDF-1.4' * 10_000),
    '/fake.html': b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' * 9,
    '/huge.html': html(body='大' * 40_000),
    '/endless.html': (200, {'Transfer-Encoding': 'chunked'}, None),
    '/bomb.html': (200, {'Content-Encoding': 'gzip'}, gzip.compress(html(body='大' * 400_000).encode())),
    '/packed.html': (200, {'Content-Encoding': 'gzip'}, gzip.compress(html('/unpacked.html').encode())),
    '/refresh.html': html(head=refresh),
    '/plain.txt': (200, {'Content-Type': 'text/plain; charset=utf-8'}, '纯文本 <a href="/no-link.html">'),
    '/nofollow.html': html('<a rel="external nofollow" href="/hidden/1.html">x</a>', '/news/2.html'),
    '/nofollow-all.html': html('/hidden/2.html', head=meta % 'NoFollow'),
    '/noindex.html': html('/by-noindex.html', head=meta % 'noindex, follow'),
    '/noai.html': (200, {'X-Robots-Tag': 'otherbot: noindex', 'x-robots-tag': 'noai'}, html()),
    '/cut.html': (200, {'Content-Length': '99999'}, html()),
    '/empty.html': ' \n',
    '/missing.html': (404, {}, html('/by-404.html')),
    '/nested.html': '<div>' * 10_000 + html('/news/1.html'),  # lxml gives up at a depth of 2,000
    '/base/': html('relative.html', head='<base href="/elsewhere/">'),
    '/untyped': (200, {'Content-Type': None}, html()),
    '/utf16.html': html('/by-utf16.html').encode('utf-16'),
  }.get(path) or html()


# What a crawl of site.test takes with max_depth=5, max_alike_queries=6, max_segments=12, max_repeats=2.
PAGES = """
/ /news/1.html /news/2.html /news/3.html /private/open.html /a.php?y=1 /session/a?x=1 /session/a
/session/b /session/c /loop/1 /loop/2 /deep/1 /deep/2 /deep/3 /deep/4 /deep/5 /repeat/ /repeat/x/
/repeat/x/x/ /target.html /busy.html /busy-date.html /gbk.html /%E6%90%9C%E7%B4%A2?q=%D6%D0%CE%C4
/packed.html /unpacked.html /refresh.html /refreshed.html /plain.txt /nofollow.html
/nofollow-all.html /by-noindex.html /nested.html /base/ /elsewhere/relative.html /untyped
/utf16.html /by-utf16.html /calendar?month=1 /calendar?month=2 /calendar?month=3
/calendar?month=4 /calendar?month=5 /calendar?month=6
"""


class Site:
  """A running site: `log` holds (seconds, host, path, seconds of the answer); `answer(host, path, seen)`
  gives (status, headers, body) or a body; `proxy` is its address; `most` is, by host, the most
  requests that were under way at once."""

  def __init__(self, answer):
    self.answer, self.log, self.lock = answer, [], threading.Lock()
    self.under_way, self.most = {}, {}
    site = self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = 'HTTP/1.1'

      def do_GET(self):  # noqa: N802
        site.reply(self)

      def log_message(self, *_):
        pass

    self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self.server.daemon_threads = True
    self.server.handle_error = lambda *_: None  # a crawler that hangs up is no error
    self.host = f'127.0.0.1:{self.server.server_port}'
    self.proxy = f'http://{self.host}'

  def reply(self, handler):
    host, path = handler.headers['Host'], handler.path
    if path.startswith('http://'):  # we are asked as a proxy
      host, slash, path = path[7:].partition('/')
      path = slash + path
    with self.lock:
      entry = [time.monotonic(), host, path, None]
      self.log.append(entry)
      seen = self.paths(host).count(path)
      self.under_way[host] = self.under_way.get(host, 0) + 1
      self.most[host] = max(self.most.get(host, 0), self.under_way[host])
    found = self.answer(host, path, seen)
    with self.lock:  # before the answer goes out: the next request may be here before we go on
      self.under_way[host] -= 1
      entry[3] = time.monotonic()
    self.send(handler, *(found if isinstance(found, tuple) else (200, {}, found)))

  def send(self, handler, status, headers, body):
    body = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    length = {} if body is None else {'Content-Length': str(len(body))}
    for name, value in {'Content-Type': 'text/html; charset=utf-8', **length, **headers}.items():
      if value is not None:
        handler.send_header(name, value)
    handler.end_headers()
    if body is None:
      with contextlib.suppress(OSError):
        for _ in itertools.repeat(None, 10_000):
          handler.wfile.write(b'400\r\n' + b'x' * 1024 + b'\r\n')
      handler.close_connection = True
    else:
      handler.wfile.write(body)
      handler.close_connection = headers.get('Content-Length') is not None

  def paths(self, host=None):
    """The paths that were asked for, in order."""
    return [path for _, h, path, _ in self.log if host in (None, h)]


@contextlib.contextmanager
def serve(answer):
  """A Site that runs while the context lasts."""
  site = Site(answer)
  thread = threading.Thread(target=site.server.serve_forever, args=(0.02,), daemon=True)
  thread.start()
  try:
    yield site
  finally:
    site.server.shutdown()
    site.server.server_close()


def config(**fields):
  """configs/crawl.py, fast and with these fields."""
  made = crawl.get_config()
  with made.unlocked():
    made.update_from_flattened_dict({**FAST, 'seeds': 'http://a.cn/', **fields})
  return made


def records(workdir, kind='response'):
  """[(URL, HTTP record)] of all WARC files, read by another library than the one that wrote them."""
  from fastwarc import warc

  found = []
  for path in sorted(workdir.glob('*.warc.gz')):
    with open(path, 'rb') as file:
      for record in warc.ArchiveIterator(file, record_types=getattr(warc.WarcRecordType, kind)):
        body = record.reader.read()
        found.append((record.headers['WARC-Target-URI'], dict(record.http_headers or {}), body))
  return found


def taken(workdir):
  """The URLs of all pages in the WARC files."""
  return [url for url, _, _ in records(workdir)]
