"""One answer of a server: is it a page, where does it lead, what does it ask of robots.

Pure functions; the network is in download.py, the order of requests in crawl.py.
"""

import email.utils
import re
import time
from typing import NamedTuple
from urllib.parse import urljoin

from zhlm.collect import urls

RETRY = (408, 429, 500, 502, 503, 504)
REDIRECT = (301, 302, 303, 307, 308)
TEXT = ('', 'text/html', 'application/xhtml+xml', 'text/plain')


class Answer(NamedTuple):
  """What came back: an HTTP status, or 0 where nothing did and `why` says what happened instead."""

  status: int
  headers: tuple = ()  # (name, value)
  body: bytes = b''  # unpacked
  why: str = ''
  asked: tuple = ()  # the request's headers
  ip: str = ''


def header(answer, name):
  """The first header of this (lower-case) name, or ''."""
  return next((value for key, value in answer.headers if key.lower() == name), '')


def media_type(answer):
  """Such as text/html; '' if the server does not say."""
  return header(answer, 'content-type').partition(';')[0].strip().lower()


def failed(answer):
  """Whether it may be otherwise in a while."""
  return answer.status in RETRY or answer.why == 'unreachable'


def retry_after(answer, now=None):
  """Seconds that the server asks to wait (Retry-After: a number or a date); None if it does not say."""
  value = header(answer, 'retry-after').strip()
  if re.fullmatch(r'[0-9]{1,9}', value):
    return float(value)
  try:
    date = email.utils.parsedate_to_datetime(value)
  except ValueError:
    return None
  return max(0.0, date.timestamp() - (time.time() if now is None else now))


def location(answer, url, scope):
  """The clean URL that a redirect leads to, or None."""
  return urls.clean(_join(url, header(answer, 'location')), scope) if answer.status in REDIRECT else None


def judge(answer, url, depth, hops, config):
  """(outcome, found): 'page' or why it is none, and the links as Frontier.settle takes them."""
  if answer.why:
    return answer.why, []
  if answer.status in REDIRECT:
    target = location(answer, url, config.scope)
    if target and urls.key(target) == urls.key(url):
      return 'redirect_to_itself', []
    return 'redirect', [(target, depth, hops + 1, False)] if target else []
  if answer.status != 200:
    return f'status_{answer.status}', []
  if media_type(answer) not in TEXT or header(answer, 'content-encoding') or not _is_text(answer.body):
    return 'not_text', []
  if not answer.body.strip():
    return 'empty', []
  encoding, found, words = 'utf-8', [], _tagged(answer, config.agent)
  if media_type(answer) != 'text/plain':
    encoding, text = decode(answer.body, header(answer, 'content-type'))
    found, said = read(text, url, encoding, config.agent)
    words |= said
  clean = {}  # a page that is linked to twice is nofollow only if both links are
  for link, nofollow in found[: config.scope.max_links]:
    if target := urls.clean(link, config.scope, encoding):
      clean[target] = clean.get(target, True) and (nofollow or bool(words & {'nofollow', 'none'}))
  outcome = 'noindex' if words & set(config.scope.keep_out.split()) else 'page'
  return outcome, [(target, depth + 1, 0, nofollow) for target, nofollow in clean.items()]


def _is_text(body):
  start = body[:1024]  # a stray NUL is no harm; and UTF-16 has many
  return start.count(0) <= 8 or start.startswith((b'\xff\xfe', b'\xfe\xff'))


def decode(body, content_type=''):
  """(encoding, text) of an HTML body: by BOM, header or meta, else UTF-8 if it is that, else GB18030."""
  from w3lib.encoding import html_to_unicode

  return html_to_unicode(content_type, body, auto_detect_fun=_guess)


def _guess(body):
  try:
    body.decode('utf-8')
  except UnicodeDecodeError:
    return 'gb18030'
  return 'utf-8'


def read(text, url, encoding, agent):
  """(links, words): [(absolute URL, nofollow)] in the page's order, and what <meta name=robots> says to
  `agent`, such as {'noindex', 'nofollow'}. A page that refreshes to another links to it."""
  from parsel import Selector
  from w3lib.html import get_base_url, get_meta_refresh

  try:
    base, refresh = get_base_url(text, url, encoding), get_meta_refresh(text, url, encoding)[1]
  except ValueError:  # http://[ and the like
    base, refresh = url, None
  page = Selector(text=text.replace('\0', '') or ' ', type='html')
  names = ('robots', agent.lower())
  said = [m.attrib.get('content', '') for m in page.xpath('//meta[@name]') if _name(m) in names]
  found = [(refresh, False)] if refresh else []
  more = '//link[@href][@rel="next" or @rel="prev" or @rel="canonical"] | //iframe[@src] | //frame[@src]'
  for node in page.xpath(f'//a[@href] | //area[@href] | {more}'):
    link = _join(base, node.attrib.get('href') or node.attrib.get('src') or '')
    found.append((link, 'nofollow' in node.attrib.get('rel', '').lower().split()))
  return found, _words(' '.join(said))


def _name(node):
  return node.attrib['name'].strip().lower()


def _join(base, link):
  try:
    return urljoin(base, link.strip())
  except ValueError:  # http://[ and the like
    return ''


def _words(text):
  return set(re.findall(r'[a-z]+', text.lower()))


def _tagged(answer, agent):
  """Words of X-Robots-Tag: `noindex, nofollow`, or `agent: noindex` for that robot only."""
  words = set()
  for key, value in answer.headers:
    if key.lower() == 'x-robots-tag':
      name, colon, rest = value.partition(':')
      if not colon or name.strip().lower() in ('unavailable_after', agent.lower()):
        words |= _words(rest if colon else value)
  return words


def parse_robots(body, most):
  """Rules (a protego.Protego) of the first `most` bytes of a robots.txt, cut at a line's end."""
  from protego import Protego

  if len(body) > most:
    body = body[: body.rfind(b'\n', 0, most) + 1]
  return Protego.parse(body.decode('utf-8-sig', 'replace'))


def crawl_delay(rules, agent):
  """Seconds between two requests that a robots.txt asks for (Crawl-delay or Request-rate), or 0."""
  rate = rules.request_rate(agent)
  return max(rules.crawl_delay(agent) or 0.0, rate.seconds / rate.requests if rate else 0.0)
