"""What other programs read is what was prepared."""

import json
import sqlite3

import pytest
from pyarrow import parquet

from zhlm.corpus import export
from zhlm.errors import InputError

ROWS = [
  {'id': 'a', 'text': '第一篇\n\n两行', 'labels': {'fraud': 0.5}},
  {'id': 'b', 'text': '第二篇', 'url': 'http://例子.测试/'},
]


@pytest.fixture
def workdir(tmp_path):
  folder = tmp_path / 'run' / 'data'
  folder.mkdir(parents=True)
  (folder / 'documents.train.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
  (folder / 'prompts.test.jsonl').write_text('{"id": "p", "prompt": [{"role": "user", "content": "问"}]}\n')
  (folder / 'manifest.json').write_text('{}')
  return str(tmp_path / 'run')


def flat(row):
  return {'url': None, 'labels': None, **row} | ({'labels': '{"fraud": 0.5}'} if 'labels' in row else {})


def test_every_format_gives_the_rows_back(workdir, tmp_path):
  to = {form: str(tmp_path / form) for form in export.FORMATS}
  for form, path in to.items():
    assert export.export(workdir, 'documents', 'train', form, path) == 2
  assert open(to['text'], encoding='utf-8').read() == '第一篇\n两行\n\n第二篇\n\n'  # noqa: SIM115
  assert [json.loads(line) for line in open(to['jsonl'], encoding='utf-8')] == ROWS  # noqa: SIM115
  assert parquet.read_table(to['parquet']).to_pylist() == [flat(row) for row in ROWS]
  with sqlite3.connect(to['sqlite']) as base:
    base.row_factory = sqlite3.Row
    assert [dict(row) for row in base.execute('SELECT * FROM documents')] == [flat(row) for row in ROWS]


def test_columns_that_come_late_are_columns_too(workdir, tmp_path, monkeypatch):
  monkeypatch.setattr(export, '_BATCH', 1)
  for form in ('parquet', 'sqlite'):
    assert export.export(workdir, 'documents', 'train', form, str(tmp_path / form)) == 2
  assert parquet.read_table(str(tmp_path / 'parquet')).to_pylist() == [flat(row) for row in ROWS]
  with sqlite3.connect(str(tmp_path / 'sqlite')) as base:
    assert base.execute('SELECT url FROM documents ORDER BY id').fetchall() == [
      (None,),
      ('http://例子.测试/',),
    ]


@pytest.mark.parametrize(
  ('table', 'form', 'says'),
  [
    ('documents', 'csv', 'the formats are text, jsonl, parquet, sqlite'),
    ('stories', 'jsonl', 'no table stories.train; there are documents.train, prompts.test'),
  ],
)
def test_what_is_not_there_is_named(workdir, tmp_path, table, form, says):
  with pytest.raises(InputError, match=says):
    export.export(workdir, table, 'train', form, str(tmp_path / 'out'))
  assert not (tmp_path / 'out').exists()


def test_prompts_are_no_text_and_a_folder_must_be_prepared(workdir, tmp_path):
  with pytest.raises(InputError, match='format=text is for documents'):
    export.export(workdir, 'prompts', 'test', 'text', str(tmp_path / 'out'))
  with pytest.raises(InputError, match='holds no prepared data'):
    export.export(str(tmp_path), 'prompts', 'test', 'jsonl', str(tmp_path / 'out'))
