"""The crawl of a site on loopback: exactly the pages it may take, at the pace asked for, through kills."""

import asyncio
import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from configs import crawl as crawl_config
from tests import site
from zhlm.collect import answer, crawl, frontier, urls
from zhlm.errors import InputError

pytest.importorskip('scrapy')
warc = pytest.importorskip('fastwarc.warc')

ROOT = Path(__file__).parent.parent
FAST = {'contact': 'me@example.cn', 'delay': 0.0, 'retries': 1, 'retry_wait': 0.05, 'timeout': 5.0}
HOSTS = 'site broken none secret huge moved slow slower 例子 loop mine hangs odd endless'
NEVER = 'secret a.php print= file.pdf hidden no-link by-404 /hops/6 x/x/x/ /deep/6'
SITE = {'scope.max_depth': 5, 'scope.max_alike_queries': 6, 'max_page_bytes': 100_000, 'max_wait': 2.0}


def launch(workdir, seeds, proxy=None, **fields):
  """The crawl as a process of its own."""
  fields = {**FAST, **fields, 'seeds': seeds}
  flags = [f'--config.{name}={value}' for name, value in fields.items()]
  clean = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
  env = {**clean, 'http_proxy': proxy, 'https_proxy': proxy} if proxy else clean
  command = [sys.executable, '-m', 'launch.crawl', f'--workdir={workdir}', *flags]
  pipe = subprocess.PIPE
  return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def run(workdir, seeds, proxy=None, **fields):
  """(summary, what it said) of a crawl that ends well."""
  process = launch(workdir, seeds, proxy, **fields)
  out, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (0, ''), err
  return json.loads((workdir / 'summary.json').read_text('utf-8')), out


def records(workdir, kind='response'):
  """[(URL, HTTP record)] of all WARC files, read by another library than the one that wrote them."""
  found = []
  for path in sorted(workdir.glob('*.warc.gz')):
    with open(path, 'rb') as file:
      for record in warc.ArchiveIterator(file, record_types=getattr(warc.WarcRecordType, kind)):
        body = record.reader.read()
        found.append((record.headers['WARC-Target-URI'], dict(record.http_headers or {}), body))
  return found


def taken(workdir):
  return [url for url, _, _ in records(workdir)]


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
  data = (workdir / summary['files'][0]).read_bytes()
  members = [part for part in data.split(b'\x1f\x8b\x08') if part]
  first = gzip.decompress(b'\x1f\x8b\x08' + members[0])
  assert b'WARC-Type: warcinfo' in first and b'robots: obeyed' in first and b'me@example.cn' in first
  assert len(members) >= 1 + 2 * summary['pages']


def test_the_importer_reads_the_same_pages(crawled):
  from types import SimpleNamespace

  from zhlm.collect import warc as importer

  _, workdir, summary = crawled
  items = [i for name in summary['files'] for i in importer.read(SimpleNamespace(path=str(workdir / name)))]
  assert sorted(item['url'] for item in items) == sorted(taken(workdir))


def test_robots_txt_is_cut_at_the_end_of_a_line():
  body = b'User-agent: *\nDisallow: /a\nDisallow: /bcd\n'
  for most, blocked in ((len(body), 'a bcd'), (len(body) - 2, 'a'), (27, 'a'), (26, '')):
    rules = answer.parse_robots(body, most)
    found = [path for path in ('a', 'b', 'bcd') if not rules.can_fetch(f'http://a.cn/{path}', 'zhlm')]
    assert ' '.join(found) == blocked


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
    seed, kills = f'http://{running.host}/', 0
    for requests, pause in ((3, 0.0), (9, 0.0), (8, 0.01), (9, 0.1), (7, 0.02)):
      hit.clear()
      at[0] = len(running.log) + requests
      process = launch(tmp_path, seed)
      assert hit.wait(20)
      time.sleep(pause)
      process.send_signal(signal.SIGKILL)
      process.wait()
      process.communicate()
      kills += 1
    summary, out = run(tmp_path, seed, warc_bytes=5_000)
    asked = Counter(path for path in running.paths() if path != '/robots.txt')
  assert 'goes on after' in out
  assert {url.removeprefix(seed[:-1]) for url in taken(tmp_path)} == expected == set(asked)
  assert len(taken(tmp_path)) == len(expected) == summary['pages']
  assert sum(asked.values()) - len(asked) <= kills and max(asked.values()) <= 2
  assert len(summary['files']) > 1 and not list(tmp_path.glob('*.open'))
  assert summary['stopped'] == 'no more URLs' and summary['not_taken'] == {'robots': 1}


