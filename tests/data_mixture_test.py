"""A mixture is arithmetic: shares come out even, no row is skipped, and new weights change no past."""

import collections
import itertools
import json
import shutil
from types import SimpleNamespace

import pytest

from tests import tiny
from tests.batches_test import examples, same, take
from zhlm import devices, disk
from zhlm.data import batches as data
from zhlm.data import manifest, mixture, records, tokenizer
from zhlm.errors import InputError

WEIGHTS = {'a': 0.7, 'b': 0.295, 'c': 0.005}


def places(stages, count, names='abc'):
  mixed = mixture.Mixed(dict.fromkeys(names), stages)
  return [mixed.place(row) for row in range(count)]


def numbers(found):
  """{source: the numbers of its rows, as they come}."""
  out = collections.defaultdict(list)
  for name, number in found:
    out[name].append(number)
  return out


def test_every_source_has_its_share_at_any_time():
  taken = collections.Counter()
  for row, (name, _) in enumerate(places([(0, WEIGHTS)], 3_000), 1):
    taken[name] += 1
    assert all(abs(taken[k] - w * row) < 2 for k, w in WEIGHTS.items())
    if row % mixture.BLOCK == 0:
      assert taken == {k: round(w * row) for k, w in WEIGHTS.items()}


def test_weights_are_rounded_to_rows_of_a_block():
  thirds = {'a': 1 / 3, 'b': 1 / 3, 'c': 1 / 3}
  count = collections.Counter(name for name, _ in places([(0, thirds)], mixture.BLOCK))
  assert sorted(count.values()) == [333, 333, 334]
  uneven = {'a': 0.0014, 'b': 0.0016, 'c': 0.997}  # the largest remainder is rounded up
  assert collections.Counter(name for name, _ in places([(0, uneven)], mixture.BLOCK)) == dict(
    a=1, b=2, c=997
  )


@pytest.mark.parametrize('steps', [(0,), (0, 1_234), (0, 7, 2_500), (0, 1_000, 1_000)])
def test_each_source_goes_on_where_it_was_when_weights_change(steps):
  weights = [WEIGHTS, {'a': 0.1, 'c': 0.9}, {'b': 0.5, 'c': 0.5}]
  stages = list(zip(steps, weights, strict=False))
  for read in numbers(places(stages, 4_000)).values():
    assert read == list(range(len(read)))


def test_new_weights_change_nothing_before_them():
  old, new = places([(0, WEIGHTS)], 1_700), places([(0, WEIGHTS), (1_500, {'c': 1.0})], 1_700)
  assert old[:1_500] == new[:1_500] and {name for name, _ in new[1_500:]} == {'c'}


def config(text, data='runs/x', stage='pretrain'):
  return SimpleNamespace(mixture=text, data=data, stage=stage)


def test_weights_and_updates_are_read():
  assert mixture.parse(config('')) == [(0, {'runs/x': 1.0})]
  stages = [(0, {'gs://b/a': 0.8, 'b': 0.2}), (2_000, {'b': 1.0})]
  assert mixture.parse(config('gs://b/a:0.8 b:0.2 @2000 b:1')) == stages
  assert mixture.parse(config('@0 gs://b/a:.8 b:.2 @2000 b:1')) == stages
  assert mixture.folders(config('b:1 @5 a:.5 b:.5')) == ['b', 'a']


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('a:1 b:0', 'b:0: a weight lies between 0.001 and 1; leave out'),
    ('a:1.5 b:-0.5', 'a:1.5: a weight lies'),
    ('b:-0.5 a:1', 'b:-0.5: a weight lies'),
    ('a:0.9995 b:0.0005', 'b:0.0005: a weight lies'),
    ('a:nan', 'a:nan: a weight lies'),
    ('a:0.5 b:0.4', 'from update 0: the weights sum to 0.9, not to 1'),
    ('a:1 @10 a:0.5', 'from update 10: the weights sum to 0.5'),
    ('a:1 @10', 'from update 10: the weights sum to 0'),
    ('a b', 'a: must be FOLDER:WEIGHT'),
    ('a:much', 'a:much: must be FOLDER:WEIGHT'),
    ('0.5', '0.5: must be FOLDER:WEIGHT'),
    ('a:0.5 a:0.5', 'a:0.5: this folder has a weight already'),
    ('a:1 @10 b:1 @10 a:1', '@10: must come after update 10'),
    ('@5 a:1', '@5: the first weights hold from update 0'),
  ],
)
def test_a_bad_mixture_names_the_word(text, says):
  with pytest.raises(InputError, match=f'^config.mixture: {says}'):
    mixture.parse(config(text))


