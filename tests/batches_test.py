"""What is read is everything, once an epoch; batch i is a function of (seed, i) on any number of hosts."""

import collections
import itertools
import multiprocessing
import shutil

import numpy as np
import pytest

from tests import tiny
from zhlm import devices
from zhlm.data import batches as data
from zhlm.errors import InputError


def examples(config, split='train'):
  return data.packed(config, 'pretrain', split, data.concat)


@pytest.mark.parametrize('dataset, how', [('pretrain', data.concat), ('sft', data.best_fit)])
def test_every_target_of_every_document_is_in_one_row(dataset, how, toy):
  config = tiny.config(dataset, toy)
  rows = data.packed(config, dataset, 'train', how)
  got, want = collections.Counter(), collections.Counter()
  for i in range(len(rows)):
    row = rows[i]
    assert {v.shape for v in row.values()} == {(64,)}
    got.update(zip(row['tokens'][row['segments'] > 0], row['targets'][row['segments'] > 0], strict=True))
  for record in rows.source:
    want.update(itertools.pairwise(record['tokens']))
  assert got == want and got.total() > 1_000


def take(source, config, start, count, split='train', B=None):
  return [batch for batch, _, _ in itertools.islice(data.stream(source, config, start, split, B), count)]


def same(a, b):
  assert a.keys() == b.keys()
  for k in a:
    np.testing.assert_array_equal(a[k], b[k])


def test_batch_i_is_a_function_of_the_seed_and_i(toy):
  config = tiny.config('pretrain', toy)
  first = take(examples(config), config, 0, 12)
  for start in (1, 5, 11):
    same(take(examples(config), config, start, 1)[0], first[start])
  other = tiny.config('pretrain', toy, seed=1)
  assert (take(examples(other), other, 0, 1)[0]['tokens'] != first[0]['tokens']).any()


class Numbers:
  """A source whose rows are their own numbers."""

  def __init__(self, n):
    self.n = n

  def __len__(self):
    return self.n

  def __getitem__(self, i):
    return {'i': np.int32(i), 'weights': np.float32(1)}


def test_an_epoch_reads_every_row_once_and_the_next_in_another_order(toy):
  config = tiny.config('pretrain', toy)
  read = np.concatenate([b['i'] for b in take(Numbers(24), config, 0, 9)])
  epochs = read.reshape(3, 24)
  for epoch in epochs:
    assert sorted(epoch) == list(range(24))
  other = take(Numbers(24), tiny.config('pretrain', toy, seed=1), 0, 3)
  orders = [*map(tuple, epochs), tuple(np.concatenate([b['i'] for b in other]))]
  assert len(set(orders)) == 4 and sorted(orders[3]) == list(range(24))


def test_other_splits_are_read_whole_once_in_order_with_fillers_that_weigh_nothing(toy):
  config = tiny.config('pretrain', toy)
  read = take(Numbers(19), config, 0, 100, 'validation')
  rows, weights = (np.concatenate([b[k] for b in read]) for k in ('i', 'weights'))
  assert list(rows[:19]) == list(range(19)) and len(rows) == 24
  assert list(weights) == [1] * 19 + [0] * 5


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_two_hosts_read_the_rows_of_one(split, toy, monkeypatch):
  config = tiny.config('pretrain', toy)
  whole = take(Numbers(40), config, 0, 4, split)
  halves = []
  for host in range(2):
    monkeypatch.setattr(devices, 'host_rows', lambda mesh, B, host=host: [4 * host + i for i in range(4)])
    halves.append(take(Numbers(40), config, 0, 4, split))
  for one, first, second in zip(whole, *halves, strict=True):
    assert [*first['i'], *second['i']] == [*one['i']]


def test_a_split_smaller_than_a_batch_is_refused(toy):
  config = tiny.config('pretrain', toy)
  with pytest.raises(InputError, match='train has 7 rows, fewer than a batch of 8; lower batch.B'):
    take(Numbers(7), config, 0, 1)


