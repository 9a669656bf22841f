"""Hashes of 64 bits that are the same in every process, on every machine, in every run.

No Python `hash()` (it is salted per process), no numpy random streams (they may change with numpy).
"""

import functools
import hashlib
import unicodedata

import numpy as np

MULTIPLIER = 0x9E3779B97F4A7C15  # odd, 2^64 over the golden ratio


def key(text, kind=b''):
  """The hash of a text as an int of 64 bits; another one for each `kind` (bytes, at most 16)."""
  digest = hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8, person=kind)
  return int.from_bytes(digest.digest(), 'little')


def mix(x):
  """uint64 -> uint64, one to one: every bit of the input reaches every bit of the output (splitmix64)."""
  x = x ^ (x >> np.uint64(30))
  x *= np.uint64(0xBF58476D1CE4E5B9)
  x ^= x >> np.uint64(27)
  x *= np.uint64(0x94D049BB133111EB)
  x ^= x >> np.uint64(31)
  return x


def codes(text):
  """uint32[characters]: code points, lone surrogates too."""
  return np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), '<u4')


@functools.cache
def _plain():
  """uint32[65536]: what each character of the basic plane is compared as, 0 for not at all."""
  out = np.zeros(0x10000, np.uint32)
  for code in range(0x10000):
    lower = unicodedata.normalize('NFKC', chr(code)).lower()
    if len(lower) == 1 and lower.isalnum():
      out[code] = ord(lower)
  return out


def plain(code):
  """uint32[characters]: letters and digits in lower case and half width, 0 for spaces and punctuation.

  What stands above the basic plane (rare Han, emoji) is compared as it is.
  """
  return np.where(code < 0x10000, _plain()[code & 0xFFFF], code)


def han(plain):
  """bool[characters]: Chinese characters, and what stands above the basic plane."""
  return ((plain >= 0x3400) & (plain <= 0x9FFF)) | (plain >= 0x10000)


@functools.cache
def _powers(count):
  """uint64[count]: the multiplier to the power of 0, 1, …"""
  return np.cumprod(np.append(np.uint64(1), np.full(count - 1, MULTIPLIER, np.uint64)))


def sequences(values, first):
  """uint64[len(first)]: a hash of each stretch of uint32 values that starts at an index in `first`."""
  values = values.astype(np.uint64)
  if len(first) < len(values):  # else each is one character
    place = np.arange(len(values))
    place -= np.repeat(first, np.diff(first, append=len(values)))
    values *= _powers(1 << len(values).bit_length())[place]
    values = np.add.reduceat(values, first)
  return mix(values)


def windows(values, n):
  """uint64[len - n + 1]: a hash of every n neighbours, from uint64 values that are hashes themselves.

  Windows of 1, 2, 4, … are put together to the n wanted, so that the work grows with log n only.
  """
  part, size, out, done = values, 1, None, 0
  while True:
    if n & size:
      out = part if out is None else _join(out, part, done, size)
      done += size
    if done == n:
      return out if n > 1 else values.copy()
    part, size = _join(part, part, size, size), 2 * size


def _join(left, right, size, right_size):
  """Hashes of a window and the window of `right_size` values after it."""
  count = max(0, min(len(left), len(right) - size))
  joined = left[:count] * np.uint64(pow(MULTIPLIER, right_size, 2**64))
  joined += right[size : size + count]
  return joined
