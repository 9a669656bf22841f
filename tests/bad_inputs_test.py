"""What is wrong with an input, a disk or a process is told by name, and never taken for finished.

Longer than most files: one place to look for the whole chain's bad inputs."""

import gzip
import itertools
import json
import os
import random
import resource
import shutil
import signal
import threading
import time
from multiprocessing import active_children

import pytest
import zstandard

from tests.corpus_prepare_test import hashes, manifest_hashes, quiet, rows
from tests.launch_test import one_line, start
from tests.toy import make_toy, toy_config, write_jsonl
from zhlm.corpus import cache
from zhlm.data import manifest, records
from zhlm.errors import InputError

THINGS = '山水月日云花草木石雨风雪灯门书'


@pytest.fixture(scope='module')
def calm(tmp_path_factory):
  """A folder that was prepared undisturbed; `calm/toy.jsonl` is its source."""
  return make_toy(str(tmp_path_factory.mktemp('calm')), count=60)


def source_of(calm):
  return os.path.join(calm, 'toy.jsonl')


def lines(path, numbers, wrong=()):
  """A file of short texts, with some wrong lines after them."""
  texts = (f'第{i}天的{THINGS[i % 15]}{THINGS[i % 7]}很好看，{THINGS[i % 4]}也是。' for i in numbers)
  write_jsonl(path, ({'text': text} for text in texts))
  with open(path, 'a', encoding='utf-8') as file:
    file.writelines(f'{line}\n' for line in wrong)


def is_prepared(folder):
  return (folder / 'data').exists() and manifest.read(str(folder)) is not None


# -- One bad file stops with its name, one bad record does not ---------------------------------------------


def cut(data):
  return gzip.compress(data)[:-20]