def test_ranked_answers_are_padded_side_by_side(toy):
  config = tiny.config('reward', toy)
  ranked = data.Ranked(config, 'train')
  for i in range(5):
    row, record = ranked[i], ranked.source[i]
    C = len(record['ranks'])
    assert row['tokens'].shape == (4, 64) and list(row['lengths'][:C]) == list(record['lengths'])
    said = [row['tokens'][c, : row['lengths'][c]] for c in range(C)]
    np.testing.assert_array_equal(np.concatenate(said), record['tokens'])
    assert (row['tokens'][C:] == 0).all() and (row['lengths'][C:] == 0).all()
    better, worse = np.argmin(record['ranks']), np.argmax(record['ranks'])
    assert row['weights'][better, worse] == 1 == row['weights'].sum()


def test_an_answer_that_is_too_long_weighs_nothing(toy):
  config = tiny.config('reward', toy)
  longest = max(max(r['lengths']) for r in data.Ranked(config, 'train').source)
  config.batch.T = int(longest) - 1
  ranked = data.Ranked(config, 'train')
  i = next(i for i, r in enumerate(ranked.source) if max(r['lengths']) == longest)
  assert ranked[i]['weights'].sum() == 0 and ranked[i]['tokens'].shape == (4, longest - 1)
  whole = data.Ranked(config, 'train', whole=True)
  assert whole[i]['weights'].sum() == 1


def test_prompts_are_whole_and_padded_on_the_right(toy):
  config = tiny.config('ppo', toy, rollout__prompt_tokens=12)
  prompts = data.Prompts(config, 'train')
  lengths = [len(r['tokens']) for r in prompts.source]
  assert len(prompts) == sum(n <= 12 for n in lengths) > 0
  row, record = prompts[0], prompts.source[int(prompts.fitting[0])]
  assert row['tokens'].shape == (12,) and row['lengths'] == len(record['tokens'])
  np.testing.assert_array_equal(row['tokens'][: row['lengths']], record['tokens'])
  assert (row['tokens'][row['lengths'] :] == 0).all()


def test_what_is_not_prepared_says_how_to_prepare_it(toy, tmp_path):
  config = tiny.config('pretrain', tmp_path)
  with pytest.raises(InputError, match="no dataset 'pretrain'.*launch.prepare"):
    data.packed(config, 'pretrain', 'train', data.concat)
  with pytest.raises(InputError, match="no split 'trian'; there are train, validation, test"):
    data.records.open_split(toy / 'data' / 'pretrain', 'trian')


def test_a_split_without_a_row_that_fits_is_refused(toy):
  config = tiny.config('sft', toy, batch__T=2)
  with pytest.raises(InputError, match='no train record within batch.T=2'):
    data.packed(config, 'sft', 'train', data.best_fit)


def test_more_hosts_than_rows_of_an_eval_split_read_fillers(toy, monkeypatch):
  config = tiny.config('pretrain', toy)
  read = []
  for host in range(8):
    monkeypatch.setattr(devices, 'host_rows', lambda mesh, B, host=host: [host])
    read += take(Numbers(3), config, 0, 9, 'test')
  assert [(int(b['i'][0]), float(b['weights'][0])) for b in read][:3] == [(0, 1), (1, 1), (2, 1)]
  assert len(read) == 8 and sum(b['weights'].sum() for b in read) == 3


@pytest.mark.parametrize('workers', [0, 1])
def test_a_damaged_record_stops_with_its_file_and_number(toy, tmp_path, workers):
  folder = shutil.copytree(toy, tmp_path / 'toy')
  path = folder / 'data' / 'pretrain' / 'pretrain-train.array_record-00000-of-00001'
  content = bytearray(path.read_bytes())
  content[5_000] ^= 1
  path.write_bytes(content)
  config = tiny.config('pretrain', folder, data_workers=workers)
  with pytest.raises(InputError, match=f'{path}: record \\d+ is damaged.*run launch.prepare again'):
    take(examples(config), config, 0, 40)


def test_worker_processes_read_the_same_stream_and_a_killed_one_is_told(toy):
  alone, helped = (tiny.config('pretrain', toy, data_workers=n) for n in (0, 2))
  batches = data.stream(examples(helped), helped, 3, 'train')
  for want in take(examples(alone), alone, 3, 5):
    same(next(batches)[0], want)
  for child in multiprocessing.active_children():
    child.kill()
  with pytest.raises(InputError, match='config.data_workers=2 was killed.*run the same command'):
    for _ in range(50):
      next(batches)
