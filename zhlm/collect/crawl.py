"""A polite crawl: one request at a time to each host, as its robots.txt allows, into WARC files.

Of a host the URLs nearest to a seed come first. What is known of each URL is in frontier.py, which links
are followed in urls.py, what an answer means in answer.py, scrapy in download.py.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from zhlm.collect import answer as answers
from zhlm.collect import download, urls
from zhlm.collect.frontier import Frontier
from zhlm.disk import write_json
from zhlm.errors import InputError

TURN = 100  # URLs of a host before another host may have its place


@dataclass
class Host:
  """A host in this run; times in seconds of time.monotonic()."""

  delay: float  # from an answer to the next request
  ready: float = 0.0  # when the next request may go
  rules: dict = field(default_factory=dict)  # scheme://host: (when, robots.txt)
  failures: int = 0  # in a row
  lost: list = field(
    default_factory=list
  )  # URLs that did not even fail with an answer, since the last answer
  turns: int = 0
  left: str = ''  # why it is left alone until the next run


class Run(NamedTuple):
  """What the parts of a crawl share."""

  config: object
  frontier: Frontier
  get: object  # see download.run
  hosts: dict  # name: Host
  busy: set  # hosts whose page is under way


def crawl(config, workdir, say=print):
  """Crawls from config.seeds into WORKDIR: crawl-NNNNN.warc.gz, crawl.sqlite, summary.json. Returns the
  summary. Goes on where an earlier crawl of the workdir was, however that ended.

  Raises InputError for a config without contact or seeds, and as Frontier does.
  """
  try:
    import protego  # noqa: F401
    import scrapy  # noqa: F401
    import warcio  # noqa: F401
  except ImportError as error:
    raise InputError(f"a crawl needs {error.name}: pip install 'zhlm[crawl]'") from None
  seeds = read_seeds(config)
  if not re.fullmatch(r'https?://[^\s/]+\.\S+|[^@\s]+@[^@\s]+\.[^@\s]+', config.contact):
    raise InputError(
      f'--config.contact={config.contact!r}: must be an e-mail address or a URL by which the owners of the '
      'sites can reach you'
    )
  os.makedirs(workdir, exist_ok=True)
  user_agent = f'{config.agent}/1.0 (+{config.contact})'
  frontier = Frontier(workdir, seeds, config, user_agent)
  if frontier.pages:
    say(f'{workdir}: goes on after {frontier.pages:,} pages')
  hosts, start = {}, time.monotonic()
  try:
    if any(frontier.queued.values()) and not _full(config, frontier):
      download.run(config, user_agent, lambda get: _crawl(Run(config, frontier, get, hosts, set()), say))
    counts, full = frontier.counts(), _full(config, frontier)
  finally:
    frontier.close()
  queued = counts.pop('queued', 0)
  summary = {
    'pages': counts.pop('page', 0),
    'bytes': frontier.bytes,
    'stopped': (full or 'hosts were left alone') if queued else 'no more URLs',
    'queued': queued,
    'not_taken': counts,
    'pages_of_hosts': dict(frontier.host_pages.most_common()),
    'hosts_left_alone': {name: host.left for name, host in hosts.items() if host.left},
    'files': sorted(name for name in os.listdir(workdir) if name.endswith('.warc.gz')),
    'user_agent': user_agent,
    'seconds': round(time.monotonic() - start, 1),  # of this run
  }
  write_json(os.path.join(workdir, 'summary.json'), summary)
  return summary


def read_seeds(config):
  """The seeds as clean URLs. Raises InputError for none, or for what is not an http URL."""
  path = os.path.expanduser(config.seeds)
  lines = [('--config.seeds', part) for part in config.seeds.split()]
  if os.path.isfile(path):
    with open(path, encoding='utf-8-sig') as file:
      lines = [(f'{path}:{i}', re.sub(r'(^|\s)#.*', '', line).strip()) for i, line in enumerate(file, 1)]
  seeds = []
  for where, text in lines:
    if text:
      seeds.append(urls.clean(text, config.scope))
      if not seeds[-1]:
        raise InputError(f'{where}: {text}: not a URL that begins with http:// or https://, nor a file')
  if not seeds:
    raise InputError('--config.seeds: must be URLs with spaces between them, or a file with one a line')
  return list(dict.fromkeys(seeds))


def _full(config, frontier, under_way=0):
  if frontier.pages + under_way >= config.max_pages:
    return f'max_pages={config.max_pages}'
  return f'max_bytes={config.max_bytes}' if frontier.bytes >= config.max_bytes else ''


async def _crawl(run, say):
  """Gives hosts their turns until nothing is queued, or a limit is reached."""
  config, frontier, tasks = run.config, run.frontier, {}
  begin = told = time.monotonic()
  first = frontier.pages

  def progress():
    rate = (frontier.pages - first) / (time.monotonic() - begin)
    left = sum(bool(host.left) for host in run.hosts.values())
    say(
      f'crawl  {frontier.pages:,} pages  {frontier.bytes / 1e6:,.1f} MB  queue {frontier.queued.total():,}'
      f'  {rate:.1f} pages/s  {len(tasks)} hosts at work  {left} left alone'
    )

  try:
    while True:
      for name in frontier.queued:
        run.hosts.setdefault(name, Host(config.delay))
      idle = [
        n for n, queued in frontier.queued.items() if queued and n not in tasks and not run.hosts[n].left
      ]
      idle.sort(key=lambda n: run.hosts[n].turns)
      for name in idle[: config.parallel_hosts - len(tasks)]:
        run.hosts[name].turns += 1
        tasks[name] = asyncio.create_task(_turn(run, name, run.hosts[name]))
      if not tasks or (_full(config, frontier) and not run.busy):
        break
      done, _ = await asyncio.wait(tasks.values(), timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
      for name in [n for n, task in tasks.items() if task in done]:
        tasks.pop(name).result()
      if time.monotonic() - told >= config.progress_seconds:
        told = time.monotonic()
        progress()
  finally:
    for task in tasks.values():
      task.cancel()
  progress()


async def _turn(run, name, host):
  """Some URLs of one host."""
  config, frontier = run.config, run.frontier
  for _ in range(TURN):
    if not (item := frontier.next(name)) or _full(config, frontier):
      return
    url, depth, hops = item
    rules = await _robots(run, host, url[: url.index('/', 8)])
    if not rules:
      return
    if not rules.can_fetch(url, config.agent):
      frontier.settle(url, 'robots')
      await asyncio.sleep(0)
      continue
    if frontier.host_pages[name] >= config.max_host_pages:
      host.left = f'max_host_pages={config.max_host_pages}'
    if frontier.asked[name] >= config.max_host_urls:
      host.left = f'max_host_urls={config.max_host_urls}'
    while _full(config, frontier, len(run.busy)) and not _full(config, frontier):
      await asyncio.sleep(0.02)  # what is under way may be the last page, or none
    if host.left or _full(config, frontier):
      return
    run.busy.add(name)
    try:
      answer = await _fetch(run, host, url, config.max_page_bytes, page=True)
      outcome, found = answers.judge(answer, url, depth, hops, config)
      frontier.settle(url, outcome, len(answer.body), found, answer if outcome == 'page' else None)
    finally:
      run.busy.discard(name)
    host.failures = host.failures + 1 if answers.failed(answer) else 0
    host.lost = [*host.lost, url] if answer.why == 'unreachable' else []
    if host.failures >= config.max_failures:
      host.left = host.left or f'{host.failures} requests in a row failed, the last with {outcome}'
    if host.left:
      frontier.requeue(host.lost)
      return


async def _fetch(run, host, url, most, page):
  """One answer, asked for again while the server wants that; a host that wants too much is left alone."""
  for attempt in range(run.config.retries + 1):
    await asyncio.sleep(host.ready - time.monotonic())
    answer, wait = await run.get(url, most, page), 0.0
    if answers.failed(answer):
      asked = answers.retry_after(answer)
      wait = run.config.retry_wait * 2**attempt if asked is None else asked
    host.ready = time.monotonic() + max(wait, host.delay)
    if wait > run.config.max_wait:
      host.left = f'asks to wait {wait:.0f} s; max_wait is {run.config.max_wait:g}'
    if host.left or not answers.failed(answer):
      break
  return answer


async def _robots(run, host, origin):
  """The rules in an origin's robots.txt, asked for again when they are old; None: leave the host alone."""
  config = run.config
  when, rules = host.rules.get(origin, (0.0, None))
  if rules and time.monotonic() - when < config.robots_hours * 3600:
    return rules
  url = f'{origin}/robots.txt'
  for _ in range(6):  # RFC 9309: five redirects at least, to other hosts as well
    answer = await _fetch(run, host, url, config.robots_bytes, page=False)
    url = answers.location(answer, url, config.scope)
    if not url:
      break
  if answer.why or answer.status >= 500 or answer.status in (*answers.RETRY, *answers.REDIRECT):  # else 4xx
    host.left = host.left or f'robots.txt: {answer.why or f"status {answer.status}"}'
    return None
  rules = answers.parse_robots(answer.body if answer.status == 200 else b'', config.robots_bytes)
  host.delay = max(config.delay, answers.crawl_delay(rules, config.agent))
  if host.delay > config.max_delay:
    host.left = f'robots.txt: Crawl-delay {host.delay:g} s; max_delay is {config.max_delay:g}'
    return None
  host.ready = max(host.ready, time.monotonic() + host.delay)
  host.rules[origin] = time.monotonic(), rules
  return rules
