"""What a crawl knows after a kill or an error, and the order of its requests; without a network."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests import site
from tests.site import config, taken
from zhlm.collect import answer, crawl, frontier
from zhlm.errors import InputError

pytest.importorskip('scrapy')

FOLDER = Path(crawl.__file__).parent

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


def test_a_workdir_keeps_its_seeds_and_scope_but_not_its_limits(tmp_path):
  begun(tmp_path, max_pages=1).close()
  begun(tmp_path, max_pages=2, delay=9.0).close()
  with pytest.raises(InputError, match='max_depth'):
    begun(tmp_path, **{'scope.max_depth': 3})


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
  names = ('crawl', 'download', 'answer', 'frontier', 'urls')
  text = '\n'.join((FOLDER / f'{name}.py').read_text('utf-8') for name in names)
  made = config()
  assert [f for f in (*made, *made.scope) if f'config.{f}' not in text and f'scope.{f}' not in text] == []
