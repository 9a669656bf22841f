"""Crawl: seeds → WARC files, slowly, as robots.txt and the servers allow.

python -m launch.crawl --config=configs/crawl.py --config.seeds=https://example.cn/ \
  --config.contact=you@example.cn --workdir=runs/crawl
    about a page a second and host; stop it as you like, the same command goes on where it was
"""

from ml_collections import ConfigDict


def get_config(arg=''):
  if arg:
    raise ValueError(f'configs/crawl.py:{arg}: takes no argument; fields change with --config.seeds=…')
  config = ConfigDict()
  config.seeds = ''  # URLs with spaces between them, or a file with one a line (# begins a comment)
  config.contact = ''  # an e-mail address or a URL: site owners must be able to reach you
  config.agent = 'zhlm'  # our name in User-Agent, and the one looked for in robots.txt

  config.delay = 1.0  # seconds from an answer to the next request of that host; Crawl-delay may raise it
  config.max_delay = 60.0  # seconds; a host whose Crawl-delay is above this is left alone
  config.parallel_hosts = 16  # hosts at once; one request at a time each
  config.timeout = 30.0  # seconds a request may take, its body included
  config.retries = 3  # of a request that failed, or was answered with 408, 429, 500, 502, 503, 504
  config.retry_wait = 5.0  # seconds before the first retry, then twice that, …; Retry-After goes first
  config.max_wait = 300.0  # seconds; a host that asks for more is left alone until the next run
  config.max_failures = 5  # requests given up in a row until a host is left alone until the next run
  config.robots_bytes = 512_000  # the part of robots.txt that is read (RFC 9309: 500 KiB at least)
  config.robots_hours = 24.0  # until robots.txt is asked for again (RFC 9309: a day at most)

  # These may be raised for another run of the same workdir, which then goes on.
  config.max_pages = 100_000
  config.max_host_pages = 20_000
  config.max_host_urls = 100_000  # asked for, pages or not: traps need not answer with pages
  config.max_bytes = 10_000_000_000  # of bodies, unpacked
  config.max_page_bytes = 10_000_000  # longer pages are left out, not cut
  config.warc_bytes = 1_000_000_000  # a WARC file is closed when it is this long, and the next begun
  config.progress_seconds = 5.0  # between progress lines

  # What is followed; fixed for a workdir, since a link that was refused is not looked at again.
  config.scope = ConfigDict(
    {
      'hosts': '',  # more hosts than those of the seeds, with spaces between them; www. makes no difference
      'max_depth': 16,  # links from a seed; what stops an endless calendar's “next month”
      'max_redirects': 5,  # in a row
      'max_links': 2_000,  # of a page, in its order
      'max_characters': 500,  # of a URL
      'max_segments': 12,  # parts of a path
      'max_repeats': 2,  # times that a part of a path may stand in a row: /a/b/a/b/a/b is a trap
      # URLs of a host that differ only in …
      'max_alike_queries': 500,  # … their digits and what their query fields say (a search, a calendar)
      'max_alike_paths': 20_000,  # … their digits (an archive)
      # Query fields that do not choose a page: they are cut off.
      'drop_query': 'jsessionid phpsessid aspsessionid session_id sessionid utm_source utm_medium '
      'utm_campaign utm_term utm_content spm scm fbclid gclid share_token',
      'drop_query_if_long': 'sid s session token',  # … these with 16 letters or digits at least only
      # In <meta name=robots> or X-Robots-Tag: these words keep a page out (its links count still).
      'keep_out': 'noindex none noarchive noai',
    }
  )
  return config.lock()
