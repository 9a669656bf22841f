"""Near-duplicates: found, in whatever order they come, and never on two sides of a split."""

import itertools
import random
from collections import defaultdict

import numpy as np
import pytest

from zhlm.corpus import dedup, hashing
from zhlm.errors import InputError

WORDS = '春夏秋冬山水花鸟风雨雷电日月星云东西南北红黄蓝绿大小多少'


def texts(count, length=60, seed=0):
  draw = random.Random(seed)
  return [''.join(draw.choices(WORDS, k=length)) for _ in range(count)]


def document(id, text, **more):
  return {'id': id, 'kind': 'document', 'text': text, **more}


def saved(folder, sketches, shards=1):
  """Paths of .npy files, of which the last is empty."""
  paths = [str(folder / f'{i}.npy') for i in range(shards + 1)]
  for path, part in zip(paths, [*np.array_split(sketches, shards), sketches[:0]], strict=True):
    np.save(path, part)
  return paths


def verdicts(folder, items):
  """[(reason, cluster, size)] of items in their order; a cluster is known by an id."""
  result = dedup.resolve(saved(folder, dedup.sketch(items), shards=2))
  ids = {hashing.key(item['id']): item['id'] for item in items}
  found = dedup.find(result, np.array(list(ids), np.uint64))
  reasons = [dedup.REASONS[r] for r in found['reason']]
  return list(
    zip(reasons, [ids[c] for c in found['cluster'].tolist()], found['size'].tolist(), strict=True)
  )


def least(*ids):
  return min(ids, key=hashing.key)


def test_copies_go_and_others_stay(tmp_path):
  own = texts(300)
  near = [text[:30] + '啊' + text[31:] for text in own[:100]]  # 5 of 56 windows differ
  found = verdicts(tmp_path, [document(f'{i:04}', text) for i, text in enumerate(own + near)])
  assert all(found[i][0] == 'kept' for i in range(100, 300))
  pairs = [{found[i][0], found[300 + i][0]} for i in range(100)]
  assert pairs.count({'kept', 'near_duplicate'}) >= 98
  assert (
    sum(
      found[i][1:] == found[300 + i][1:] == (least(f'{i:04}', f'{300 + i}'.zfill(4)), 2) for i in range(100)
    )
    >= 98
  )


def test_short_texts_that_share_a_phrase_are_no_duplicates(tmp_path):
  own = [f'这是什么东西：{text}' for text in texts(300, length=8)]
  assert {v[0] for v in verdicts(tmp_path, [document(f'{i}', t) for i, t in enumerate(own)])} == {'kept'}


def test_texts_below_a_window_are_compared_whole(tmp_path):
  found = verdicts(
    tmp_path, [document(i, t) for i, t in (('a', '好'), ('b', '好'), ('c', ''), ('d', '坏'))]
  )
  assert sorted(v[0] for v in found[:2]) == ['exact_duplicate', 'kept']
  assert [v[0] for v in found[2:]] == ['kept', 'kept']


def test_the_smallest_key_stays_whatever_its_source(tmp_path):
  found = verdicts(tmp_path, [document(f'{s}/f:{i:04}', t) for s in 'ab' for i, t in enumerate(texts(200))])
  kept = [v[0] == 'kept' for v in found]
  assert np.logical_xor(kept[:200], kept[200:]).all()
  assert 60 < sum(kept[:200]) < 140  # of two equal sources each keeps about half


def test_a_group_is_one_cluster_but_keeps_its_texts(tmp_path):
  items = [document('a', texts(3)[0], group='g'), document('b', texts(3)[1]), document('g', texts(3)[2])]
  items.append(document('c', texts(4)[3], group='g'))
  found = verdicts(tmp_path, items)
  assert [v[0] for v in found] == ['kept'] * 4
  assert [v[1:] for v in found] == [(least('a', 'c'), 2), ('b', 1), ('g', 1), (least('a', 'c'), 2)]


