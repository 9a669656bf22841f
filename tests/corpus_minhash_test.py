"""Signatures that tell how alike texts are, whatever their length."""

import random

import numpy as np

from tests.corpus_dedup_test import texts
from tests.corpus_hashing_test import mixed
from zhlm.corpus import hashing, minhash


def test_signatures_estimate_the_jaccard_index():
  text = texts(1, length=2000)[0]
  a, b = text[:1500], text[500:]
  alike = float(np.mean(np.equal(*minhash.signatures([a, b]))))
  assert abs(alike - 0.5) < 0.15


def test_a_text_has_the_same_signature_in_any_company():
  own = ['', '好', '好好', *texts(20, 70), *texts(3, 70_000), '长' * 200_000, texts(1, 65_540)[0]]
  random.Random(0).shuffle(own)
  together = minhash.signatures(own)
  assert np.array_equal(together, np.concatenate([minhash.signatures([text]) for text in own]))
  assert len(minhash.signatures([])) == 0


def test_each_bin_holds_the_smallest_hash_of_all_windows_also_across_blocks(monkeypatch):
  text, least = texts(1, 6_000)[0], {}
  for i in range(len(text) - 4):
    window = 0
    for character in text[i : i + 5]:
      window = (window * hashing.MULTIPLIER + ord(character)) % 2**64
    hashed = mixed(window)
    least[hashed >> 57] = min(least.get(hashed >> 57, 2**64), hashed)
  wanted = [[least[i] for i in range(128)]]
  assert minhash.signatures([text]).tolist() == wanted
  monkeypatch.setattr(minhash, '_BLOCK', 7)
  assert minhash.signatures([text]).tolist() == wanted


def test_a_bucket_of_one_band_is_never_one_of_another():
  bands = minhash.bands(minhash.signatures(['好', '好', *texts(50)]))
  assert np.array_equal(bands[0], bands[1])
  assert len(np.unique(bands[1:])) == 51 * minhash.BANDS
