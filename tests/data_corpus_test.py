"""The whole way: splits do not leak, a finished folder is kept, half a folder is made anew."""

import itertools
import json
import os
import random

import numpy as np
import pytest
from toy import make_toy, toy_config, write_jsonl

from zhlm.data import corpus, records, tasks
from zhlm.errors import InputError

STAGES = ('pretrain', 'sft', 'reward', 'ppo')


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
  return str(make_toy(str(tmp_path_factory.mktemp('toy'))))


def rows(folder, table, split):
  with open(os.path.join(folder, 'data', f'{table}.{split}.jsonl'), encoding='utf-8') as file:
    return [json.loads(line) for line in file]


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
  config.max_tokens, config.rules.document.min_han = 32, 0.1
  with pytest.raises(InputError, match=r'max_tokens \(64 there, 32 here\).*rules.document.min_han'):
    corpus.prepare(config, toy)


def test_other_contents_of_the_same_file_are_refused(tmp_path):
  folder = str(make_toy(str(tmp_path), count=60))
  source = os.path.join(folder, 'toy.jsonl')
  write_jsonl(source, [{'text': '山红水白'}])
  with pytest.raises(InputError, match='contents of toy.jsonl'):
    corpus.prepare(toy_config(source), folder)


@pytest.mark.parametrize(
  'lost', ['data/manifest.json', 'data/sft/dataset_info.json', 'tokenizer/tokenizer.model']
)
def test_half_a_folder_is_made_anew_with_the_same_records(tmp_path, lost):
  folder = str(make_toy(str(tmp_path), count=60))
  path = os.path.join(folder, 'data', 'manifest.json')
  with open(path, encoding='utf-8') as file:
    first = json.load(file)
  os.remove(os.path.join(folder, lost))
  lines = []
  make_toy(folder, count=60, say=lines.append)
  assert len(lines) > 5
  with open(path, encoding='utf-8') as file:
    assert json.load(file) == first
  assert len(records.open_split(os.path.join(folder, 'data', 'sft'), 'train')) > 30


def test_a_source_without_conversations_makes_no_such_dataset(tmp_path):
  source = str(tmp_path / 'a.jsonl')
  things = '山水月日云花草木石雨'
  texts = [''.join(p) for p in itertools.islice(itertools.permutations(things), 0, 400_000, 4_001)]
  write_jsonl(source, [{'text': text} for text in texts])
  config = toy_config(source)
  config.vocab_size = 280
  manifest = corpus.prepare(config, str(tmp_path / 'run'), say=lambda _: None)
  assert [stage for stage, splits in manifest['datasets'].items() if splits] == ['pretrain']
  with open(tmp_path / 'run' / 'data' / 'report.md', encoding='utf-8') as file:
    assert 'The source holds no: conversations, preferences, prompts' in file.read()


def test_a_source_of_which_nothing_is_left_says_why_and_writes_nothing(tmp_path):
  source = str(tmp_path / 'a.jsonl')
  write_jsonl(source, [{'text': 'no Chinese here at all'}])
  with pytest.raises(InputError, match='few_han 1'):
    corpus.prepare(toy_config(source), str(tmp_path / 'run'), say=lambda _: None)
  assert not (tmp_path / 'run').exists()


def test_texts_of_one_group_and_copies_of_one_text_stay_on_one_side():
  draw = random.Random(0)
  texts = [''.join(draw.choices('天地玄黄宇宙洪荒日月盈昃', k=60)) for _ in range(200)]
  copies = [text[:25] + '好' + text[26:45] + '好' + text[46:] for text in texts]  # some are dropped
  items = [
    {'id': f'{i:03}', 'kind': 'document', 'source': 's', 'text': text, 'group': i % 200 // 4}
    for i, text in enumerate(texts + copies)
  ]
  sources = {'s': {'in': 400, 'kept': 400, 'dropped': {}}}
  kept, sizes = corpus.split_items(items, toy_config('x'), sources)
  assert 200 <= len(kept) == sources['s']['kept'] < 400
  assert sizes == {'8': 50}
  sides = {(item['group'], item['split']) for item in kept}
  assert len(sides) == 50
  assert {split for _, split in sides} == {'train', 'validation', 'test'}


def test_equal_texts_with_different_labels_are_dropped():
  item = {'kind': 'review', 'source': 's', 'text': '房间很大早餐也好'}
  items = [{**item, 'id': str(i), 'label': i} for i in range(2)]
  sources = {'s': {'in': 2, 'kept': 2, 'dropped': {}}}
  kept, _ = corpus.split_items(items, toy_config('x'), sources)
  assert (kept, sources['s']['kept'], sources['s']['dropped']['label_conflict']['count']) == (
    [],
    0,
    2,
  )


def test_a_definition_is_ranked_over_those_of_words_like_it():
  config = toy_config('x')
  with config.unlocked():
    config.definition_preferences = 1_000
  names = ['山水', '山石', '山花', '水花', '日月']
  items = [
    {'id': n, 'source': 'definition', 'cluster': n, 'split': 'train', 'kind': 'fact', 'key': n}
    | {'task': 'definition', 'answer': f'第{i}个词的意思。'}
    for i, n in enumerate(names)
  ]
  made = tasks.build(items, config, {})['preferences']['train']
  assert {row['cluster'] for row in made} == set(names) - {'日月'}  # shares no character
  for row in made:
    right = f'“{row["cluster"]}”的意思是：第{names.index(row["cluster"])}个词的意思。'
    assert row['completions'][0] == right
    assert row['ranks'] == [1] + [2] * (len(row['completions']) - 1)
    assert right not in row['completions'][1:]