def test_ctrl_c_ends_quietly_and_limits_hold_and_may_be_raised(tmp_path):
  with site.serve(tree) as running:
    seed = f'http://{running.host}/'
    process = launch(tmp_path, seed, delay=0.3, max_pages=15)
    while len(running.log) < 4:
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
    process = launch(tmp_path, seed, **{'scope.max_depth': 3})
    err = process.communicate()[1]
    assert process.returncode == 2 and 'max_depth' in err and err.count('\n') == 1
  assert len(running.paths()) - running.paths().count('/robots.txt') <= 19


def config(**fields):
  made = crawl_config.get_config()
  with made.unlocked():
    made.update_from_flattened_dict({**FAST, 'seeds': 'http://a.cn/', **fields})
  return made


@pytest.mark.parametrize(
  'fields, word',
  [
    ({'contact': ''}, 'contact'),
    ({'contact': 'me'}, 'contact'),
    ({'seeds': ''}, 'seeds'),
    ({'seeds': 'a.cn/no-scheme'}, 'no-scheme'),
    ({'scope.hosts': 'a.cn b:c'}, 'b:c'),
  ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path, fields, word):
  with pytest.raises(InputError, match=word):
    crawl.crawl(config(**fields), str(tmp_path / 'w'))


def test_a_missing_library_is_named_with_the_command_that_brings_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'warcio', None)
  with pytest.raises(InputError, match=r"warcio.*pip install 'zhlm\[crawl\]'"):
    crawl.crawl(config(), str(tmp_path))


def test_every_field_of_the_config_is_read():
  text = '\n'.join(p.read_text('utf-8') for p in (ROOT / 'zhlm/collect').glob('*.py'))
  made = crawl_config.get_config()
  assert [f for f in (*made, *made.scope) if f'config.{f}' not in text and f'scope.{f}' not in text] == []


PAGE = answer.Answer(200, (('Content-Type', 'text/html'),), '<p>一页</p>'.encode())


def begun(folder, **fields):
  return frontier.Frontier(str(folder), ['http://a.cn/'], config(**fields), 'zhlm')


def test_what_was_written_but_not_noted_is_cut_off(tmp_path):
  queue = begun(tmp_path)
  queue.settle('http://a.cn/', 'page', 9, [('http://a.cn/1', 1, 0, False)], PAGE)
  whole = (tmp_path / 'crawl-00000.warc.gz.open').read_bytes()
  queue._append('http://a.cn/1', PAGE)  # … and here the process is killed
  queue.db.close()
  for junk in (b'', b'\x1f\x8b\x08half a member'):
    with open(tmp_path / 'crawl-00000.warc.gz.open', 'ab') as file:
      file.write(junk)
    queue = begun(tmp_path)
    assert (tmp_path / 'crawl-00000.warc.gz.open').read_bytes() == whole
    assert queue.next('a.cn')[0] == 'http://a.cn/1'
    queue.db.close()
  queue = begun(tmp_path)
  queue.settle('http://a.cn/1', 'page', 9, [], PAGE)
  with queue.db:
    queue._note_warc(1, 0)  # the file is full: killed before it has its name
  queue.db.close()
  begun(tmp_path).close()
  assert taken(tmp_path) == ['http://a.cn/', 'http://a.cn/1']
  assert not list(tmp_path.glob('*.open'))


