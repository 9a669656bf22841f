"""Lines of many documents go from all of them, the same ones in any order and with any memory."""

import random
from collections import Counter

import numpy as np
import pytest

from zhlm.corpus import hashing, lines
from zhlm.errors import InputError

MENU = '首页新闻体育财经娱乐科技'


def only(line, min_characters=6):
  """The hash of one line, None when it is not compared."""
  found = lines.hashes(line, min_characters).tolist()
  assert len(found) <= 1
  return found[0] if found else None


def text_of(draw, count):
  """Lines of which some come often."""
  return '\n'.join(''.join(draw.choices('一二三四', k=draw.choice([3, 4, 9]))) for _ in range(count))


def saved(folder, texts, shards, min_characters=3):
  paths = [str(folder / f'{i}.npy') for i in range(shards)]
  for path, part in zip(paths, np.array_split(np.arange(len(texts)), shards), strict=True):
    found = [lines.hashes(texts[i], min_characters) for i in part]
    np.save(path, np.sort(np.concatenate([np.zeros(0, np.uint64), *found])))
  return paths


def test_lines_are_compared_by_their_letters_alone():
  same = [
    '浏览次数（12）Home',
    '浏览次数: 3045 home',
    '\t浏 览 次 数 —— ＨＯＭＥ ——',
    '【浏览】次数home9\r',
  ]
  assert len({only(line, 4) for line in same}) == 1
  other = ['浏览次数homes', '浏览人数home', 'home浏览次数', '览浏次数home', '浏览次数']
  assert len({only(line, 4) for line in same + other}) == 1 + len(other)


def test_a_line_of_few_han_characters_is_left_alone():
  for line in ('', '------------', 'import numpy as np  # 数组', '| 1 | 2 | 3 |', '他说：“是的。”'):
    assert only(line) is None
  assert only('他说：“是的吗。”', 5) == only('他说是的吗', 5) != only('他说是的呢', 5)
  assert only('他说是的吗', 5) and only('他说是的吗') is None


def test_a_document_counts_once_for_a_line():
  text = f'{MENU}\n{MENU}（2）\n正文在这里写了很多的字'
  found = lines.hashes(text, 6)
  assert len(found) == 2 and found.tolist() == sorted(found.tolist())


def test_frequent_lines_are_those_of_a_plain_count(tmp_path):
  draw = random.Random(0)
  texts = [text_of(draw, draw.randrange(12)) for _ in range(200)] + ['']
  count = Counter(line for text in texts for line in {line for line in text.split('\n') if line})
  for at_least in (1, 2, 9, 500):
    wanted = sorted(only(line, 3) for line, n in count.items() if n >= at_least)
    for shards, memory in ((1, 1 << 20), (5, 1 << 20), (5, 1_000)):
      assert lines.frequent(saved(tmp_path, texts, shards), at_least, memory).tolist() == wanted
  assert lines.frequent([], 2).tolist() == []


def test_counts_of_a_range_are_whole_in_any_memory(tmp_path):
  """The smallest and the largest hash too, and one that fills a file."""
  a = np.array([0, 0, 7, 2**63, 2**64 - 1], np.uint64)
  np.save(tmp_path / 'a.npy', a)
  np.save(tmp_path / 'b.npy', np.full(1_000, 7, np.uint64))
  np.save(tmp_path / 'c.npy', a[:0])
  paths = [str(tmp_path / f'{name}.npy') for name in 'abc']
  for memory in (2_000, 1 << 20):
    found = [pair for part in lines.counted(paths, memory) for pair in zip(*map(list, part), strict=True)]
    assert found == [(0, 2), (7, 1_001), (2**63, 1), (2**64 - 1, 1)]


def test_frequent_lines_are_taken_out_and_counted():
  frequent = np.sort(lines.hashes(f'{MENU}\n版权所有，翻印必究！', 6))
  text = f'{MENU}1\n\n第一段在这里，很长。\n\n{MENU}2\n\n第二段在这里。\n版权所有 翻印必究'
  assert lines.strip(text, frequent, 6) == ('第一段在这里，很长。\n\n第二段在这里。', 3)
  assert lines.strip(f'{MENU}\n{MENU}', frequent, 6) == ('', 2)


def test_a_text_without_frequent_lines_comes_back_as_it_is():
  text = '\n\n第一段在这里，很长。\n\n\n\n第二段在这里。\n'
  for frequent in (np.zeros(0, np.uint64), lines.hashes(MENU, 6)):
    assert lines.strip(text, frequent, 6) == (text, 0)
  assert lines.strip('', lines.hashes(MENU, 6), 6) == ('', 0)


def test_long_texts_lose_the_same_lines_as_short_ones(monkeypatch):
  draw = random.Random(1)
  texts = [text_of(draw, draw.randrange(40)) for _ in range(60)]
  texts += [
    text + end for text in texts[:20] for end in ('\n', '\n\n', f'\n{"长" * 300}', f'{"长" * 70}\n一二三四')
  ]
  frequent = np.sort(np.concatenate([lines.hashes(a + b, 3) for a in '一二' for b in ('三四', '二三')]))
  wanted = [lines.strip(text, frequent, 3) for text in texts]
  assert sum(removed for _, removed in wanted) > 50
  monkeypatch.setattr(lines, '_BLOCK', 64)
  assert [lines.strip(text, frequent, 3) for text in texts] == wanted


def test_a_line_as_long_as_a_block_is_not_compared(monkeypatch):
  monkeypatch.setattr(lines, '_BLOCK', 64)
  long = '长' * 65
  assert lines.hashes(f'{long}\n{MENU}\n{long}', 6).tolist() == [only(MENU)]


def test_a_damaged_file_is_named(tmp_path):
  path = saved(tmp_path, [MENU] * 3, 1)[0]
  with open(path, 'r+b') as file:
    file.truncate(130)
  with pytest.raises(InputError, match=r'0\.npy: damaged'):
    lines.frequent([path], 2)


def test_what_is_there_is_found():
  there = np.array([1, 5, 2**64 - 1], np.uint64)
  assert lines.contains(there, np.array([0, 1, 5, 6, 2**64 - 1], np.uint64)).tolist() == [0, 1, 1, 0, 1]
  assert lines.contains(there[:0], there).tolist() == [False] * 3
  assert hashing.codes('').tolist() == []
