"""Hashes that any process on any machine computes alike, checked against plain integers."""

import hashlib
import random

import numpy as np

from zhlm.corpus import hashing

M = 2**64


def mixed(x):
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % M
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB % M
  return x ^ (x >> 31)


def test_a_key_is_the_hash_that_everybody_has():
  assert hashing.key('好') == int.from_bytes(
    hashlib.blake2b('好'.encode(), digest_size=8).digest(), 'little'
  )
  assert hashing.key('好', b'group') != hashing.key('好')
  assert 0 <= hashing.key('\ud800') < M  # half a surrogate pair is no reason to stop


def test_windows_of_any_width_are_polynomials():
  draw = random.Random(0)
  values = [draw.randrange(M) for _ in range(40)]
  for n in (1, 2, 3, 5, 13, 16, 40):
    wanted = [
      sum(v * pow(hashing.MULTIPLIER, n - 1 - j, M) for j, v in enumerate(values[i : i + n])) % M
      for i in range(40 - n + 1)
    ]
    assert hashing.windows(np.array(values, np.uint64), n).tolist() == wanted
  assert len(hashing.windows(np.zeros(4, np.uint64), 5)) == 0


def test_sequences_know_their_order_and_their_length():
  values = [draw % 50 + 1 for draw in range(30)]
  first = [0, 1, 2, 7, 8, 29]
  parts = [values[a:b] for a, b in zip(first, [*first[1:], 30], strict=True)]
  wanted = [mixed(sum(v * pow(hashing.MULTIPLIER, i, M) for i, v in enumerate(p)) % M) for p in parts]
  code = np.array(values, np.uint32)
  assert hashing.sequences(code, np.array(first)).tolist() == wanted
  assert hashing.sequences(code, np.arange(30)).tolist() == [mixed(v) for v in values]
  assert hashing.sequences(code[:3], np.array([0, 2])).tolist() == [
    mixed((values[0] + values[1] * hashing.MULTIPLIER) % M),
    mixed(values[2]),
  ]
  assert len(hashing.sequences(code[:0], np.zeros(0, int))) == 0


def test_only_letters_and_digits_are_compared():
  plain = hashing.plain(hashing.codes('Ａb，１ 。\n㈱é𠮷'))
  assert plain.tolist() == [*map(ord, 'ab'), 0, ord('1'), 0, 0, 0, 0, ord('é'), ord('𠮷')]
  assert hashing.han(plain).tolist() == [False] * 9 + [True]
  assert hashing.han(hashing.plain(hashing.codes('山ひ'))).tolist() == [True, False]
