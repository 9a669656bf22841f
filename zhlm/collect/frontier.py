"""What a crawl knows, so that a kill at any moment loses nothing: crawl.sqlite and the WARC it speaks of.

A page is appended to the WARC, then one transaction writes down that it is done, its links, and how long
the WARC is now. What lies in the WARC behind that length was never finished: it is cut off at the next
start, and the page is asked for again. A WARC that is being written ends in `.open`.
"""

import contextlib
import json
import os
import sqlite3
from collections import Counter

from zhlm.collect import archive, urls
from zhlm.errors import InputError

TABLES = """
CREATE TABLE IF NOT EXISTS urls(
  id INTEGER PRIMARY KEY, key TEXT UNIQUE, url TEXT, host TEXT, depth INT, hops INT, state TEXT, bytes INT);
CREATE INDEX IF NOT EXISTS queue ON urls(host, depth, id) WHERE state = 'queued';
CREATE TABLE IF NOT EXISTS shapes(shape TEXT PRIMARY KEY, n INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
AGAIN = ('too_deep', 'nofollow', 'too_many_redirects')  # reasons that another way to the page takes away


class Frontier:
  """The queue, the outcome of each URL seen ('queued', 'page', or why not), and the WARC; see the top.

  `pages`, `bytes`, and by host `queued`, `asked`, `host_pages` are counts. Raises InputError when the
  workdir holds a crawl of other seeds or another scope, is in use, or its WARC is gone.
  """

  def __init__(self, folder, seeds, config, user_agent):
    self.folder, self.scope, self.user_agent = folder, config.scope, user_agent
    self.longest = config.warc_bytes
    self.hosts = {urls.host(url) for url in seeds}
    for name in config.scope.hosts.split():
      url = urls.clean(f'http://{name}/', config.scope)
      if not url:
        raise InputError(f'--config.scope.hosts: {name}: not the name of a host')
      self.hosts.add(urls.host(url))
    self.db = self._open(os.path.join(folder, 'crawl.sqlite'))
    self.file = None
    with self.db:
      self._settle_scope({'seeds': seeds, **config.scope.to_dict()})
      self.number, self.length = self._note('warc', '0 0')
    self._recover()
    select, by_host = self.db.execute, 'SELECT host, count(*) FROM urls WHERE state=? GROUP BY host'
    self.queued = Counter(dict(select(by_host, ('queued',))))
    self.host_pages = Counter(dict(select(by_host, ('page',))))
    self.asked = Counter(dict(select('SELECT host, count(bytes) FROM urls GROUP BY host')))
    self.pages = self.host_pages.total()
    self.bytes = select('SELECT coalesce(sum(bytes), 0) FROM urls').fetchone()[0]
    with self.db:
      for url in seeds:
        self._add(url, 0, 0, False)

  def next(self, host):
    """(url, depth, hops) of the queued URL of the host that is nearest to a seed; None if there is none.
    It stays queued until `settle`."""
    nearest = "SELECT url, depth, hops FROM urls WHERE host=? AND state='queued' ORDER BY depth, id LIMIT 1"
    return self.db.execute(nearest, (host,)).fetchone()

  def settle(self, url, state, size=None, found=(), answer=None):
    """Writes down a URL's outcome, its body's size (None: it was not asked for), and what it leads to:
    `found` is [(url, depth, hops, nofollow)]. With an `answer` the page goes into the WARC first."""
    length = self._append(url, answer) if answer else self.length
    host = urls.host(url)
    with self.db:
      self.db.execute('UPDATE urls SET state=?, bytes=? WHERE key=?', (state, size, urls.key(url)))
      self._note_warc(self.number, length)
      for link in found:
        self._add(*link)
    self.length = length
    self.queued[host] -= 1
    self.bytes += size or 0
    self.asked[host] += size is not None
    if state == 'page':
      self.pages += 1
      self.host_pages[host] += 1
    if self.length >= self.longest:
      self._close_warc()

  def requeue(self, lost):
    """Queues settled URLs again."""
    with self.db:
      for url in lost:
        self.db.execute("UPDATE urls SET state='queued' WHERE key=?", (urls.key(url),))
        self.queued[urls.host(url)] += 1

  def counts(self):
    """{outcome: URLs}."""
    return dict(self.db.execute('SELECT state, count(*) FROM urls GROUP BY state ORDER BY 2 DESC'))

  def close(self):
    """Closes the WARC that is open, under its final name, and the database."""
    if self.length:
      self._close_warc()
    self.db.close()

  def _open(self, path):
    try:
      db = sqlite3.connect(path, timeout=0.2)
      # EXCLUSIVE: a second crawl of this workdir is refused. FULL: a commit survives a power cut.
      db.executescript('PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;')
      db.executescript(TABLES)
      db.execute('BEGIN IMMEDIATE')
      db.rollback()
    except sqlite3.OperationalError as error:
      if 'locked' in str(error):
        raise InputError(
          f'{path}: another crawl is at work here: wait for it, or take another --workdir'
        ) from None
      raise InputError(f'{path}: cannot be opened: {error}') from None
    except sqlite3.DatabaseError as error:
      raise InputError(f'{path}: not the state of a crawl ({error}): take another --workdir') from None
    return db

  def _note(self, name, value):
    self.db.execute('INSERT OR IGNORE INTO notes VALUES(?, ?)', (name, value))
    value = self.db.execute('SELECT value FROM notes WHERE name=?', (name,)).fetchone()[0]
    return tuple(map(int, value.split())) if name == 'warc' else json.loads(value)

  def _note_warc(self, number, length):
    self.db.execute("UPDATE notes SET value=? WHERE name='warc'", (f'{number} {length}',))

  def _settle_scope(self, scope):
    known = self._note('scope', json.dumps(scope, ensure_ascii=False, sort_keys=True))
    differ = sorted(name for name in {*scope, *known} if scope.get(name) != known.get(name))
    if differ:
      raise InputError(
        f'{self.folder}: holds a crawl with other {", ".join(differ)} (it had '
        f'{str(known.get(differ[0]))[:80]}): set them back, or take another --workdir'
      )

  def _add(self, url, depth, hops, nofollow):
    """Queues a URL, or writes down why not; a URL that is known is only moved nearer."""
    reason = urls.refuse(url, depth, hops, self.scope, self.hosts) or ('nofollow' if nofollow else '')
    key = urls.key(url)
    old = self.db.execute('SELECT state, depth FROM urls WHERE key=?', (key,)).fetchone()
    if old and old[0] == 'queued' and not reason and depth < old[1]:
      self.db.execute('UPDATE urls SET depth=? WHERE key=?', (depth, key))
    if old and (old[0] not in AGAIN or reason):
      return
    reason = reason or self._alike(urls.shape(url))
    host = urls.host(url)
    self.db.execute(
      'INSERT INTO urls(key, url, host, depth, hops, state, bytes) VALUES(?, ?, ?, ?, ?, ?, NULL) '
      'ON CONFLICT(key) DO UPDATE SET depth=excluded.depth, hops=excluded.hops, state=excluded.state',
      (key, url, host, depth, hops, reason or 'queued'),
    )
    if not reason:
      self.queued[host] += 1

  def _alike(self, shape):
    n = self.db.execute('SELECT n FROM shapes WHERE shape=?', (shape,)).fetchone()
    n = n[0] if n else 0
    if n >= (self.scope.max_alike_queries if '?' in shape else self.scope.max_alike_paths):
      return 'too_many_alike'
    self.db.execute('INSERT OR REPLACE INTO shapes VALUES(?, ?)', (shape, n + 1))
    return ''

  def _path(self, number):
    return os.path.join(self.folder, f'crawl-{number:05}.warc.gz')

  def _recover(self):
    """Cuts off what was never finished; gives a WARC that was full its name."""
    for number in range(self.number):
      with contextlib.suppress(FileNotFoundError):
        os.rename(f'{self._path(number)}.open', self._path(number))
    path = f'{self._path(self.number)}.open'
    found = os.path.getsize(path) if os.path.exists(path) else 0
    if found < self.length:
      advice = 'put the file back, or take another --workdir'
      raise InputError(f'{path}: {found} bytes, but {self.length} were written: {advice}')
    if not self.length:
      with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    elif found > self.length:
      os.truncate(path, self.length)

  def _append(self, url, answer):
    if self.file is None:
      self.file = open(f'{self._path(self.number)}.open', 'ab')  # noqa: SIM115
    data = archive.pair(url, answer)
    if not self.length:
      data = archive.opening(os.path.basename(self._path(self.number)), self.user_agent) + data
    self.file.write(data)
    self.file.flush()
    os.fsync(self.file.fileno())
    return self.length + len(data)

  def _close_warc(self):
    self.file = self.file and self.file.close()
    os.truncate(f'{self._path(self.number)}.open', self.length)  # after an error there may be more in it
    with self.db:
      self._note_warc(self.number + 1, 0)
    os.rename(f'{self._path(self.number)}.open', self._path(self.number))
    self.number, self.length = self.number + 1, 0
