"""URLs: one spelling for each page, and which of them a crawl does not follow. Knows no network."""

import re
from urllib.parse import urlsplit, urlunsplit

HOST = re.compile(r'[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*')  # a name, IPv4; IPv6


def clean(url, scope, encoding='utf-8'):
  """The URL as it is asked for: safe characters, lower-case punycode host, no default port, user, fragment
  or session id; None if it is not an http URL. `encoding`, of the page it stands in, is for its query."""
  from w3lib.url import safe_url_string

  try:
    # A UTF-16 page's queries are sent as UTF-8.
    parts = urlsplit(safe_url_string(url, 'utf-8' if 'utf-16' in encoding.lower() else encoding))
    name, port = (parts.hostname or '').rstrip('.'), parts.port
  except (ValueError, LookupError):  # not a URL; not an encoding
    return None
  if parts.scheme not in ('http', 'https') or not HOST.fullmatch(name):
    return None
  if ':' in name:
    name = f'[{name}]'
  if port and port != {'http': 80, 'https': 443}[parts.scheme]:
    name = f'{name}:{port}'
  path = re.sub(r'(?i);(jsessionid|phpsessid|sid)=[^/;?]*', '', parts.path)
  path = re.sub(r'(?i)/\((?:[a-z]\([a-z0-9]{16,}\))+\)(?=/)', '', path)  # ASP.NET: /(S(3kp…))/
  always, long = scope.drop_query.split(), scope.drop_query_if_long.split()
  kept = []
  for field in filter(None, parts.query.split('&')):
    label, _, value = field.partition('=')
    session = re.fullmatch(r'[0-9A-Za-z_-]{16,}', value) and label.lower() in long
    if label.lower() not in always and not session:
      kept.append(field)
  return urlunsplit((parts.scheme, name, path or '/', '&'.join(kept), ''))


def key(url):
  """What two spellings of one page share: query fields sorted, dots and percent codes resolved."""
  from w3lib.url import canonicalize_url

  return canonicalize_url(url)


def host(url):
  """Host and port of a clean URL, without www.: a site that answers with and without is one site."""
  return urlsplit(url).netloc.removeprefix('www.')


def shape(url):
  """What URLs of one pattern share: digits are 0; with a query, its fields' names."""
  parts = urlsplit(url)
  names = sorted({field.partition('=')[0] for field in parts.query.split('&') if field})
  return f'{parts.netloc}{re.sub("[0-9]+", "0", parts.path)}' + (f'?{"&".join(names)}' if names else '')


def refuse(url, depth, hops, scope, hosts):
  """Why a clean URL is not followed, or ''. `depth` counts links from a seed, `hops` redirects in a row;
  `hosts` are those that may be crawled, as `host` gives them."""
  from scrapy.linkextractors import IGNORED_EXTENSIONS

  parts = urlsplit(url)
  if host(url) not in hosts:
    return 'off_site'
  if len(url) > scope.max_characters:
    return 'long_url'
  segments = parts.path.strip('/').split('/')
  if len(segments) > scope.max_segments:
    return 'long_path'
  if re.search(rf'/((?:[^/]+/)+?)\1{{{scope.max_repeats}}}', f'{parts.path}/'):
    return 'repeating_path'
  if '.' in segments[-1] and segments[-1].rpartition('.')[2].lower() in IGNORED_EXTENSIONS:
    return 'file_type'
  if hops > scope.max_redirects:
    return 'too_many_redirects'
  return 'too_deep' if depth > scope.max_depth else ''