def test_equal_texts_with_different_labels_all_go(tmp_path):
  one, two = texts(2)
  labels = [('a', one, 0), ('b', one, 1), ('c', one, None), ('d', two, 1), ('e', two, 1), ('f', two, None)]
  found = verdicts(tmp_path, [document(i, t, label=label) for i, t, label in labels])
  assert [v[0] for v in found[:3]] == ['label_conflict'] * 3
  assert sorted(v[0] for v in found[3:]) == ['exact_duplicate', 'exact_duplicate', 'kept']


def test_of_preferences_only_exact_copies_go(tmp_path):
  text = texts(1)[0]
  items = [
    {**document(f'{i}', text + end), 'kind': 'preference'} for i, end in enumerate(['', '', '啊', '哦'])
  ]
  found = verdicts(tmp_path, items)
  assert sorted(v[0] for v in found) == ['exact_duplicate', 'kept', 'kept', 'kept']
  assert len({v[1:] for v in found}) == 1  # near ones still share a split


def sketches(count, seed, values=400):
  """Sketches that meet in many buckets, equal texts in all of them."""
  draw = np.random.default_rng(seed)
  out = np.zeros(count, dedup.SKETCH)
  out['key'] = draw.permutation(10 * count)[:count]
  out['exact'] = draw.integers(0, count, count)
  out['bands'] = draw.integers(0, values, (count, 16)) * 16 + np.arange(16)
  out['bands'] = out['bands'][np.unique(out['exact'], return_inverse=True)[1]]
  out['group'] = np.where(draw.random(count) < 0.9, 2**60 + out['key'], draw.integers(0, count // 8, count))
  out['near'], out['label'] = draw.random(count) < 0.8, draw.choice([-1, -1, -1, 0, 1], count)
  return out


def plainly(docs):
  """{key: (reason, cluster, size)} by loops over dictionaries."""
  met = defaultdict(list)
  for doc in docs:
    for kind, value in [('exact', doc['exact']), ('group', doc['group']), *enumerate(doc['bands'])]:
      met[kind, int(value)].append(doc)
  reason, reached = {int(d['key']): 0 for d in docs}, {int(d['key']): {int(d['key'])} for d in docs}
  for (kind, _), members in met.items():
    smallest = min(int(d['key']) for d in members)
    conflict = kind == 'exact' and len({int(d['label']) for d in members} - {-1}) > 1
    for doc in members:
      key = int(doc['key'])
      if conflict:
        reason[key] = 3
      elif kind == 'exact' and key > smallest:
        reason[key] = 1
      elif kind not in ('exact', 'group') and key > smallest and doc['near'] and reason[key] == 0:
        reason[key] = 2
      if reached[key] is not reached[smallest]:
        reached[smallest] |= reached[key]
        for other in reached[key]:
          reached[other] = reached[smallest]
  return {key: (reason[key], min(reached[key]), len(reached[key])) for key in reason}


def test_it_agrees_with_plain_loops_in_any_order_memory_and_number_of_files(tmp_path):
  for seed, values in itertools.product(range(2), (60, 4_000)):
    docs = sketches(150, seed, values)
    result = dedup.resolve(saved(tmp_path, docs, shards=1))
    assert result['key'].tolist() == sorted(docs['key'].tolist())
    found = {k: tuple(v) for k, *v in result.tolist()}
    assert found == plainly(docs)
    assert len(set(v[0] for v in found.values())) == 4
    shuffled = np.random.default_rng(seed).permutation(docs)
    assert np.array_equal(dedup.resolve(saved(tmp_path, shuffled, shards=3), memory=3_000), result)


def test_grouping_by_key_elsewhere_gives_the_same(tmp_path):
  docs = sketches(300, seed=5, values=2_000)
  met = defaultdict(list)
  for bucket, member in dedup.buckets(docs[::-1]):
    met[bucket].append(member)
  joined = np.concatenate([dedup.edges(why, iter(members)) for (why, _), members in met.items()][::-1])
  paths = saved(tmp_path, docs)
  assert np.array_equal(dedup.finish(docs, joined), dedup.resolve(paths))
  before = dedup.resolve(saved(tmp_path, docs[:200]))
  paths = saved(tmp_path, docs)
  assert np.array_equal(dedup.finish(docs, joined, before), dedup.resolve(paths, before=before))


def test_a_chain_loses_all_but_its_smallest_and_is_one_cluster(tmp_path):
  docs = np.zeros(3, dedup.SKETCH)
  docs['key'], docs['exact'], docs['group'] = [7, 8, 9], [1, 2, 3], [1, 2, 3]
  docs['bands'], docs['near'], docs['label'] = np.arange(48).reshape(3, 16), True, -1
  docs['bands'][1, 3], docs['bands'][2, 5] = docs['bands'][0, 3], docs['bands'][1, 5]
  result = dedup.resolve(saved(tmp_path, docs, shards=3))
  assert result.tolist() == [(7, 0, 7, 3), (8, 2, 7, 3), (9, 2, 7, 3)]


def test_a_hundred_thousand_copies_of_one_text_are_one_cluster(tmp_path):
  docs = np.repeat(dedup.sketch([document('a', texts(1)[0])]), 100_001)
  docs['key'] = docs['group'] = np.arange(5, 100_006)
  docs['bands'][-1], docs['exact'][-1] = np.arange(16), 1  # one that is none
  result = dedup.resolve(saved(tmp_path, docs, shards=3))
  assert np.bincount(result['reason']).tolist() == [2, 99_999]
  assert result[0].tolist() == (5, 0, 5, 100_000)
  assert result[-1].tolist() == (100_005, 0, 100_005, 1)


def test_a_growing_corpus_keeps_the_names_of_its_clusters(tmp_path):
  for seed in range(4):
    docs = np.random.default_rng(seed).permutation(sketches(400, seed, values=6_000))
    before = None
    for size in (50, 120, 400):
      paths = saved(tmp_path, docs[:size], shards=2)
      fresh, now = dedup.resolve(paths), dedup.resolve(paths, before=before)
      assert np.array_equal(fresh[['key', 'reason', 'size']], now[['key', 'reason', 'size']])
      if before is not None:
        name = dict(zip(now['key'].tolist(), now['cluster'].tolist(), strict=True))
        old = dict(zip(before['key'].tolist(), before['cluster'].tolist(), strict=True))
        members = defaultdict(set)
        for key, cluster in zip(fresh['key'].tolist(), fresh['cluster'].tolist(), strict=True):
          members[cluster].add(key)
        for cluster, keys in members.items():
          wanted = min((old[key] for key in keys if key in old), default=cluster)
          assert {name[key] for key in keys} == {wanted}
      before = now


def test_equal_ids_are_an_error_that_says_where(tmp_path):
  items = [document(i, text) for i, text in zip('abcdefb', texts(7), strict=True)]
  with pytest.raises(InputError, match=r'ids must differ; 1 .*/0\.npy record 1, .*/2\.npy record 1'):
    dedup.resolve(saved(tmp_path, dedup.sketch(items), shards=3))
  with pytest.raises(InputError, match='ids must differ'):
    dedup.finish(dedup.sketch(items), np.zeros(0, dedup.EDGE))


def test_a_damaged_or_foreign_file_is_named(tmp_path):
  paths = saved(tmp_path, sketches(50, 0))
  with open(paths[0], 'r+b') as file:
    file.truncate(3_000)
  with pytest.raises(InputError, match=r'0\.npy: damaged'):
    dedup.resolve(paths)
  np.save(paths[0], np.zeros(3))
  with pytest.raises(InputError, match=r'0\.npy: holds no sketches'):
    dedup.resolve(paths)
  with pytest.raises(InputError, match=r'9\.npy: damaged.*No such file'):
    dedup.resolve([str(tmp_path / '9.npy')])


def test_no_documents_are_no_error(tmp_path):
  assert len(dedup.resolve(saved(tmp_path, dedup.sketch([])))) == len(dedup.resolve([])) == 0
  result = dedup.resolve(saved(tmp_path, sketches(9, 0)))
  for missing in (min({*range(90)} - {*result['key'].tolist()}), 2**63):
    with pytest.raises(InputError, match='1 documents were not there'):
      dedup.find(result, np.array([result['key'][0], missing], np.uint64))
  assert dedup.find(result, result['key'][::-1]).tolist() == result[::-1].tolist()
