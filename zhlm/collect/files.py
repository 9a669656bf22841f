"""A file's bytes, whatever they are packed in, and the text in them, whatever it is encoded in.

The stream of a cut or damaged file ends in an InputError, never early and in silence. Only a file cut
between two members of a .gz, or two frames of a .zst, looks whole, here as to every reader.
"""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from typing import NamedTuple

from zhlm.errors import InputError

PACKED = ('.gz', '.xz', '.bz2', '.zst')
_CHUNK = 1 << 20  # bytes
_BOMS = (  # in this order: that of UTF-32-LE begins with that of UTF-16-LE
  (codecs.BOM_UTF8, 'utf-8-sig'),
  (codecs.BOM_UTF32_LE, 'utf-32'),
  (codecs.BOM_UTF32_BE, 'utf-32'),
  (codecs.BOM_UTF16_LE, 'utf-16'),
  (codecs.BOM_UTF16_BE, 'utf-16'),
)
# What files call it, and what is in them: the larger set, as browsers do it.
_LARGER = {'gb2312': 'gb18030', 'gbk': 'gb18030', 'big5': 'big5hkscs', 'cp950': 'big5hkscs'}
_CUT = ('unexpected end of data', 'incomplete multibyte sequence', 'truncated data')  # the codecs' words
_WIDE = re.compile('[\u0800-\ud7ff\ue000-\ufffc\U00010000-\U0010ffff]')  # three bytes or more in UTF-8
_HALF = re.compile('[\udc80-\udcff]{1,3}\\Z')  # bytes that are no text, as `surrogateescape` keeps them
_SURROGATE = re.compile('[\ud800-\udfff]')


class Bad(NamedTuple):
  """A record that cannot be read: it is skipped, counted and shown."""

  where: str  # path:line
  why: str


class _Stream(io.RawIOBase):
  """Chunks of bytes as a raw stream (the standard library only has the other direction)."""

  def __init__(self, chunks):
    self.chunks, self.rest, self.at = chunks, memoryview(b''), 0

  def readable(self):
    return True

  def seekable(self):
    return True  # only to where it is: fastwarc asks for that

  def seek(self, offset, whence=io.SEEK_SET):
    if (offset, whence) not in ((0, io.SEEK_CUR), (self.at, io.SEEK_SET)):
      raise io.UnsupportedOperation('what is decompressed is read from beginning to end')
    return self.at

  def readinto(self, buffer):
    while not self.rest:
      chunk = next(self.chunks, None)
      if chunk is None:
        return 0
      self.rest = memoryview(chunk)
    size = min(len(buffer), len(self.rest))
    buffer[:size] = self.rest[:size]
    self.rest, self.at = self.rest[size:], self.at + size
    return size

  def close(self):
    self.chunks.close()
    super().close()


def open_bytes(path):
  """A buffered stream (a context manager) of a file's contents, unpacked if it ends in .gz .xz .bz2 .zst.

  Raises InputError naming the file: here if it cannot be opened, while it is read if it is cut or damaged.
  """
  unpack = {'.gz': _gzip, '.xz': _xz, '.bz2': _bzip2, '.zst': _zstandard}
  ending = next((e for e in PACKED if path.lower().endswith(e)), None)
  try:
    raw = open(path, 'rb', buffering=_CHUNK)  # noqa: SIM115 closed with the stream
  except OSError as error:
    raise InputError(f'{path}: cannot be opened: {error.strerror}') from None
  if ending is None:
    return raw
  return io.BufferedReader(_Stream(_unpacked(path, raw, unpack[ending])), _CHUNK)


def _unpacked(path, raw, unpack):
  with raw:
    try:
      yield from unpack(raw)
    except EOFError:
      raise InputError(f'{path}: the file is cut: its compressed data ends early; copy it again') from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
      raise InputError(f'{path}: its compressed data is damaged ({error}); copy it again') from None


def _gzip(raw):
  return _pieces(gzip.GzipFile(fileobj=raw))


def _xz(raw):
  return _pieces(lzma.LZMAFile(raw))


def _bzip2(raw):
  return _pieces(bz2.BZ2File(raw))


def _pieces(stream):
  return iter(lambda: stream.read(_CHUNK), b'')