def damaged(data):
  packed = bytearray(gzip.compress(data))
  packed[len(packed) // 2] ^= 0x55
  return bytes(packed)


BAD_FILES = {
  'bad.jsonl.gz': (cut, 'the file is cut'),
  'worse.jsonl.gz': (damaged, 'damaged'),
  'bad.jsonl.zst': (lambda data: zstandard.compress(data)[:-9], 'the file is cut'),
  'bad.warc.gz': (cut, r'bad\.warc\.gz'),
  'bad.jsonl': (lambda _: b'', 'the file is empty'),
  'bad.csv': (lambda _: b'text,text\n1,2\n', 'same name'),
  'bad.parquet': (lambda data: b'PAR1' + data, 'not Parquet'),
  'bad.json': (lambda data: b'[' + data, 'cannot be read on'),
  'bad.epub': (lambda data: data, 'not an EPUB'),
  'all.jsonl': (lambda _: b'x\ny\n', 'all 2 records are bad; the first: .*all.jsonl:1: not JSON'),
}


@pytest.mark.parametrize(('name', 'processes'), [('bad.jsonl.gz', 2), *((name, 1) for name in BAD_FILES)])
def test_a_bad_file_stops_with_its_name_and_without_it_all_goes_on(calm, tmp_path, name, processes):
  spoil, says = BAD_FILES[name]
  (tmp_path / 'in').mkdir()
  shutil.copy(source_of(calm), tmp_path / 'in')
  with open(source_of(calm), 'rb') as file:
    (tmp_path / 'in' / name).write_bytes(spoil(file.read()))
  config = toy_config(tmp_path / 'in')
  config.processes = processes
  with pytest.raises(InputError, match=says) as error:
    quiet(config, tmp_path / 'run')
  assert f'{tmp_path}/in/{name}' in str(error.value) and '\n' not in str(error.value)
  assert not (tmp_path / 'run' / 'data').exists()
  (tmp_path / 'in' / name).unlink()
  config.processes = 1
  made = quiet(config, tmp_path / 'run')
  assert made['tables'] == manifest.read(calm)['tables']


WRONG = {
  '{"text": "好"} {"text": "坏"}': 'not JSON: Extra data at column 15',
  '{"text": "好", "text": "坏"}': "the field 'text' is there twice",
  '{"text": null}': 'text: must be a text or a list of texts, not null',
  '{"title": "没有正文"}': 'fields',
  '{"prompt": "早", "chosen": "好", "rejected": "好"}': 'two completions are the same text',
  '{"messages": [{"role": "user", "content": "早"}]}': "must end with a turn of role 'assistant'",
  '{"text": "只有一半': 'not JSON',
}


def test_bad_records_of_all_files_are_counted_and_shown_with_file_and_line(tmp_path):
  folder = tmp_path / 'in'
  folder.mkdir()
  wrong = list(WRONG)
  lines(folder / 'a.jsonl', range(40), wrong[:4])
  lines(folder / 'b.jsonl', range(40, 70), wrong[4:])
  config = toy_config(folder)
  config.vocab_size, config.shard_characters = 300, 500
  made = quiet(config, tmp_path / 'run')
  assert sum(made['tables']['documents'].values()) == 70
  report = json.loads((tmp_path / 'run' / 'data' / 'report.json').read_text('utf-8'))
  assert report['notes']['bad_record'] == len(wrong)
  text = (tmp_path / 'run' / 'data' / 'rejected' / 'bad_record.jsonl').read_text('utf-8')
  found = {row['where']: row['why'] for row in map(json.loads, text.splitlines())}
  places = [f'{folder}/a.jsonl:{i}' for i in range(41, 45)] + [
    f'{folder}/b.jsonl:{i}' for i in (31, 32, 33)
  ]
  assert list(found) == places
  for place, why in zip(places, WRONG.values(), strict=True):
    assert why in found[place]
  shown = (tmp_path / 'run' / 'data' / 'report.md').read_text('utf-8')
  assert 'bad_record' in shown and f'{folder}/a.jsonl:41: not JSON: Extra data' in shown


PREFERENCES = {  # a file of nothing but this row
  'completions: must be a list of at least two texts': {'completions': ['好'], 'ranks': [1]},
  'ranks: must be 2 whole numbers from 1, not all equal, and not [1, 1]': {'ranks': [1, 1]},
  'ranks: must be 2 whole numbers from 1, not all equal, and not [1, 2, 3]': {'ranks': [1, 2, 3]},
  'ranks: must be 2 whole numbers from 1, not all equal, and not [1, "二"]': {'ranks': [1, '二']},
  'scores: must be 2 numbers, not all equal, and not [0.5]': {'scores': [0.5]},
  'ranks: missing; give ranks, or scores, one a completion': {},
  'completions: missing; ranks are of a prompt alone': {'completions': None, 'ranks': [1, 2]},
  'completions: there is no prompt beside them': {'prompt': None, 'ranks': [1, 2]},
  'rejected: missing': {'completions': None, 'chosen': '好'},
}


@pytest.mark.parametrize('says', PREFERENCES)
def test_a_preference_file_of_bad_rows_stops_with_file_line_and_field(tmp_path, says):
  row = {'prompt': '早', 'completions': ['好', '坏'], **PREFERENCES[says]}
  path = tmp_path / 'ranked.jsonl'
  write_jsonl(path, [row] * 2)
  with pytest.raises(InputError) as error:
    quiet(toy_config(path), tmp_path / 'run')
  assert str(error.value) == f'{path}: all 2 records are bad; the first: {path}:1: {says}'
  assert not (tmp_path / 'run' / 'data').exists() and not (tmp_path / 'run' / 'tokenizer').exists()


def test_the_command_tells_of_it_with_status_2(tmp_path):
  write_jsonl(tmp_path / 'ranked.jsonl', [{'prompt': '早', 'completions': ['好', '坏'], 'ranks': [1, 1]}])
  process = start('prepare', *flags(tmp_path / 'ranked.jsonl', tmp_path / 'run'))
  _, stderr = process.communicate()
  assert process.returncode == 2
  assert 'ranked.jsonl:1: ranks: must be 2 whole numbers from 1, not all equal' in one_line(stderr)
  assert not (tmp_path / 'run' / 'data').exists() and not (tmp_path / 'run' / 'tokenizer').exists()


AD = (
  '想要轻松赚钱、在家兼职的朋友请加微信 zhuanqian888 详谈，日入过千不是梦。名额有限，先到先得，送资料一份。'
  '本店专业代理各种减肥产品，无效退款，支持货到付款，咨询热线请加客服微信：kefu_2020，现在下单立减五十元，还送大礼包。'
  '不出门就能挣钱，每天只要半个小时，已经有上万名学员跟着我们买了房、买了车，想知道秘诀的朋友赶快扫码进群，机会难得！'
)


def test_an_advertisement_goes_and_whom_to_write_to_is_nowhere(tmp_path):
  lines(tmp_path / 'a.jsonl', range(60), [json.dumps({'text': text}) for text in (AD, f'请看：{AD}')])
  config = toy_config(tmp_path / 'a.jsonl')
  config.vocab_size, config.labels.presets = 310, 'plain'
  quiet(config, tmp_path / 'run')
  found = (tmp_path / 'run' / 'data' / 'rejected' / 'max_ad.jsonl').read_text('utf-8')
  assert found.count('请加微信 <微信号> 详谈') == 2
  for path in (tmp_path / 'run' / 'data').rglob('*.*'):
    assert b'zhuanqian888' not in path.read_bytes() and b'kefu_2020' not in path.read_bytes(), path


def test_a_folder_whose_name_is_no_text_is_told(calm, tmp_path):
  folder = os.path.join(os.fsencode(tmp_path), b'\xfe')
  os.mkdir(folder)
  shutil.copy(source_of(calm), os.path.join(folder, b'a.jsonl'))
  with pytest.raises(InputError, match=r'udcfe/a.jsonl.: the name is not UTF-8'):
    quiet(toy_config(os.fsdecode(folder)), tmp_path / 'run')


# -- Nothing half-written is taken for finished ------------------------------------------------------------


def spoil(path, how):
  size = os.path.getsize(path)
  if how == 'remove':
    os.remove(path)
  elif how == 'flip':
    with open(path, 'r+b') as file:
      file.seek(size // 2)
      byte = file.read(1)[0]
      file.seek(size // 2)
      file.write(bytes([byte ^ 1]))
  else:
    os.truncate(path, {'cut': size // 2, 'empty': 0}[how])


def files_of(folder):
  return sorted(
    os.path.relpath(os.path.join(at, name), folder)
    for at, _, names in os.walk(os.path.join(folder, 'work'))
    for name in names
    if name != 'lock'
  )


def some_of(folder):
  """A work file of each step and kind."""
  found = {}
  for name in files_of(folder):
    found.setdefault((name.split('/')[1], name.partition('.')[2].removeprefix('jsonl-00000.')), name)
  return sorted(found.values())


@pytest.mark.parametrize('how', ['flip', 'cut', 'empty', 'remove'])
def test_any_damaged_file_of_any_step_is_made_anew_or_named(tmp_path, how):
  """A file that is cut is made anew; one whose bits changed, too, or the error names it."""
  folder = make_toy(str(tmp_path / 'run'), count=30)
  wanted, told, names = manifest_hashes(folder), 0, some_of(folder)
  shutil.copytree(folder, tmp_path / 'whole')
  assert len(names) >= 20
  for name in names if how == 'flip' else names[['cut', 'empty', 'remove'].index(how) :: 3]:
    if how == 'flip' and name.endswith('.array_record'):
      continue  # found where the record is read: tests/data_records_test.py
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / 'whole', folder)
    os.remove(manifest.path(folder))
    spoil(os.path.join(folder, name), how)
    try:
      made = quiet(toy_config(source_of(folder)), folder)
    except InputError as error:
      assert how == 'flip' and name in str(error) and 'remove this file and run again' in str(error)
      assert not is_prepared(tmp_path / 'run')
      os.remove(os.path.join(folder, name))
      made, told = quiet(toy_config(source_of(folder)), folder), told + 1
    assert hashes(made) == wanted, name
  assert (told >= 5) == (how == 'flip')


@pytest.mark.parametrize('how', ['remove', 'cut', 'empty'])
def test_a_damaged_shard_of_a_finished_dataset_is_made_anew(calm, tmp_path, how):
  folder = make_toy(str(tmp_path / 'run'), count=60)
  spoil(os.path.join(folder, 'data', 'sft', 'sft-train.array_record-00000-of-00001'), how)
  made = quiet(toy_config(source_of(folder)), folder)
  assert hashes(made) == manifest_hashes(calm)
  data = records.open_split(os.path.join(folder, 'data', 'sft'), 'train')
  assert len(list(data)) == made['datasets']['sft']['train']['records']


def flags(source, folder):
  """The toy's config as the command line of launch.prepare."""
  plain = {k: v for k, v in toy_config(source).items() if isinstance(v, int | float | str)}
  changed = ('vocab_size', 'max_tokens', 'preset', 'character_coverage', 'test_share', 'validation_share')
  return [
    f'--config=configs/data.py:source={source}',
    *(f'--config.{k}={plain[k]}' for k in (*changed, 'processes')),
    f'--workdir={folder}',
  ]


@pytest.mark.parametrize('size', [2_000, 100_000])
def test_a_full_disk_is_told_in_one_line_and_the_next_run_goes_on(calm, tmp_path, size):
  """No file grows beyond `size` bytes: in the first step, in the shards of the datasets."""
  process = start('prepare', *flags(source_of(calm), tmp_path))
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
  _, stderr = process.communicate()
  assert process.returncode == 2
  assert 'File too large' in one_line(stderr) and 'again' in one_line(stderr)
  assert not is_prepared(tmp_path)
  assert hashes(quiet(toy_config(source_of(calm)), tmp_path)) == manifest_hashes(calm)


def test_a_folder_that_must_not_be_written_is_told_in_one_line(calm, tmp_path):
  folder = tmp_path / 'mine'
  folder.mkdir(mode=0o500)
  if os.access(folder, os.W_OK):  # root may write anywhere but there
    folder = '/proc/zhlm'
  process = start('prepare', *flags(source_of(calm), folder))
  _, stderr = process.communicate()
  assert process.returncode == 2 and str(folder) in one_line(stderr)


def test_two_preparations_of_a_folder_at_once_are_refused(calm, tmp_path):
  with (
    cache.lock(str(tmp_path / 'work')),
    pytest.raises(InputError, match='another launch.prepare is at work here'),
  ):
    quiet(toy_config(source_of(calm)), tmp_path)
  assert hashes(quiet(toy_config(source_of(calm)), tmp_path)) == manifest_hashes(calm)


def test_a_killed_worker_is_told_and_the_next_run_goes_on(tmp_path):
  count = 120
  calm = make_toy(str(tmp_path / 'calm'), count=count)
  config = toy_config(source_of(calm))
  config.processes, config.shard_characters = 2, 300
  killed = threading.Event()

  def kill(line):
    for child in active_children():
      os.kill(child.pid, signal.SIGKILL)
      killed.set()

  watch = threading.Thread(target=lambda: _until(killed, kill))
  watch.start()
  with pytest.raises(InputError, match='a worker process died in .*; run again to go on'):
    quiet(config, tmp_path / 'run')
  watch.join()
  assert killed.is_set() and not is_prepared(tmp_path / 'run')
  config.processes = 1
  assert hashes(quiet(config, tmp_path / 'run')) == manifest_hashes(calm)


def _until(event, act):
  while not event.is_set():
    act(None)
    time.sleep(0.01)


# -- Splits do not leak ------------------------------------------------------------------------------------


def likeness(a, b):
  """Jaccard index of the 5-grams of letters, by sets."""
  grams = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b)]
  return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_chains_of_near_duplicates_never_straddle_splits(tmp_path):
  """A ~ B ~ C …, each a little other than the one before: ends that are not alike are in one split, too."""
  draw, chains = random.Random(0), []
  for _ in range(30):
    text, chain = draw.choices(THINGS, k=300), []
    for _ in range(16):
      chain.append(''.join(text) + '。')
      for place in draw.sample(range(300), 2):
        text[place] = draw.choice('啊哦嗯呀吧')
    chains.append(chain)
  assert min(likeness(a, b) for chain in chains for a, b in itertools.pairwise(chain)) > 0.9
  assert max(likeness(chain[0], chain[-1]) for chain in chains) < 0.5
  chain_of = {text: i for i, chain in enumerate(chains) for text in chain}
  write_jsonl(tmp_path / 'a.jsonl', [{'text': text} for text in draw.sample(list(chain_of), len(chain_of))])
  config = toy_config(tmp_path / 'a.jsonl')
  config.vocab_size, config.test_share, config.validation_share = 290, 0.3, 0.3
  quiet(config, tmp_path / 'run')
  kept = {
    split: [row['text'] for row in rows(tmp_path / 'run', 'documents', split)]
    for split in ('train', 'validation', 'test')
  }
  sides = {split: {chain_of[text] for text in texts} for split, texts in kept.items()}
  assert all(sides.values()) and sum(map(len, sides.values())) == len(set.union(*sides.values())) == 30
  assert sum(map(len, kept.values())) > 40  # of a chain several stay, since only neighbours are alike


def test_two_thousand_copies_of_a_text_leave_one(tmp_path):
  text = '山上有一座庙，庙里有一个和尚在讲故事，讲的是从前的事情。'
  others = [{'text': ''.join(random.Random(i).choices(THINGS, k=40)) + '。'} for i in range(40)]
  write_jsonl(tmp_path / 'a.jsonl', [{'text': text}] * 2_000 + others)
  config = toy_config(tmp_path / 'a.jsonl')
  config.vocab_size = 310
  quiet(config, tmp_path / 'run')
  kept = [r for s in ('train', 'validation', 'test') for r in rows(tmp_path / 'run', 'documents', s)]
  assert [row['cluster_size'] for row in kept if row['text'] == text] == [2_000]
  assert len(kept) == 41