def prepare(folder, sha256='1'):
  """A folder whose manifest says that much."""
  path = folder / 'data' / 'manifest.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  assert str(path) == manifest.path(folder)
  splits = {'train': {'sha256': sha256}, 'test': {'sha256': 'test'}}
  path.write_text(json.dumps({'datasets': {'pretrain': splits, 'sft': splits, 'ppo': {}}}))
  return str(folder)


def test_weights_may_change_from_where_a_run_stands_and_not_before(tmp_path):
  a, b, c = (prepare(tmp_path / name) for name in 'abc')
  old = config(f'{a}:0.8 {b}:0.2', a)
  then = mixture.contents(old)
  assert then == {a: {'pretrain': '1'}, b: {'pretrain': '1'}}
  mixture.check_resume(old, then, old, 3_000)
  for last in (f'{a}:0.5 {b}:0.5', f'{a}:1', f'{a}:0.1 {b}:0.1 {c}:0.8'):
    mixture.check_resume(old, then, config(f'{old.mixture} @3000 {last}', a), 3_000)
    with pytest.raises(InputError, match='other weights before update 3000') as error:
      mixture.check_resume(old, then, config(last, a), 3_000)
    advice = str(error.value).split("--config.mixture='")[1].rstrip("'")
    mixture.check_resume(old, then, config(advice, a), 3_000)
    assert mixture.parse(config(advice))[-1] == mixture.parse(config(f'{a}:1 @3000 {last}'))[-1]
  with pytest.raises(InputError, match=f"--config.mixture='{a}:1 @7 {b}:1'"):
    mixture.check_resume(config('', a), {}, config(f'{b}:1', a), 7)


def test_data_prepared_anew_under_a_checkpoint_stop_the_run(tmp_path):
  a, b = (prepare(tmp_path / name) for name in 'ab')
  run = config(f'{a}:0.5 {b}:0.5', a)
  then = mixture.contents(run)
  prepare(tmp_path / 'b', sha256='2')
  with pytest.raises(InputError, match=f'{b} was prepared anew'):
    mixture.check_resume(run, then, run, 10)
  assert mixture.contents(config('', a, 'my.own.stage')) == {a: {'pretrain': '1', 'sft': '1'}}
  assert mixture.contents(config('', str(tmp_path / 'none'))) == {}


@pytest.fixture(scope='module')
def two(toy, tmp_path_factory):
  """Two prepared folders of one tokenizer: documents of even tokens, and of odd ones."""

  def make(name, first):
    folder = tmp_path_factory.mktemp(name)
    shutil.copytree(toy / 'tokenizer', folder / 'tokenizer')
    texts = [{'tokens': [first + 2 * i] * 65, 'characters': 1, 'bytes': 1} for i in range(20 + first)]
    shard = records.write_shard(str(folder / 'shard'), 'pretrain', texts)
    splits = records.write_dataset(str(folder / 'data' / 'pretrain'), 'pretrain', {'train': [shard]})
    about = json.loads((toy / 'data' / 'manifest.json').read_text()) | {'datasets': {'pretrain': splits}}
    (folder / 'data' / 'manifest.json').write_text(json.dumps(about))
    assert manifest.read(folder)
    return str(folder)

  return make('even', 0), make('odd', 1)


def firsts(batches):
  """The first token of each row, batch by batch."""
  return [list(b['tokens'][:, 0]) for b in batches]


