"""A user's files: read as they are, or one line that says what to mend and where."""

import gzip
import json

import pytest

from zhlm.data import files
from zhlm.errors import InputError


@pytest.mark.parametrize(
  ('row', 'kind'),
  [
    ({'text': '你好'}, 'document'),
    (
      {'messages': [{'role': 'user', 'content': '问'}, {'role': 'assistant', 'content': '答'}]},
      'conversation',
    ),
    ({'prompt': '问', 'completions': ['好', '中', '坏'], 'ranks': [1, 2, 2]}, 'preference'),
    ({'prompt': '问', 'chosen': '好', 'rejected': '坏'}, 'preference'),
    ({'prompt': [{'role': 'user', 'content': '问'}]}, 'prompt'),
  ],
)
def test_a_line_is_known_by_its_fields(tmp_path, row, kind):
  path = tmp_path / 'a.jsonl.gz'
  path.write_bytes(gzip.compress(json.dumps(row).encode()))
  (item,) = files.read_file(str(path))
  assert (item['kind'], item['id'], item['source']) == (kind, 'a.jsonl.gz:00000001', 'a.jsonl.gz')


@pytest.mark.parametrize(
  ('data', 'says'),
  [
    (b'', 'empty'),
    (b' \n\n', 'empty'),
    (
      '{"text": "好"}\n{"text": "'.encode() + '坏'.encode('gbk') + b'"}',
      r'a.jsonl:2: byte 26 is not UTF-8',
    ),
    (b'{"text": "a"}\n{"text": ', r'a.jsonl:2: not JSON'),
    (b'["text"]', 'must be an object'),
    (b'{"txt": "a"}', r"\['txt'\] are none of text"),
    (b'{"text": 3}', 'text: must be text'),
    (b'{"messages": [{"role": "user", "content": "a"}]}', r'a.jsonl:1: messages'),
    (b'{"prompt": "a", "completions": ["b", "c"], "ranks": [1]}', 'ranks: must be 2'),
    (b'{"prompt": "a", "chosen": "b"}', 'chosen, rejected'),
    (b'{"prompt": "a", "chosen": "b", "rejected": "b"}', 'same text'),
  ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, data, says):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(data)
  with pytest.raises(InputError, match=says) as error:
    files.read_file(str(path))
  assert '\n' not in str(error.value)


def test_missing_files_and_strange_names_are_named(tmp_path):
  with pytest.raises(InputError, match='no such file'):
    files.list_files(str(tmp_path / 'none.txt'))
  with pytest.raises(InputError, match='jsonl'):
    files.list_files(str(tmp_path))
  (tmp_path / 'a.csv').write_text('a')
  with pytest.raises(InputError, match='must end in'):
    files.list_files(str(tmp_path / 'a.csv'))


def test_a_txt_holds_a_document_for_each_group_of_paragraphs(tmp_path):
  (tmp_path / 'a.txt').write_text('\ufeff第一段\n第二行\n\n \n第二篇\n', encoding='utf-8')
  assert [i['text'] for i in files.read_file(str(tmp_path / 'a.txt'))] == [
    '第一段\n第二行',
    '第二篇',
  ]
