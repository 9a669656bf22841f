"""Rows as items: what makes a document, what is kept beside its text, and why a row is bad."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zhlm.collect import files, sources, tables


def source(path, data=None, **fields):
  """The source that a file is found as, with some fields said."""
  if data is not None:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
  return sources.find(str(path))[0]._replace(**fields)


def one(tmp_path, row, **fields):
  (found,) = tables.read(source(tmp_path / 'a.jsonl', json.dumps(row, ensure_ascii=False), **fields))
  return found


@pytest.mark.parametrize(
  ('row', 'text'),
  [
    ({'text': '文'}, '文'),
    ({'content': ['关关雎鸠', '在河之洲']}, '关关雎鸠\n在河之洲'),
    ({'src': 'a.json', 'para': ['山一程', '水一程']}, '山一程\n水一程'),
    ({'book': '史记', 'chapter': '一', 'pairs': [['古', '今'], ['昔', '昨']]}, '古\n今\n昔\n昨'),
    ({'text': None, 'raw_content': '正文'}, '正文'),
    ({'prompt': '写一篇文章', 'text': '文章'}, '文章'),
  ],
)
def test_a_text_field_makes_a_document(tmp_path, row, text):
  assert one(tmp_path, row) == {'kind': 'document', 'text': text}


def test_a_source_may_name_its_text_its_id_its_group_and_what_goes_before(tmp_path):
  row = {
    'id': 7,
    'name': '相鼠',
    'by': '无名氏',
    'lines': ['相鼠有皮'],
    'text': '注',
    'book': '诗经',
    'none': None,
  }
  fields = {
    'text': ('verses', 'lines'),
    'head': ('name', 'by', 'none', 'gone'),
    'id': 'id',
    'group': 'book',
  }
  item = one(tmp_path, row, **fields)
  assert item == {'kind': 'document', 'text': '相鼠\n无名氏\n相鼠有皮', 'id': '7', 'group': '诗经'}
  assert one(tmp_path, {'title': '法', 'text': '# 法\n第一条'}, head=('title',))['text'] == '# 法\n第一条'


def test_what_a_row_says_of_itself_is_kept_as_text(tmp_path):
  row = {
    'text': '文',
    'license': 'MIT',
    'url': 'http://a.cn',
    'date': 2020,
    'source': 's',
    'title': '',
    'tags': [],
  }
  kept = {'licence': 'MIT', 'url': 'http://a.cn', 'date': '2020', 'source': 's'}
  assert one(tmp_path, row) == {'kind': 'document', 'text': '文', **kept}
  table = pa.table({'text': ['文'], 'date': [datetime.date(2020, 5, 17)], 'source': [b'\xff']})
  pq.write_table(table, tmp_path / 'a.parquet')
  assert list(tables.read(source(tmp_path / 'a.parquet'))) == [
    {'kind': 'document', 'text': '文', 'date': '2020-05-17'}
  ]


def test_a_row_without_text_or_with_a_flattened_dialogue_is_a_conversation(tmp_path):
  messages = [{'role': 'user', 'content': '问'}, {'role': 'assistant', 'content': '答'}]
  for row in ({'messages': messages}, {'messages': messages, 'text': '问：问 答：答'}):
    item = one(tmp_path, {**row, 'licence': 'MIT'})
    assert (item['kind'], item['messages'], item['licence']) == ('conversation', messages, 'MIT')
  bad = one(tmp_path, {'messages': messages}, kind='prompt')
  assert bad.why == 'a conversation, not the prompt that its source is said to hold'


@pytest.mark.parametrize(
  ('line', 'why'),
  [
    ('{"text": "坏", ', 'not JSON: Expecting property name'),
    ('{"text": "坏"} {"text": "坏"}', 'not JSON: Extra data at column 15'),
    ('{"text": "a", "text": "b"}', "the field 'text' is there twice"),
    ('{"text": "a", "meta": {"b": 1, "b": 2}}', "the field 'b' is there twice"),
    ('["text"]', 'a list and not an object'),
    ('"text"', 'a str and not an object'),
    ('{"text": null}', 'text: must be a text or a list of texts, not null'),
    ('{"text": 3}', 'text: must be a text or a list of texts, not int'),
    ('{"text": ["a", 3]}', 'text: must be a text or a list of texts, not int'),
    ('{"text": " \\n"}', 'text: is empty'),
    ('{"paragraphs": []}', 'paragraphs: is empty'),
    ('[' * 100_000, 'maximum recursion depth'),
    ('{"text": ' + '9' * 5000 + '}', 'Exceeds the limit'),
    (b'{"text": "\xbb\xb5"}', 'byte 0xbb after 10 characters'),
    (b'{"text": "\xed\xa0\xbd"}', 'byte 0xed after 10 characters'),
  ],
)
def test_a_bad_line_is_skipped_with_its_place_and_the_reason(tmp_path, line, why):
  line = line if isinstance(line, bytes) else line.encode()
  good = '{"text": "好人一生平安，好人一生平安"}'.encode()
  first, bad, last = tables.read(source(tmp_path / 'a.jsonl', b'\r\n'.join([good, b'', line, good])))
  assert first == last == {'kind': 'document', 'text': '好人一生平安，好人一生平安'}
  assert isinstance(bad, files.Bad)
  assert bad.where == f'{tmp_path}/a.jsonl:3'
  assert why in bad.why
  assert str(tmp_path) not in bad.why


def test_half_a_last_line_is_bad_and_the_rest_is_read(tmp_path):
  data = '{"text": "好"}\n{"text": "好人"}\n'.encode()
  *good, bad = tables.read(source(tmp_path / 'a.jsonl', data[:-6]))
  assert [item['text'] for item in good] == ['好']
  assert (bad.where[-2:], bad.why[:8]) == (':2', 'not JSON')


def test_missing_text_is_said_with_the_fields_that_are_there(tmp_path):
  bad = one(tmp_path, {'txt': '文', 'n': 1}, text=('text', 'body'))
  assert bad.why == 'has the fields txt, n; none is text, body'
  assert 'none is text, content' in one(tmp_path, {'txt': '文'}, kind='document').why


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_is_a_character(tmp_path):
  row = '{"text": "\\ud83d\\ude00好\\ud83d", "title": "\\uDC00"}'
  want = {'kind': 'document', 'text': '😀好\ufffd', 'title': '\ufffd'}
  assert list(tables.read(source(tmp_path / 'a.jsonl', row))) == [want]
  assert list(tables.read(source(tmp_path / 'a.json', f'[{row}]'))) == [want]


def test_an_id_is_used_once(tmp_path):
  data = '{"id": "a", "text": "甲"}\n{"id": "a", "text": "乙"}\n{"text": "丙"}\n{"id": "b", "text": "丁"}'
  first, second, third, last = tables.read(source(tmp_path / 'a.jsonl', data, id='id'))
  assert (first['id'], last['id']) == ('a', 'b')
  assert second.why == "id: 'a' is the id of an earlier row"
  assert third.why == 'id: must hold a text or a number'
