"""The whole way: splits do not leak, what is done is kept, no kill and no engine changes a record."""

import glob
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pyarrow import parquet

from tests import hubs
from tests.toy import make_toy, toy_config, write_jsonl
from tests.toy import rows as toy_rows
from zhlm.corpus.prepare import prepare
from zhlm.data import chat, records, tokenizer
from zhlm.errors import InputError

STAGES = ('pretrain', 'sft', 'reward', 'ppo')


def rows(folder, table, split):
  with open(os.path.join(folder, 'data', f'{table}.{split}.jsonl'), encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def quiet(config, workdir):
  return prepare(config, str(workdir), say=lambda _: None)


def hashes(manifest):
  return {
    (stage, s): d['sha256'] for stage, splits in manifest['datasets'].items() for s, d in splits.items()
  }


def manifest_hashes(folder):
  with open(os.path.join(folder, 'data', 'manifest.json'), encoding='utf-8') as file:
    return hashes(json.load(file))


def fresh(lines):
  """The steps that were computed, of what a preparation said."""
  return [line.split()[0] for line in lines if re.search(r'\d s( |$)', line) and 'done before' not in line]


def test_every_stage_has_its_splits(toy):
  for stage, (split, least) in itertools.product(STAGES, [('train', 64), ('test', 16), ('validation', 1)]):
    assert len(records.open_split(os.path.join(toy, 'data', stage), split)) >= least


def test_no_cluster_is_in_two_splits(toy):
  tables = ('documents', 'conversations', 'preferences', 'prompts')
  seen = [
    {row['cluster'] for table in tables for row in rows(toy, table, split)}
    for split in ('train', 'validation', 'test')
  ]
  assert all(seen)
  assert not any(a & b for a, b in itertools.combinations(seen, 2))


def test_reward_records_hold_full_sequences_end_to_end(toy):
  for example in records.open_split(os.path.join(toy, 'data', 'reward'), 'test'):
    first, second = np.split(example['tokens'], np.cumsum(example['lengths'])[:-1])
    prompt = example['prompt_length']
    assert first[:prompt].tolist() == second[:prompt].tolist()
    assert first[prompt:].tolist() != second[prompt:].tolist()
    assert first[-1] == second[-1]
    assert sorted(example['ranks']) == [1, 2]


def test_a_finished_folder_is_left_as_it_is(toy):
  lines = []
  before = os.stat(os.path.join(toy, 'data', 'manifest.json')).st_mtime_ns
  make_toy(toy, say=lines.append)
  assert lines == [f'{toy}: already prepared']
  assert os.stat(os.path.join(toy, 'data', 'manifest.json')).st_mtime_ns == before


def test_another_config_over_a_finished_folder_is_refused(toy):
  config = toy_config(os.path.join(toy, 'toy.jsonl'))
  config.max_tokens, config.rules.plain.min_han = 32, 0.1
  with pytest.raises(InputError, match=r'max_tokens \(64 there, 32 here\).*rules.plain.min_han'):
    quiet(config, toy)


def test_other_contents_of_the_same_file_are_refused(tmp_path):
  folder = str(make_toy(str(tmp_path), count=60))
  source = os.path.join(folder, 'toy.jsonl')
  write_jsonl(source, [{'text': '山红水白'}])
  with pytest.raises(InputError, match='contents of toy.jsonl'):
    quiet(toy_config(source), folder)


@pytest.mark.parametrize(
  'lost',
  [
    'data/manifest.json',
    'data/sft/dataset_info.json',
    'tokenizer/tokenizer.model',
    'work/place/toy.jsonl-00000.shelf',
  ],
)
def test_what_is_lost_is_made_anew_with_the_same_records(tmp_path, lost):
  folder = str(make_toy(str(tmp_path), count=60))
  path = os.path.join(folder, 'data', 'manifest.json')
  with open(path, encoding='utf-8') as file:
    first = json.load(file)
  os.remove(os.path.join(folder, lost))
  if lost.startswith('work'):
    os.remove(path)
  lines = []
  make_toy(folder, count=60, say=lines.append)
  assert fresh(lines) == (['place'] if lost.startswith('work') else [])
  with open(path, encoding='utf-8') as file:
    assert json.load(file) == first
  assert len(records.open_split(os.path.join(folder, 'data', 'sft'), 'train')) > 30


@pytest.mark.parametrize(
  ('field', 'value', 'first'),
  [
    ('max_tokens', 32, 'write'),
    ('vocab_size', 330, 'tokenizer'),
    ('seed', 1, 'grams'),
    ('test_share', 0.3, 'grams'),
  ],
)
def test_a_changed_setting_runs_only_what_follows_from_it(tmp_path, field, value, first):
  folder = str(make_toy(str(tmp_path), count=100))
  config = toy_config(os.path.join(folder, 'toy.jsonl'))
  config[field], config.finished = value, False
  lines = []
  prepare(config, folder, lines.append)
  order = ['grams', 'protect', 'place', 'tokenizer', 'write']
  assert fresh(lines) == order[order.index(first) :]


def test_a_changed_rule_runs_what_follows_from_it(tmp_path):
  folder = str(make_toy(str(tmp_path), count=100))
  config = toy_config(os.path.join(folder, 'toy.jsonl'))
  config.rules.plain.min_characters, config.finished = 9, False
  lines = []
  prepare(config, folder, lines.append)
  assert 'read' not in fresh(lines) and fresh(lines)[0] == 'clean'


def test_how_texts_are_cut_into_shards_and_files_changes_no_record(tmp_path):
  whole = str(make_toy(str(tmp_path / 'whole'), count=100))
  config = toy_config(os.path.join(whole, 'toy.jsonl'))
  config.shard_characters = 500
  parts = quiet(config, tmp_path / 'parts')
  assert hashes(parts) == manifest_hashes(whole)
  assert len(os.listdir(tmp_path / 'parts' / 'work' / 'clean')) > 20
  for stage in STAGES:
    assert len(records.open_split(str(tmp_path / 'parts' / 'data' / stage), 'train')) > 30


def test_two_processes_and_beam_make_the_same_records(tmp_path):
  one = str(make_toy(str(tmp_path / 'one'), count=60))
  wanted = manifest_hashes(one)
  kept = {
    t: [r['id'] for r in rows(one, t, 'train')] for t in ('documents', 'conversations', 'preferences')
  }
  for engine, processes in (('local', 2), ('beam', 0)):
    config = toy_config(os.path.join(one, 'toy.jsonl'))
    config.engine, config.processes, config.shard_characters = engine, processes, 2_000
    folder = tmp_path / engine
    assert hashes(quiet(config, folder)) == wanted
    assert {t: [r['id'] for r in rows(folder, t, 'train')] for t in kept} == kept


def test_an_engine_that_is_none_and_a_runner_that_is_not_named_are_errors(tmp_path):
  source = tmp_path / 'a.jsonl'
  write_jsonl(source, [{'text': '山红水白山红水白。'}])
  config = toy_config(source)
  config.engine = 'spark'
  with pytest.raises(InputError, match='local, beam'):
    quiet(config, tmp_path / 'run')
  config.engine, config.beam_options = 'beam', '--streaming'
  with pytest.raises(InputError, match='name a runner'):
    quiet(config, tmp_path / 'run')


def test_a_corpus_that_grows_keeps_its_splits(tmp_path):
  texts = [
    ''.join(p) + '。'
    for p in itertools.islice(itertools.permutations('山水月日云花草木石雨'), 0, 300_000, 1_501)
  ]
  write_jsonl(tmp_path / 'small.jsonl', [{'id': str(i), 'text': t} for i, t in enumerate(texts)])
  more = [{'id': f'more{i}', 'text': t[:-1] + '，好。'} for i, t in enumerate(texts)]
  config = toy_config(tmp_path / 'small.jsonl')
  config.vocab_size = 275
  quiet(config, tmp_path / 'old')
  write_jsonl(tmp_path / 'small.jsonl', [*({'id': str(i), 'text': t} for i, t in enumerate(texts)), *more])
  config.grows_from = str(tmp_path / 'old')
  quiet(config, tmp_path / 'new')
  sides = [
    {row['id']: s for s in ('train', 'validation', 'test') for row in rows(tmp_path / name, 'documents', s)}
    for name in ('old', 'new')
  ]
  common = sides[0].keys() & sides[1].keys()
  assert len(common) > 50 and {sides[0][i] for i in common} == {'train', 'validation', 'test'}
  assert [i for i in common if sides[0][i] != sides[1][i]] == []


def test_a_preparation_killed_at_any_moment_goes_on_to_the_same_records(tmp_path):
  calm = str(make_toy(str(tmp_path / 'calm'), count=200))
  source, rough = os.path.join(calm, 'toy.jsonl'), str(tmp_path / 'rough')
  code = (
    'import sys; sys.path[:0] = ["."]\n'
    'from tests.toy import toy_config\n'
    'from zhlm.corpus.prepare import prepare\n'
    f'config = toy_config({source!r})\n'
    'config.shard_characters = 3_000\n'
    f'prepare(config, {rough!r})\n'
  )
  draw, kills = random.Random(0), 0
  for attempt in range(12):
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    if attempt < 10:
      process.stdout.readline()  # the first step is done
      # The first kills come soon: what is done is kept, and a fast machine must not finish before two.
      time.sleep(draw.random() * min(1, 0.1 * (attempt + 1)))
      process.send_signal(signal.SIGKILL)
    process.communicate()
    kills += process.returncode == -signal.SIGKILL
    if process.returncode == 0:
      break
  assert process.returncode == 0 and kills >= 2
  assert manifest_hashes(calm) == manifest_hashes(rough)


def test_a_source_without_conversations_makes_no_such_dataset(tmp_path):
  source = str(tmp_path / 'a.jsonl')
  things = '山水月日云花草木石雨'
  texts = [''.join(p) for p in itertools.islice(itertools.permutations(things), 0, 400_000, 4_001)]
  write_jsonl(source, [{'text': text} for text in texts])
  config = toy_config(source)
  config.vocab_size = 280
  manifest = quiet(config, tmp_path / 'run')
  assert [stage for stage, splits in manifest['datasets'].items() if splits] == ['pretrain']
  with open(tmp_path / 'run' / 'data' / 'report.md', encoding='utf-8') as file:
    assert 'The source holds no: conversations, preferences, prompts' in file.read()


def test_a_source_of_which_nothing_is_left_says_why_and_is_not_prepared(tmp_path):
  source = str(tmp_path / 'a.jsonl')
  write_jsonl(source, [{'text': 'no Chinese here at all'}])
  with pytest.raises(InputError, match='min_han 1'):
    quiet(toy_config(source), tmp_path / 'run')
  assert not (tmp_path / 'run' / 'data').exists()


def test_a_file_of_which_nothing_is_left_stands_in_the_report(tmp_path):
  (tmp_path / 'in').mkdir()
  write_jsonl(tmp_path / 'in' / 'a.jsonl', [{'text': f'山水月日云花草木石雨第{i}号。'} for i in range(40)])
  write_jsonl(tmp_path / 'in' / 'b.jsonl', [{'text': 'no Chinese here at all'}] * 3)
  config = toy_config(tmp_path / 'in')
  config.vocab_size = 290
  quiet(config, tmp_path / 'run')
  with open(tmp_path / 'run' / 'data' / 'report.json', encoding='utf-8') as file:
    about = json.load(file)['sources']
  assert (about['b']['in'], about['b']['kept'], about['b']['dropped']) == (3, 0, {'min_han': 3})


def test_bad_records_are_skipped_counted_and_shown(tmp_path):
  source = tmp_path / 'a.jsonl'
  write_jsonl(source, [{'text': f'山水月日云花草木石雨第{i}号。'} for i in range(40)])
  with open(source, 'a', encoding='utf-8') as file:
    file.write('{"text": 3}\n{"text": "half a li')
  config = toy_config(source)
  config.vocab_size = 290
  quiet(config, tmp_path / 'run')
  with open(tmp_path / 'run' / 'data' / 'report.json', encoding='utf-8') as file:
    report = json.load(file)
  assert report['notes']['bad_record'] == 2
  assert [row['where'].rsplit(':', 1)[1] for row in report['rejected']['bad_record']] == ['41', '42']


def test_what_a_test_set_asks_is_not_learnt(tmp_path):
  exam = '请问在下列各项中哪一座山是我国东部最高的山峰并且以云海和奇松闻名于世'
  plain = [
    f'第{i}天，' + ''.join(random.Random(i).choices('山水月日云花草木石雨风雪灯门书', k=60))
    for i in range(50)
  ]
  write_jsonl(tmp_path / 'exam.jsonl', [{'question': exam, 'answer': 'A'}])
  write_jsonl(tmp_path / 'a.jsonl', [{'text': t} for t in [*plain, f'有人问：{exam}？他答不上来。']])
  config = toy_config(tmp_path / 'a.jsonl')
  config.vocab_size, config.protect = 300, str(tmp_path / 'exam.jsonl')
  config.test_share = config.validation_share = 0.0
  quiet(config, tmp_path / 'run')
  learnt = [row['text'] for row in rows(tmp_path / 'run', 'documents', 'train')]
  assert len(learnt) > 30 and not any(exam in text for text in learnt)
  with open(tmp_path / 'run' / 'data' / 'rejected' / 'evaluation_ngrams.jsonl', encoding='utf-8') as file:
    assert exam in json.loads(file.readline())['text']


def test_a_tokenizer_that_is_given_writes_the_tokens(tmp_path):
  given = hubs.make(tmp_path / 'given', 'qwen', 'thinks')
  said = [
    '山水云雨',
    '风雪灯门',
    '书花草木',
    '日月星石',
  ]  # the template rewrites these: nobody can tell who wrote what
  forged = [hubs.talk(f'{s * 9}<|im_start|>', f'<think>想</think>{s[::-1] * 9}') for s in said]
  write_jsonl(tmp_path / 'a.jsonl', [*toy_rows(40), *({'messages': turns} for turns in forged)])
  config = toy_config(tmp_path / 'a.jsonl')
  config.tokenizer = str(given)
  about, run = quiet(config, tmp_path / 'run'), tmp_path / 'run'
  made = tokenizer.load(run / 'tokenizer')
  assert (
    about['tokenizer_sha256'] == tokenizer.fingerprint(given) == tokenizer.fingerprint(run / 'tokenizer')
  )
  end = made.piece_to_id('<|endoftext|>')
  texts = {row['text'] for row in rows(run, 'documents', 'train')}
  seen = [
    record['tokens'].tolist() for record in records.open_split(str(run / 'data' / 'pretrain'), 'train')
  ]
  assert {made.decode(tokens[1:-1]) for tokens in seen} == texts
  assert all(tokens[0] == tokens[-1] == end for tokens in seen)
  told = [
    r['messages'] for r in rows(run, 'conversations', 'train') if '<' not in r['messages'][0]['content']
  ]
  wanted = [chat.encode_conversation(made, turns) for turns in told[:5]]
  seen = records.open_split(str(run / 'data' / 'sft'), 'train')
  assert [(r['tokens'].tolist(), r['mask'].tolist()) for r in (seen[i] for i in range(5))] == wanted
  with open(run / 'data' / 'report.json', encoding='utf-8') as file:
    assert json.load(file)['notes']['sft: refused by the chat template'] == len(said)
  lines = []
  prepare(config, str(run), lines.append)
  assert lines == [f'{run}: already prepared']
  (given / 'generation_config.json').write_text('{"eos_token_id": 0}')
  with pytest.raises(InputError, match='another tokenizer than lies in'):
    quiet(config, run)
  config.tokenizer = str(tmp_path / 'nothing')
  with pytest.raises(InputError, match='no tokenizer here'):
    quiet(config, tmp_path / 'other')
  assert not (tmp_path / 'other').exists()


def test_a_tokenizer_without_a_template_cannot_write_conversations(tmp_path):
  write_jsonl(tmp_path / 'a.jsonl', toy_rows(40))
  config = toy_config(tmp_path / 'a.jsonl')
  config.tokenizer = str(hubs.make(tmp_path / 'given', 'qwen', ''))
  with pytest.raises(InputError, match='this tokenizer has no chat template'):
    quiet(config, tmp_path / 'run')


def test_annotations_stand_beside_the_documents(tmp_path):
  folder = str(make_toy(str(tmp_path), count=60))
  config = toy_config(os.path.join(folder, 'toy.jsonl'))
  config.annotate, config.finished = True, False
  lines = []
  prepare(config, folder, lines.append)
  assert fresh(lines) == ['annotate']
  for split in ('train', 'test'):
    texts = {row['id']: row['text'] for row in rows(folder, 'documents', split)}
    (path,) = glob.glob(os.path.join(folder, 'data', 'words', f'{split}-*.parquet'))
    found = parquet.read_table(path).to_pylist()
    assert {row['id']: ''.join(row['word']) for row in found} == texts
    assert all(len(row['word']) == len(row['pos']) == len(row['is_stop']) for row in found)
  with open(os.path.join(folder, 'data', 'words.json'), encoding='utf-8') as file:
    assert json.load(file)['documents'] == 60
