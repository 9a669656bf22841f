"""The network, through scrapy: one URL in, one Answer out. No redirects, retries or cookies here."""

import asyncio
import contextlib
import logging
import signal

from zhlm.collect.answer import TEXT, Answer, media_type

UNBOUNDED = 2**30  # bytes; robots.txt is cut instead, so its length does not matter


def run(config, user_agent, main):
  """Runs `await main(get)` in scrapy's event loop; raises what it raises. Once a process.

  `await get(url, most, page)` is an Answer; a body above `most` bytes has why='too_large' if it is a `page`
  and is cut if not; of a page that is no text only the headers are fetched.
  """
  from scrapy import Spider
  from scrapy.crawler import AsyncCrawlerProcess

  ended = []  # [None], or what went wrong

  class Fetcher(Spider):
    name = 'zhlm'

    async def start(self):
      _connect(self.crawler)
      engine = self.crawler.engine
      task = asyncio.ensure_future(main(lambda *args: _get(engine, config.timeout, *args)))
      with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows; not the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
      try:
        await task
        ended.append(None)
      except asyncio.CancelledError:  # Ctrl-C
        ended.append(KeyboardInterrupt())
      except Exception as error:  # scrapy would log it and go on
        ended.append(error)
      return
      yield  # makes this a generator, as scrapy wants it

  before = logging.root.manager.disable
  logging.disable(logging.CRITICAL)  # what goes wrong is in the Answer
  try:
    process = AsyncCrawlerProcess(_settings(config, user_agent))
    process.crawl(Fetcher)
    process.start(install_signal_handlers=False)
  finally:
    logging.disable(before)
  if ended != [None]:
    raise ended[0] if ended else RuntimeError('scrapy stopped without a reason')


def _settings(config, user_agent):
  steps = (
    'defaultheaders.DefaultHeaders',
    'useragent.UserAgent',
    'httpcompression.HttpCompression',
    'httpproxy.HttpProxy',
  )
  return {
    # Nothing but these: scrapy's own would follow <meta refresh>, and listen on a port for code to run.
    'DOWNLOADER_MIDDLEWARES_BASE': {
      f'scrapy.downloadermiddlewares.{step}Middleware': i for i, step in enumerate(steps)
    },
    'SPIDER_MIDDLEWARES_BASE': {},
    'EXTENSIONS_BASE': {},
    'USER_AGENT': user_agent,
    'DEFAULT_REQUEST_HEADERS': {
      'Accept': 'text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.1',
      'Accept-Language': 'zh-CN,zh;q=0.9,en;q=0.1',
    },
    'DOWNLOAD_WARNSIZE': 0,
    'CONCURRENT_REQUESTS': config.parallel_hosts,
    'CONCURRENT_REQUESTS_PER_DOMAIN': config.parallel_hosts,
    'LOG_INSTALL_ROOT_HANDLER': False,
  }


def _connect(crawler):
  from scrapy import signals
  from scrapy.exceptions import StopDownload

  def stop_what_is_no_text(headers, request):
    if request.meta['page'] and media_type(Answer(0, _headers(headers))) not in TEXT:
      raise StopDownload(fail=False)

  def stop_long_robots(data, request):
    request.meta['got'] = request.meta.get('got', 0) + len(data)
    if not request.meta['page'] and request.meta['got'] > request.meta['most']:
      raise StopDownload(fail=False)

  # weak=False: nothing else holds these functions.
  crawler.signals.connect(stop_what_is_no_text, signals.headers_received, weak=False)
  crawler.signals.connect(stop_long_robots, signals.bytes_received, weak=False)


async def _get(engine, timeout, url, most, page):
  from scrapy import Request
  from scrapy.exceptions import DownloadCancelledError, IgnoreRequest

  meta = {'page': page, 'most': most, 'download_maxsize': most if page else UNBOUNDED}
  meta['download_timeout'] = timeout
  packed = {} if page else {'Accept-Encoding': 'identity'}
  try:
    response = await engine.download_async(Request(url, meta=meta, headers=packed))
  except (DownloadCancelledError, IgnoreRequest):  # the body as it came, or unpacked
    return Answer(0, why='too_large')
  except Exception:  # whatever the network or a server's nonsense leads to: one URL, not the crawl
    return Answer(0, why='unreachable')
  asked = (('Host', url.split('/')[2]), *_headers(response.request.headers))
  ip = str(response.ip_address or '')
  return Answer(response.status, _headers(response.headers), response.body, '', asked, ip)


def _headers(headers):
  return tuple((_text(name), _text(value)) for name in headers for value in headers.getlist(name))


def _text(data):
  try:
    return data.decode('utf-8')
  except UnicodeDecodeError:
    return data.decode('latin-1')
