"""Counting is checked against a plain loop over dicts, and against closed forms."""

import collections
import math
import random

import numpy as np
import pytest

from zhlm.errors import InputError
from zhlm.evals import ngram

TRAIN = ['天地玄黄宇宙洪荒', '天地人和', '人和人', '天天向上', '地']
TEST = ['天地人', '和而不同', '', '人人向上☃']


def plain_probability(train, history, symbol, order):
  """p(symbol | history) from the equation, by recursion and with dicts; None is the end."""
  if order == 0:
    known = set(''.join(train)) | {chr(c) for c in range(0x4E00, 0xA000)}
    return 1 / (len(known) + 1)
  context = tuple((['^'] * order + list(history))[len(history) + 1 :])
  continuations = collections.Counter()
  for text in train:
    symbols = ['^'] * (order - 1) + list(text) + [None]
    for i in range(order - 1, len(symbols)):
      if tuple(symbols[i - order + 1 : i]) == context:
        continuations[symbols[i]] += 1
  total, types = sum(continuations.values()), len(continuations)
  lower = plain_probability(train, history, symbol, order - 1)
  return (continuations[symbol] + types * lower) / (total + types) if total else lower


@pytest.mark.parametrize('order', [1, 2, 3, 4])
def test_bits_are_those_of_a_plain_loop(order):
  bits = 0
  for text in TEST:
    for i, symbol in enumerate([*text, None]):
      bits -= math.log2(plain_probability(TRAIN, text[:i], symbol, order))
  characters = sum(map(len, TEST))
  n_bytes = sum(len(text.encode()) for text in TEST)
  found = ngram.bits_per_character(TRAIN, TEST, orders=(order,))[order]
  np.testing.assert_allclose(found, (bits / characters, bits / n_bytes), rtol=1e-12)


@pytest.mark.parametrize('history', ['', '天', '天地', '洪☃'])
def test_probabilities_of_all_continuations_sum_to_one(history):
  model = ngram.fit(TRAIN, order=3)
  known = sorted({chr(c) for c in range(0x4E00, 0xA000)} | set(''.join(TRAIN)))
  at = len(history)
  ends = ngram.event_probabilities(model, [history])[:, at]
  # Every one-character continuation is a text of its own; its event number `at` is the character.
  all_p = ngram.event_probabilities(model, [history + c for c in known])
  characters = all_p[:, at :: at + 2].sum(axis=1)
  np.testing.assert_allclose(ends + characters, 1, rtol=1e-9)


def test_coin_flips_cost_their_entropy():
  rng = random.Random(0)
  flips = ''.join(rng.choice('正反') for _ in range(200_000))
  bits = ngram.bits_per_character([flips[:100_000]], [flips[100_000:]])
  for order in (1, 2, 3):
    assert bits[order][0] == pytest.approx(1, abs=2e-3)
    assert bits[order][1] == pytest.approx(1 / 3, abs=1e-3)


def test_longer_contexts_learn_longer_patterns():
  # After two characters the third is certain, after one it is not.
  text = '甲乙丙甲丙乙' * 2_000
  bits = ngram.bits_per_character([text], [text[:600]])
  assert bits[1][0] > 1.5 > bits[2][0] > 0.9 > 0.1 > bits[3][0]


def test_documents_do_not_meet():
  together = ngram.bits_per_character(['甲乙', '丙丁'], ['乙丙'])
  swapped = ngram.bits_per_character(['丙丁', '甲乙'], ['乙丙'])
  assert together == swapped


@pytest.mark.parametrize('train, test', [([], ['天']), ([''], ['天']), (['天'], []), (['天'], [''])])
def test_nothing_to_count_is_said(train, test):
  with pytest.raises(InputError, match='no character'):
    ngram.bits_per_character(train, test)
