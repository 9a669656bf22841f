"""The builders give the prepared documents, by TFDS' own ways, and both the same ones."""

import json

import pytest
from tensorflow_datasets.core import shuffle

from zhlm.corpus import builders
from zhlm.errors import InputError

OPTIONS = '--runner=FnApiRunner'


@pytest.fixture
def workdir(tmp_path):
  (tmp_path / 'run' / 'data').mkdir(parents=True)
  for split, count in (('train', 12), ('test', 3)):
    rows = ({'id': f'{split}{i}', 'source': '甲', 'cluster': 'c', 'text': f'第{i}篇'} for i in range(count))
    text = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
    (tmp_path / 'run' / 'data' / f'documents.{split}.jsonl').write_text(text, encoding='utf-8')
  (tmp_path / 'run' / 'data' / 'manifest.json').write_text('{}')
  return str(tmp_path / 'run')


def test_both_builders_hold_the_documents_in_the_same_order(workdir, tmp_path, monkeypatch):
  made = []
  for options in ('', OPTIONS):
    if options:  # that of one process sorts splits of up to 1,000 MiB, that on Beam any
      monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1)
    builder = builders.build(workdir, str(tmp_path / 'tfds'), options)
    source = builder.as_data_source()
    assert set(source) == {'train', 'test'}
    made.append([row['text'].decode() for row in source['train']])
    assert sorted(made[-1]) == sorted(f'第{i}篇' for i in range(12))
    assert source['test'][0]['licence'] == b''
  assert made[0] == made[1]


def test_a_split_above_what_tfds_sorts_in_memory_needs_beam(workdir, tmp_path, monkeypatch):
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1)
  with pytest.raises(InputError, match='a split above 1,000 MiB: give beam_options'):
    builders.build(workdir, str(tmp_path / 'tfds'))
  assert not list((tmp_path / 'tfds').rglob('*array_record*'))


def test_a_folder_that_is_not_prepared_is_named(tmp_path):
  (tmp_path / 'empty' / 'data').mkdir(parents=True)
  with pytest.raises(InputError, match='holds no prepared documents'):
    builders.build(str(tmp_path / 'empty'), str(tmp_path / 'tfds'))
