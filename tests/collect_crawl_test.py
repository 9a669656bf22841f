"""The crawl of a site on loopback: exactly the pages it may take, at the pace asked for, through kills."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import site
from tests.site import FAST, records, taken

pytest.importorskip('scrapy')

ROOT = Path(__file__).parent.parent
HOSTS = 'site broken none secret huge moved slow slower 例子 loop mine hangs odd endless'
NEVER = 'secret a.php print= file.pdf hidden no-link by-404 /hops/6 x/x/x/ /deep/6'
KILLS = ((3, 0.0), (13, 0.0), (12, 0.01), (10, 0.05))  # after so many requests, and so many seconds
SITE = {'scope.max_depth': 5, 'scope.max_alike_queries': 6, 'max_page_bytes': 100_000, 'max_wait': 2.0}


def launch(workdir, seeds, proxy=None, **fields):
  """The crawl as a process of its own."""
  fields = {**FAST, **fields, 'seeds': seeds}
  flags = [f'--config.{name}={value}' for name, value in fields.items()]
  clean = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
  env = {**clean, 'http_proxy': proxy, 'https_proxy': proxy} if proxy else clean
  program = [sys.executable, '-m', 'launch.crawl', '--config=configs/crawl.py']
  pipe = subprocess.PIPE
  return subprocess.Popen(
    [*program, f'--workdir={workdir}', *flags], cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True
  )


def run(workdir, seeds, proxy=None, **fields):
  """(summary, what it said) of a crawl that ends well."""
  process = launch(workdir, seeds, proxy, **fields)
  out, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (0, '')
  return json.loads((workdir / 'summary.json').read_text('utf-8')), out


@pytest.fixture(scope='module')
def crawled(tmp_path_factory):
  """(site, workdir, summary) of a crawl of site.test and hosts whose robots.txt is special."""

  def reply(host, path, seen):
    if path != '/robots.txt' or host in ('site.test', 'www.site.test'):
      return site.site_test(path, seen) if host.endswith('site.test') else site.html('/a', '/b', '/c')
    allow = 'User-agent: *\nDisallow: /b\n'
    return {
      'broken.test': (500, {}, 'x'),
      'odd.test': (505, {}, 'x'),
      'endless.test': (200, {'Transfer-Encoding': 'chunked'}, None),
      'none.test': (404, {}, 'Disallow: /'),
      'secret.test': (403, {}, 'Disallow: /'),
      'huge.test': allow + '# filler\n' * 100_000 + 'Disallow: /c\n',
      'moved.test': (301, {'Location': 'http://none.test/rules.txt'}, ''),
      'slow.test': 'User-agent: *\nCrawl-delay: 0.3\n',
      'slower.test': 'User-agent: zhlm\nCrawl-delay: 3600\n',
      'xn--fsqu00a.test': allow,
      'loop.test': (302, {'Location': '/robots.txt'}, ''),
      'mine.test': 'User-agent: *\nDisallow: /\n\nUser-agent: ZHLM\nDisallow: /c\n',
    }.get(host) or time.sleep(2)

  seeds = ' '.join(f'http://{host}.test/' for host in HOSTS.split())
  workdir = tmp_path_factory.mktemp('crawl')
  with site.serve(reply) as running:
    summary, out = run(workdir, seeds, running.proxy, **SITE, progress_seconds=0.3, timeout=1.0)
  assert out.count('pages/s') >= 3 and 'queue' in out
  return running, workdir, summary


def test_a_crawl_takes_exactly_the_pages_it_may(crawled):
  _, workdir, summary = crawled
  pages = taken(workdir)
  found = {url[16:] for url in pages if url.startswith('http://site.test/')}
  assert found == set(site.PAGES.split())
  assert [url for url in pages if '//www.' in url] == ['http://www.site.test/news/www.html']
  assert len(pages) == len(set(pages)) == summary['pages']


def test_what_robots_or_the_scope_forbid_is_never_asked_for(crawled):
  running, _, summary = crawled
  asked = running.paths('site.test')
  for word in NEVER.split():
    assert not [p for p in asked if word in p and p != '/a.php?y=1'], word
  assert running.paths('other.test') == []
  assert summary['not_taken']['robots'] >= 4


def test_no_page_is_asked_for_twice_unless_the_server_says_so(crawled):
  running, _, _ = crawled
  count = Counter((host, path) for _, host, path, _ in running.log if path != '/robots.txt')
  again = {path for (host, path), n in count.items() if n > 1 and host == 'site.test'}
  assert again == {'/busy.html', '/busy-date.html', '/down.html', '/cut.html'}
  assert set(count.values()) == {1, 2}
  assert running.most['site.test'] == running.most['slow.test'] == 1  # at once


def test_retry_after_is_waited_for(crawled):
  running, _, _ = crawled
  first, second = [entry for entry in running.log if entry[2] == '/busy.html']
  assert second[0] - first[3] >= 0.99


def test_the_summary_says_why_urls_were_not_taken(crawled):
  _, _, summary = crawled
  expected = {
    'status_503': 1, 'status_404': 1, 'unreachable': 1, 'empty': 1, 'too_large': 3, 'not_text': 3,
    'noindex': 2, 'nofollow': 2, 'file_type': 1, 'redirect_to_itself': 1, 'too_many_redirects': 1,
    'repeating_path': 1, 'too_deep': 1, 'too_many_alike': 2, 'robots': 7, 'redirect': 10, 'off_site': 2,
  }  # fmt: skip
  assert summary['not_taken'] == expected


@pytest.mark.parametrize(
  'host, paths',
  [
    ('broken.test', None),  # 500
    ('odd.test', None),  # 505
    ('hangs.test', None),  # no answer
    ('slower.test', None),  # an hour between requests
    ('loop.test', None),
    ('none.test', '/ /a /b /c'),  # 404: no rules
    ('secret.test', '/ /a /b /c'),  # 403, too (RFC 9309)
    ('huge.test', '/ /a /c'),  # rules behind the first 500 KiB do not count
    ('endless.test', '/ /a /b /c'),
    ('moved.test', '/ /a /b /c'),
    ('xn--fsqu00a.test', '/ /a /c'),
    ('mine.test', '/ /a /b'),  # a group of our own goes before *
  ],
)
def test_each_robots_txt_has_its_outcome(crawled, host, paths):
  running, workdir, summary = crawled
  asked = {path for path in running.paths(host) if path not in ('/robots.txt', '/rules.txt')}
  assert asked == set((paths or '').split())
  assert {url for url in taken(workdir) if host in url} == {f'http://{host}{path}' for path in asked}
  assert (host in summary['hosts_left_alone']) == (not paths)


def test_crawl_delay_lies_between_any_two_requests_of_a_host(crawled):
  running, _, _ = crawled
  times = [entry[0] for entry in running.log if entry[1] == 'slow.test']
  assert len(times) == 5
  assert min(b - a for a, b in itertools.pairwise(times)) >= 0.29


def test_robots_txt_comes_first_and_the_contact_is_in_every_request(crawled):
  running, workdir, _ = crawled
  for host in {entry[1] for entry in running.log} - {'none.test'}:
    assert running.paths(host)[0] == '/robots.txt'
  assert {h['User-Agent'] for _, h, _ in records(workdir, 'request')} == {'zhlm/1.0 (+me@example.cn)'}


def test_a_record_holds_the_body_as_it_reads(crawled):
  _, workdir, _ = crawled
  found = {url[16:]: (headers, body) for url, headers, body in records(workdir)}
  headers, body = found['/packed.html']
  assert body == site.html('/unpacked.html').encode() and 'Content-Encoding' not in headers
  assert int(headers['Content-Length']) == len(body)
  assert found['/gbk.html'][1].decode('gbk') == site.html('/搜索?q=中文')
  assert found['/gbk.html'][0]['Content-Type'] == 'text/html'


def test_every_record_is_a_gzip_member_of_its_own(crawled):
  _, workdir, summary = crawled
  data, members = b''.join((workdir / name).read_bytes() for name in summary['files']), []
  while data:
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    members.append(member.decompress(data))
    data = member.unused_data
  assert len(members) == 1 + 2 * summary['pages']
  assert all(text.startswith(b'WARC/1.1\r\n') and text.endswith(b'\r\n\r\n') for text in members)
  assert (
    b'WARC-Type: warcinfo' in members[0]
    and b'robots: obeyed' in members[0]
    and b'me@example.cn' in members[0]
  )


def test_the_importer_reads_the_same_pages(crawled):
  from zhlm.collect import warc as importer

  _, workdir, summary = crawled
  items = [i for name in summary['files'] for i in importer.read(SimpleNamespace(path=str(workdir / name)))]
  assert sorted(item['url'] for item in items) == sorted(taken(workdir))


def tree(host, path, seen):
  """A site of 40 pages, each linked from two others."""
  if path == '/robots.txt':
    return 'User-agent: *\nDisallow: /9\n'
  n = int(path.strip('/') or 1)
  return site.html(*(f'/{k}' for k in (2 * n, 2 * n + 1, n + 7) if k <= 40), body='树' * 500)


def test_kills_lose_no_page_and_ask_again_only_for_what_was_under_way(tmp_path):
  expected = {f'/{n}' for n in range(2, 41) if n != 9} | {'/'}
  hit, at = threading.Event(), [0]

  def reply(host, path, seen):
    if len(running.log) == at[0]:
      hit.set()
      if at[0] % 2:
        time.sleep(0.3)  # killed before the answer; else after it, while it is written down
    return tree(host, path, seen)

  with site.serve(reply) as running:
    seed = f'http://{running.host}/'
    for requests, pause in KILLS:
      hit.clear()
      at[0] = len(running.log) + requests
      process = launch(tmp_path, seed)
      assert hit.wait(20)
      time.sleep(pause)
      process.send_signal(signal.SIGKILL)
      process.communicate()
    summary, out = run(tmp_path, seed, warc_bytes=5_000)
    asked = Counter(path for path in running.paths() if path != '/robots.txt')
  assert 'goes on after' in out
  assert {url.removeprefix(seed[:-1]) for url in taken(tmp_path)} == expected == set(asked)
  assert len(taken(tmp_path)) == len(expected) == summary['pages']
  assert sum(asked.values()) - len(asked) <= len(KILLS) and max(asked.values()) <= 2
  assert len(summary['files']) > 1 and not list(tmp_path.glob('*.open'))
  assert summary['stopped'] == 'no more URLs' and summary['not_taken'] == {'robots': 1}


def test_ctrl_c_ends_quietly_and_limits_hold_and_may_be_raised(tmp_path):
  with site.serve(tree) as running:
    seed = f'http://{running.host}/'
    process = launch(tmp_path, seed, delay=0.2, max_pages=15)
    while len(running.log) < 4 and process.poll() is None:
      time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, '')
    assert 2 <= len(taken(tmp_path)) <= 3  # the WARC is closed under its name
    assert run(tmp_path, seed, max_pages=15)[0]['stopped'] == 'max_pages=15'
    assert len(taken(tmp_path)) == 15
    summary, _ = run(tmp_path, seed, max_pages=100, max_host_pages=18)
    assert len(taken(tmp_path)) == 18 and summary['queued'] > 0
    assert summary['hosts_left_alone'] == {running.host: 'max_host_pages=18'}
  assert len(running.paths()) - running.paths().count('/robots.txt') <= 19