def _zstandard(raw):
  """Frame by frame, since zstandard's own stream reader takes a cut frame for a finished one."""
  try:
    import zstandard
  except ImportError:
    raise InputError(f'{raw.name}: needs a library: pip install zstandard') from None
  engine = None
  while data := raw.read(1 << 14):  # little at a time: what comes out of it is not bounded otherwise
    while data:
      engine = engine or zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
      try:
        yield engine.decompress(data)
      except zstandard.ZstdError as error:
        raise OSError(error) from None
      data, engine = (engine.unused_data, None) if engine.eof else (b'', engine)
  if engine:
    raise EOFError


def open_text(path, charset='', newline='\n'):
  """The text of a file as a stream; bytes that are no text stay in it for `undecodable` to tell.

  `charset` '' is guessed from the beginning. Raises as `open_bytes` does.
  """
  stream = open_bytes(path)
  start = stream.peek(_CHUNK)[:_CHUNK]
  charset = known(charset) if charset else guess(start)
  if charset == 'utf-8' and start.startswith(codecs.BOM_UTF8):
    charset = 'utf-8-sig'
  return io.TextIOWrapper(stream, charset, 'surrogateescape', newline)


def lines(path, charset='', newline='\n'):
  """Yields the lines of a file's text (see `open_text`), one at a time in memory."""
  with open_text(path, charset, newline) as text:
    try:
      for line in text:
        # Half a character at the very end is no reason to refuse what goes before it.
        yield line if line.endswith('\n') else _HALF.sub('', line)
    except UnicodeDecodeError as error:  # UTF-16 and the like, which cannot keep what they do not know
      raise InputError(f'{path}: not {error.encoding}: {error.reason}; name its charset') from None


def undecodable(text):
  """'' or what is wrong: the first byte in a text from `open_text` that its charset does not have."""
  if text.isascii():
    return ''
  try:
    text.encode()
  except UnicodeEncodeError as error:
    byte = ord(text[error.start]) & 0xFF
    return f'byte 0x{byte:02x} after {error.start} characters is not of its charset; mend it, or name that'
  return ''


def scrub(value):
  """The value with U+FFFD for every half of a surrogate pair in its strings (from JSON's \\ud83d)."""
  if isinstance(value, str):
    return _SURROGATE.sub('\ufffd', value)
  if isinstance(value, list):
    return [scrub(v) for v in value]
  if isinstance(value, dict):
    return {scrub(k): scrub(v) for k, v in value.items()}
  return value


def known(charset):
  """Python's name for a charset, of the larger set where files mean that. Raises InputError."""
  try:
    bytes(4).decode(charset)  # refuses base64 and its like, which are no charsets
    name = codecs.lookup(charset).name
  except (LookupError, ValueError):
    raise InputError(f'charset={charset!r}: no such charset; e.g. utf-8, gb18030, big5, utf-16') from None
  return _LARGER.get(name, name)


def guess(data):
  """The charset of bytes that may end in half a character: its byte-order mark, UTF-8 or GB18030.

  UTF-8 with a few broken bytes stays UTF-8: GB18030 would take it, and make other characters of it.
  """
  for mark, name in _BOMS:
    if data.startswith(mark):
      return name
  try:
    data.decode()
    return 'utf-8'
  except UnicodeDecodeError as error:
    if error.reason in _CUT and (error.start >= 100 or not data[: error.start].isascii()):
      return 'utf-8'
  # Of GB18030 taken for UTF-8 nearly all is broken, and next to nothing is a character of three bytes.
  text = data.decode('utf-8', 'replace')
  wide = len(text) - len(_WIDE.sub('', text))
  return 'utf-8' if 2 * wide >= text.count('\ufffd') else 'gb18030'


def decode(data, charset='', where='text'):
  """(text, name of its charset): that which is asked for, else byte-order mark → UTF-8 → GB18030.

  All of them strict; half a character at the very end is left out. NUL and U+FFFD stay as they are.
  Raises InputError with `where` and the offset of the first wrong byte.
  """
  name = known(charset) if charset else guess(data)
  try:
    text = data.decode(name)
  except UnicodeDecodeError as error:
    start = error.start
    if error.reason not in _CUT or len(data) - start > 3:
      raise InputError(
        f'{where}: byte {start} (0x{data[start]:02x}) is not {name}; name its charset, or mend the file'
      ) from None
    text = data[:start].decode(name)
  return text.removeprefix('\ufeff'), name.removesuffix('-sig')