def test_a_mixture_reads_each_source_once_an_epoch_in_its_share(two):
  even, odd = two
  config = tiny.config('pretrain', even, mixture=f'{even}:0.75 {odd}:0.25 @8 {even}:0.25 {odd}:0.75')
  read = firsts(take(examples(config), config, 0, 40))
  for step, row in enumerate(read):
    assert sum(token % 2 for token in row) == (2 if step < 8 else 6)
  for parity, count in ((0, 20), (1, 21)):
    rows = [token for token in itertools.chain(*read) if token % 2 == parity]
    for begin in range(0, len(rows) - count, count):
      assert sorted(rows[begin : begin + count]) == list(range(parity, 2 * count, 2))


def test_a_mixture_of_one_is_that_source(two):
  alone, mixed = (tiny.config('pretrain', two[0], mixture=m) for m in ('', f'{two[0]}:1'))
  for a, b in zip(take(examples(alone), alone, 3, 9), take(examples(mixed), mixed, 3, 9), strict=True):
    same(a, b)


def test_a_mixture_goes_on_from_any_step_on_any_number_of_hosts(two, monkeypatch):
  even, odd = two
  config = tiny.config('pretrain', odd, mixture=f'{even}:0.6 {odd}:0.4 @5 {odd}:1')
  whole = take(examples(config), config, 0, 9)
  for start in (1, 5, 7):
    same(take(examples(config), config, start, 1)[0], whole[start])
  for hosts in (2, 4, 8):
    parts = []
    for host in range(hosts):
      mine = range(8 * host // hosts, 8 * (host + 1) // hosts)
      monkeypatch.setattr(devices, 'host_rows', lambda mesh, B, mine=mine: mine)
      parts.append(firsts(take(examples(config), config, 3, 6)))
    for one, *shares in zip(whole[3:], *parts, strict=True):
      assert {len(share) for share in shares} == {8 // hosts}
      assert sorted(itertools.chain(*shares)) == sorted(one['tokens'][:, 0])


def test_where_one_batch_serves_several_updates_new_weights_wait_for_the_next(two):
  even, odd = two
  config = tiny.config('pretrain', even, mixture=f'{even}:1 @5 {odd}:1')
  batches = data.stream(examples(config), config, 0, 'train', period=4)  # updates 0, 4, 8 begin a batch
  found = firsts(batch for batch, _, _ in itertools.islice(batches, 3))
  assert [{token % 2 for token in row} for row in found] == [{0}, {0}, {1}]


def test_only_training_is_mixed(two, toy):
  config = tiny.config('pretrain', toy, mixture=f'{two[0]}:1')
  same(examples(config, 'test')[0], examples(tiny.config('pretrain', toy), 'test')[0])


def test_folders_that_cannot_be_mixed_are_named(two, toy, tmp_path):
  config = tiny.config('pretrain', toy, mixture=f'{toy}:0.5 {tmp_path}/gone:0.5')
  with pytest.raises(InputError, match="no dataset 'pretrain' in .*gone; make it with"):
    examples(config)
  other = shutil.copytree(two[0], tmp_path / 'other')
  model = other / 'tokenizer' / 'tokenizer.model'
  tokenizer.train(['别的字，别的词。'] * 9, str(model), 270, 1.0)
  about = json.loads((other / 'data' / 'manifest.json').read_text())
  about['tokenizer_sha256'] = disk.sha256(str(model))
  (other / 'data' / 'manifest.json').write_text(json.dumps(about))
  config = tiny.config('pretrain', toy, mixture=f'{toy}:0.5 {other}:0.5')
  with pytest.raises(InputError, match='other was prepared with another tokenizer than .*toy'):
    examples(config)
  config = tiny.config('pretrain', two[0], mixture=f'{two[0]}:0.5 {two[1]}:0.5', batch__B=64)
  with pytest.raises(InputError, match="stage 'pretrain' reads .*even0 alone, not .*odd0"):
    take(examples(config)[two[0]], config, 0, 1)
  with pytest.raises(InputError, match='train has 20 rows, fewer than a batch of 32; lower batch.B'):
    take(examples(config), config, 0, 1)
