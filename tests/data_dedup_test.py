"""Near-duplicates: found, in whatever order they come, and never on two sides of a split."""

import random

import numpy as np
import pytest

from zhlm.data import dedup

WORDS = '春夏秋冬山水花鸟风雨雷电日月星云东西南北红黄蓝绿大小多少'


def texts(count, length=60, seed=0):
  draw = random.Random(seed)
  return [''.join(draw.choices(WORDS, k=length)) for _ in range(count)]


def test_copies_go_and_others_stay():
  own = texts(300)
  near = [text[:30] + '啊' + text[31:] for text in own[:100]]  # 5 of 56 windows differ
  ids = [f'{i:04}' for i in range(400)]
  kept, cluster = dedup.dedup(ids, own + near)
  assert kept[:300].all()
  assert kept[300:].sum() <= 2
  assert sum(cluster[300 + i] == ids[i] for i in range(100)) >= 98


def test_short_texts_that_share_a_phrase_are_no_duplicates():
  own = [f'这是什么东西：{text}' for text in texts(300, length=8)]
  assert dedup.dedup([str(i) for i in range(300)], own)[0].all()


def test_the_order_does_not_matter():
  ids = [f'{i:04}' for i in range(200)]
  both = list(zip(ids, texts(150) + texts(50), strict=True))
  wanted = dict(zip(ids, zip(*dedup.dedup(*zip(*both, strict=True)), strict=True), strict=True))
  random.Random(1).shuffle(both)
  ids, shuffled = zip(*both, strict=True)
  assert dict(zip(ids, zip(*dedup.dedup(ids, shuffled), strict=True), strict=True)) == wanted


def test_signatures_estimate_the_jaccard_index():
  text = texts(1, length=2000)[0]
  a, b = text[:1500], text[500:]
  alike = float(np.mean(np.equal(*dedup.signatures([a, b]))))
  assert abs(alike - 0.5) < 0.15


def test_a_group_is_one_cluster_but_keeps_its_texts():
  kept, cluster = dedup.dedup(['a', 'b', 'c'], texts(3), groups=['g', 'h', 'g'])
  assert kept.all()
  assert cluster == ['a', 'b', 'a']


def test_texts_below_a_window_and_no_text_at_all():
  assert dedup.dedup(['a', 'b', 'c'], ['好', '好', ''])[0].tolist() == [True, False, True]
  assert dedup.dedup([], [])[1] == []
  with pytest.raises(ValueError, match='differ'):
    dedup.dedup(['a', 'a'], ['好', '坏'])


def test_a_split_keeps_its_members_when_data_grows():
  splits = [dedup.split_of(i, seed=0, test=0.2, validation=0.1) for i in range(2000)]
  assert [dedup.split_of(i, 0, 0.2, 0.1) for i in range(1000)] == splits[:1000]
  assert abs(splits.count('test') / 2000 - 0.2) < 0.03
