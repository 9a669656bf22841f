"""Word rules mean what datatrove's mean: the vectorised measures equal plain loops over the words."""

import math
import random
import sys
from collections import Counter

import numpy as np
import pytest

from zhlm.clean import words
from zhlm.errors import InputError


def top(listed, n, size):
  """Length of the most frequent n-gram joined by blanks times its count, over the characters."""
  grams = [' '.join(listed[i : i + n]) for i in range(len(listed) - n + 1)]
  if not grams:
    return 0
  most = max(map(grams.count, grams))
  first = next(gram for gram in grams if grams.count(gram) == most)
  return len(first) * most / size


def duplicate(listed, n, size, length=len):
  """Reading on: an n-gram read before counts all its characters, and is stepped over."""
  read, i, total = [], 0, 0
  while i + n <= len(listed):
    gram = listed[i : i + n]
    if gram in read:
      total += sum(map(length, gram))
      i += n
    else:
      read.append(gram)
      i += 1
  return total / size


SOME = (
  '我们',
  '的',
  '天气',
  '，',
  '好',
  '...',
  'word',
  '3.14',
  ' ',
  '\n',
  '公园',
  '#',
  '人',
  '…',
  '·',
  '年',
)


def texts(count, seed=0):
  """Random texts over few words, with phrases that return; with blanks and signs."""
  draw = random.Random(seed)
  for i in range(count):
    parts = draw.choices(SOME[: 2 + i % len(SOME)], k=draw.choice((0, 1, 2, 5, 12, 60, 150)))
    for _ in range(draw.randrange(4) if parts else 0):
      first = draw.randrange(len(parts))
      parts += parts[first : first + draw.randrange(30)]
    yield ''.join(parts)


def in_order(text):
  distinct, ids = words.index(text)
  return [distinct[i] for i in ids]


def test_words_are_rjiebas_without_blanks():
  import rjieba

  for text in texts(40):
    assert in_order(text) == [w.strip() for w in rjieba.cut(text) if w.strip()]
  assert in_order('今天天气很好 ，\n我们去公园。') == [
    '今天天气',
    '很',
    '好',
    '，',
    '我们',
    '去',
    '公园',
    '。',
  ]


def test_ngram_shares_equal_plain_loops():
  repeated = Counter()
  for text in texts(300):
    distinct, ids = words.index(text)
    shares, listed = words.repeats(text, distinct, ids), in_order(text)
    wanted = {f'top_{n}gram': top(listed, n, len(text)) for n in (2, 3, 4)} if text else {}
    wanted |= {f'dup_{n}gram': duplicate(listed, n, len(text)) for n in range(5, 11)} if text else {}
    for name, share in wanted.items():
      assert shares[name] == pytest.approx(share), (name, text)
      repeated[name] += share > 0
  assert min(repeated.values()) > 50  # the texts do repeat themselves


def test_ngrams_of_random_word_numbers_equal_plain_loops():
  draw = np.random.default_rng(0)
  for size in (1, 3, 9, 10, 11, 200):
    for kinds in (1, 2, 3, 40):
      ids = draw.integers(0, kinds, size)
      distinct = [f'{i}' * (1 + i % 3) for i in range(kinds)]
      shares = words.repeats('x' * 1000, distinct, ids)
      for n in range(5, 11):
        wanted = duplicate(ids.tolist(), n, 1000, lambda i, d=distinct: len(d[i]))
        assert shares[f'dup_{n}gram'] == pytest.approx(wanted), (size, kinds, n)


def test_the_top_word_is_chinese_and_no_long_name():
  text = '中华人民共和国 中华人民共和国 university university 天气'
  assert '中华人民共和国' in words.index(text)[0]
  assert words.count(text, *words.index(text))['top_word'] == pytest.approx(2 / 36)


def test_counts_equal_plain_loops():
  stop = set('的年在月是和日了於·為有被人中为他與後也而由')
  for text in texts(200, seed=1):
    listed = in_order(text)
    counts = words.count(text, *words.index(text))
    if not listed:
      assert set(counts.values()) == {0}
      continue
    n, real = len(listed), [w for w in listed if any(c.isalnum() for c in w)]
    chinese = [w for w in listed if 2 <= len(w) <= 4 and all('一' <= c <= '鿿' for c in w)]
    assert counts == pytest.approx(
      {
        'words': len(real),
        'mean_word': sum(map(len, real)) / len(real) if real else 0,
        'hashes': text.count('#') / n,
        'ellipses': (text.count('...') + text.count('…')) / n,
        'alpha_words': sum(any(c.isalpha() for c in w) for w in listed) / n,
        'stop_words': len(stop & set(listed)),
        'new_lines': text.count('\n') / n,
        'entropy': -sum(c / n * math.log(c / n) for c in Counter(listed).values()),
        'top_word': max((listed.count(w) * len(w) for w in chinese), default=0) / sum(map(len, listed)),
      }
    )


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('体操你喜欢吗？', ''),  # across the border of 体操 and 你
    ('我操你，真是的', '操你'),
    ('体操你喜欢吗？操你', '操你'),
    ('操你', '操你'),
    ('天气很好', ''),
    ('', ''),
  ],
)
def test_a_listed_word_is_found_only_as_a_word(text, wanted):
  assert words.found(text, ['傻逼', '操你']) == wanted


def test_without_the_library_the_way_to_get_it_is_told(monkeypatch):
  monkeypatch.setitem(sys.modules, 'rjieba', None)
  with pytest.raises(InputError, match='pip install rjieba'):
    words.index('好')