def test_a_full_disk_leaves_a_crawl_that_can_go_on(tmp_path, monkeypatch):
  queue = begun(tmp_path)
  queue.settle('http://a.cn/', 'page', 9, [('http://a.cn/1', 1, 0, False)], PAGE)
  whole = (tmp_path / 'crawl-00000.warc.gz.open').read_bytes()

  def full(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(frontier.os, 'fsync', full)
  with pytest.raises(OSError, match='No space'):
    queue.settle('http://a.cn/1', 'page', 9, [], PAGE)
  queue.close()
  assert (tmp_path / 'crawl-00000.warc.gz').read_bytes() == whole
  assert begun(tmp_path).next('a.cn')[0] == 'http://a.cn/1'


def test_a_lost_warc_and_a_second_crawl_at_once_are_refused(tmp_path):
  queue = begun(tmp_path)
  queue.settle('http://a.cn/', 'page', 9, [], PAGE)
  with pytest.raises(InputError, match='another crawl'):
    begun(tmp_path)
  queue.db.close()
  os.remove(tmp_path / 'crawl-00000.warc.gz.open')
  with pytest.raises(InputError, match='crawl-00000'):
    begun(tmp_path)
  (tmp_path / 'crawl.sqlite').write_text('not a database')
  with pytest.raises(InputError, match='crawl.sqlite'):
    begun(tmp_path)


def test_a_nearer_way_to_a_page_counts(tmp_path):
  queue = begun(tmp_path, **{'scope.max_depth': 3})
  found = [('http://a.cn/far', 4, 0, False), ('http://a.cn/x', 2, 0, False), ('http://a.cn/no', 1, 0, True)]
  queue.settle('http://a.cn/', 'page', 9, found)
  assert queue.counts() == {'page': 1, 'too_deep': 1, 'queued': 1, 'nofollow': 1}
  queue.settle(
    'http://a.cn/x', 'empty', 0, [('http://a.cn/far', 3, 0, False), ('http://a.cn/no', 3, 0, False)]
  )
  assert queue.counts() == {'page': 1, 'empty': 1, 'queued': 2}
  assert queue.queued['a.cn'] == 2


def simulate(folder, reply, hosts='a.cn', **fields):
  """(URLs asked for, Frontier, hosts) of a crawl without a network; `reply(url)` is the Answer."""
  seeds, asked, states = [f'http://{host}/' for host in hosts.split()], [], {}
  made = config(seeds=' '.join(seeds), **fields)

  async def get(url, most, page):
    asked.append(url)
    await asyncio.sleep(0.001)
    return NO_RULES if url.endswith('/robots.txt') else reply(url)

  folder.mkdir(exist_ok=True)
  queue = frontier.Frontier(str(folder), seeds, made, 'zhlm')
  lines = []
  asyncio.run(crawl._crawl(crawl.Run(made, queue, get, states, set()), lines.append))
  queue.close()
  return [url for url in asked if not url.endswith('/robots.txt')], queue, states


NO_RULES = answer.Answer(404)
NOTHING = answer.Answer(0, why='unreachable')


def family(url):
  """Each page links to three more of its host; every second one is not found."""
  n = int(url.rsplit('/', 1)[1] or 0)
  page = site.html(*(f'/{3 * n + k}' for k in (1, 2, 3)))
  return answer.Answer(404) if n % 2 else answer.Answer(200, (), page.encode())


def test_the_limit_of_pages_is_met_exactly_by_many_hosts_at_once(tmp_path):
  asked, queue, _ = simulate(tmp_path, family, 'a.cn b.cn c.cn d.cn e.cn', max_pages=23)
  assert queue.pages == len(taken(tmp_path)) == 23
  assert len(asked) == len(set(asked))


def test_the_limits_of_bytes_and_of_urls_of_a_host_hold(tmp_path):
  size = len(family('http://a.cn/').body)
  _, queue, _ = simulate(tmp_path / 'a', family, max_bytes=5 * size - 10)
  assert queue.pages == 5
  asked, _, hosts = simulate(tmp_path / 'b', family, max_host_urls=7)
  assert len(asked) == 7 and hosts['a.cn'].left == 'max_host_urls=7'


def test_a_host_that_does_not_answer_is_left_alone_and_nothing_of_it_lost(tmp_path):
  def reply(url):
    return NOTHING if 'a.cn' in url and len(url) > len('http://a.cn/1') else family(url)

  fields = {'max_failures': 3, 'scope.max_depth': 3, 'retries': 0, 'retry_wait': 0.0}
  asked, queue, hosts = simulate(tmp_path, reply, 'a.cn b.cn', **fields)
  assert '3 requests in a row' in hosts['a.cn'].left and not hosts['b.cn'].left
  assert queue.queued['a.cn'] == 3 and queue.queued['b.cn'] == 0
  simulate(tmp_path, family, 'a.cn b.cn', **fields)
  paths = {host: {url[12:] for url in taken(tmp_path) if host in url} for host in ('a.cn', 'b.cn')}
  assert paths['a.cn'] == paths['b.cn'] and len(taken(tmp_path)) == 2 * len(paths['a.cn'])


def test_a_host_that_asks_for_a_long_wait_is_not_asked_again(tmp_path):
  busy = answer.Answer(429, (('Retry-After', '9999'),))
  asked, _, hosts = simulate(
    tmp_path, lambda url: family(url) if url == 'http://a.cn/' else busy, retries=5
  )
  assert len(asked) == 2 and '9999' in hosts['a.cn'].left


def test_a_host_has_a_turn_before_another_has_many(tmp_path, monkeypatch):
  monkeypatch.setattr(crawl, 'TURN', 2)
  asked, _, _ = simulate(tmp_path, family, 'a.cn b.cn', parallel_hosts=1, max_pages=12)
  assert {'http://b.cn/', 'http://b.cn/1'} < set(asked[:6])


@pytest.mark.parametrize(
  'href', ['http://[bad', 'http://a.cn:99999/', '\x00', '\ud83d', '%', '//', '?', ' x y ']
)
@pytest.mark.parametrize(
  'tag', ['<base href="%s">', '<a href="%s">', '<meta http-equiv=refresh content="0;url=%s">']
)
def test_no_link_stops_a_crawl(href, tag):
  body = (tag % href + '<a href="/ok">').encode('utf-8', 'surrogatepass')
  outcome, found = answer.judge(answer.Answer(200, (), body), 'http://a.cn/', 0, 0, config())
  assert outcome == 'page'
  assert 'base' in tag or 'http://a.cn/ok' in [url for url, *_ in found]


@pytest.mark.parametrize(
  'url, expected',
  [
    (
      'HTTP://例子.测试:80/路 径?q=中#部分',
      'http://xn--fsqu00a.xn--0zwm56d/%E8%B7%AF%20%E5%BE%84?q=%E4%B8%AD',
    ),
    ('https://u:p@A.cn.:443', 'https://a.cn/'),
    ('https://a.cn:8443/x?', 'https://a.cn:8443/x'),
    ('http://a.cn/x;jsessionid=1A?b=2&PHPSESSID=3&a=1&sid=7', 'http://a.cn/x?b=2&a=1&sid=7'),
    ('http://a.cn/x?sid=0123456789abcdef', 'http://a.cn/x'),
    ('http://a.cn/(S(0123456789abcdef01234567))/x.aspx', 'http://a.cn/x.aspx'),
    ('http://[::1]:80/', 'http://[::1]/'),
    ('http://[::1/', None),
    ('http://a.cn:99999/', None),
    ('http:///x', None),
    ('ftp://a.cn/', None),
    ('javascript:void(0)', None),
    ('', None),
  ],
)
def test_a_page_has_one_spelling(url, expected):
  scope = config().scope
  assert urls.clean(url, scope) == expected
  assert expected is None or urls.clean(expected, scope) == expected


def test_the_order_of_query_fields_and_percent_codes_make_no_second_page():
  assert urls.key('http://a.cn/%7ex/./y?b=2&a=1') == urls.key('http://a.cn/~x/y?a=1&b=2')
  assert urls.key('http://a.cn/?a=1') != urls.key('http://a.cn/?a=2')


def test_a_query_is_asked_for_in_the_encoding_of_its_page():
  assert urls.clean('http://a.cn/路?q=中', config().scope, 'gb18030') == 'http://a.cn/%E8%B7%AF?q=%D6%D0'


@pytest.mark.parametrize(
  'value, seconds',
  [('120', 120), ('Sun, 22 Nov 2026 00:01:00 GMT', 60), ('Sun, 06 Nov 1994 08:49:37 GMT', 0)]
  + [(value, None) for value in ('', 'soon', '-5', '9' * 30, '1.5')],
)
def test_retry_after_is_a_number_or_a_date(value, seconds):
  busy = answer.Answer(503, (('Retry-After', value),))
  assert answer.retry_after(busy, now=1_795_305_600) == seconds
