"""Files of rows, of every format: read one at a time, and refused by name where they break off."""

import csv
import json
import sqlite3
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zhlm.collect import files, sources, tables
from zhlm.errors import InputError

ROWS = [
  {'title': '春晓', 'text': '春眠不觉晓，\n处处闻啼鸟。'},
  {'title': '静夜思', 'text': '"床前"明月光，'},
]


def source(path, data=None, **fields):
  """The source that a file is found as, with some fields said."""
  if data is not None:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
  return sources.find(str(path))[0]._replace(**fields)


def write_jsonl(path):
  path.write_text('\n'.join(json.dumps(row) for row in ROWS), encoding='utf-8')


def write_json(path):
  path.write_text(json.dumps(ROWS, indent=2, ensure_ascii=False), encoding='utf-8')


def write_csv(path):
  with open(path, 'w', newline='', encoding='utf-8-sig') as file:
    out = csv.DictWriter(file, ['title', 'text'])
    out.writeheader()
    out.writerows(ROWS)


def write_tsv(path):
  rows = [[row['title'], row['text'].replace('\n', '')] for row in ROWS]
  path.write_text('\r\n'.join('\t'.join(row) for row in [['title', 'text'], *rows]), encoding='gb18030')


def write_parquet(path):
  pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=1)


def write_sqlite(path):
  with sqlite3.connect(path) as base:
    base.execute('CREATE TABLE poems (title, text)')
    base.executemany('INSERT INTO poems VALUES (:title, :text)', ROWS)
  base.close()


WRITERS = {
  'jsonl': write_jsonl,
  'ndjson': write_jsonl,
  'json': write_json,
  'csv': write_csv,
  'tsv': write_tsv,
  'parquet': write_parquet,
  'sqlite': write_sqlite,
  'db': write_sqlite,
}


@pytest.mark.parametrize('ending', WRITERS)
def test_every_format_gives_the_same_items(tmp_path, ending):
  path = tmp_path / f'poems.{ending}'
  WRITERS[ending](path)
  rows = [{**r, 'text': r['text'].replace('\n', '')} for r in ROWS] if ending == 'tsv' else ROWS
  assert list(tables.read(source(path))) == [{'kind': 'document', **row} for row in rows]


@pytest.mark.parametrize('encoding', ['gb18030', 'utf-16', 'utf-8-sig'])
def test_lines_are_read_in_the_charset_of_the_file(tmp_path, encoding):
  data = '{"text": "好雨知时节"}\r\n{"text": "当春乃发生"}\r\n'.encode(encoding)
  assert [i['text'] for i in tables.read(source(tmp_path / 'a.jsonl', data))] == [
    '好雨知时节',
    '当春乃发生',
  ]


@pytest.mark.parametrize(
  'data',
  [
    '[{"text": "甲"},\n {"text": "乙"}]',
    ' [{"text": "甲"}, {"text": "乙"} ]\n\n',
    '{"version": 1, "data": [{"text": "甲"}, {"text": "乙"}]}',
    '{\n"data": [\n{"text": "甲"}, {"text": "乙"}]}',
    '{"text": "甲"}\n{"text": "乙"}\n',
  ],
)
def test_json_is_an_array_or_data_or_an_object_a_line(tmp_path, data):
  assert [i['text'] for i in tables.read(source(tmp_path / 'a.json', data))] == ['甲', '乙']


def test_one_pretty_object_is_one_row(tmp_path):
  data = json.dumps({'text': '甲', 'data': ['不是行']}, indent=2)
  assert [i['text'] for i in tables.read(source(tmp_path / 'a.json', data))] == ['甲']


def test_a_bad_element_of_an_array_is_bad_and_a_broken_array_is_an_error(tmp_path):
  data = '[{"text": "甲"}, 3, {"text": "乙", "text": "丙"}, {"text": "丁"}]'
  first, number, twice, last = tables.read(source(tmp_path / 'a.json', data))
  assert (first['text'], last['text']) == ('甲', '丁')
  assert number == (f'{tmp_path}/a.json[1]', 'a int and not an object with fields')
  assert twice == (f'{tmp_path}/a.json[2]', "the field 'text' is there twice")
  for broken in (data[:-1], data[:-4], data.replace('3', '{'), data + data):
    with pytest.raises(InputError, match=r'a.json(\[\d\])?: (the array cannot be read on|more follows)'):
      list(tables.read(source(tmp_path / 'a.json', broken)))


@pytest.mark.parametrize('ending', ['jsonl', 'json', 'csv'])
def test_memory_does_not_grow_with_the_file(tmp_path, ending):
  path, text = tmp_path / f'big.{ending}', '天地玄黄，宇宙洪荒。' * 1_000
  with open(path, 'w', encoding='utf-8') as file:
    file.write({'jsonl': '', 'json': '[', 'csv': 'text\n'}[ending])
    row = text if ending == 'csv' else f'{{"text": "{text}"}}'
    file.writelines([row + (',\n' if ending == 'json' else '\n')] * 1_000)
    file.write(']' if ending == 'json' else '')
  assert path.stat().st_size > 30e6
  tracemalloc.start()
  count = sum(1 for _ in tables.read(source(path)))
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert count == 1_000
  assert peak < 16e6


def test_rows_of_a_csv_must_fit_its_header(tmp_path):
  data = 'text,n\n"一\n二",1\n三\n\n四,4,4\n"五"五,5\n六,6\n"七,7\n'
  rows = list(tables.read(source(tmp_path / 'a.csv', data)))
  assert [(r.where[-2:], r.why) if isinstance(r, files.Bad) else r['text'] for r in rows] == [
    '一\n二',
    (':4', 'has 1 fields; the header has 2'),
    (':6', 'has 3 fields; the header has 2'),
    (':7', "',' expected after '\"'"),
    '六',
    (':9', 'unexpected end of data'),
  ]
  with pytest.raises(InputError, match='two have the same name: text, text'):
    list(tables.read(source(tmp_path / 'a.csv', 'text,text\n一,二\n')))


def test_a_csv_row_of_other_bytes_is_bad(tmp_path):
  data = ('text\n' + '好人好事\n' * 9).encode() + '坏'.encode('gbk') + b'\n' + '好'.encode()
  rows = list(tables.read(source(tmp_path / 'a.csv', data)))
  assert [type(r) for r in rows] == [dict] * 9 + [files.Bad, dict]


def test_parquet_of_bad_rows_and_bad_parquet(tmp_path):
  path = tmp_path / 'a.parquet'
  texts = pa.Array.from_buffers(  # 好, one byte that is no text, and a null
    pa.string(),
    3,
    [
      pa.py_buffer(b'\x03'),
      pa.py_buffer(b'\0\0\0\0\3\0\0\0\4\0\0\0\4\0\0\0'),
      pa.py_buffer('好'.encode() + b'\xff'),
    ],
  )
  pq.write_table(pa.table({'text': texts}), path)
  good, invalid, null = tables.read(source(path))
  assert good['text'] == '好'
  assert (invalid.where[-2:], invalid.why[:9]) == (':2', 'not UTF-8')
  assert 'not null' in null.why
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(InputError, match='a.parquet: not Parquet, or damaged'):
    list(tables.read(source(path)))


def test_sqlite_is_read_by_its_query_and_never_written(tmp_path):
  path = tmp_path / '库?.db'
  with sqlite3.connect(path) as base:
    base.execute('CREATE TABLE a (n, body)')
    base.execute('CREATE TABLE b (n, body)')
    base.executemany('INSERT INTO a VALUES (?, ?)', [(1, '甲'), (2, '乙')])
    base.execute("INSERT INTO a VALUES (3, CAST(X'BBB5' AS TEXT))")
  base.close()
  with pytest.raises(InputError, match='query: say which of its tables: a, b'):
    list(tables.read(source(path)))
  *good, bad = tables.read(source(path, query='SELECT body, n AS id FROM a WHERE n > 1', id='id'))
  assert good == [{'kind': 'document', 'text': '乙', 'id': '2'}]
  assert 'byte 0xbb' in bad.why
  (item,) = tables.read(source(path, query='SELECT body FROM a WHERE n = 3', charset='gbk'))
  assert item['text'] == '坏'
  for query, why in (
    ('SELECT gone FROM a', 'no such column'),
    ('DELETE FROM a', 'readonly'),
    ('SELECT n, n FROM a', 'same'),
  ):
    with pytest.raises(InputError, match=why):
      list(tables.read(source(path, query=query)))
  with pytest.raises(InputError, match='not a database'):
    list(tables.read(source(tmp_path / 'b.db', 'text' * 1000)))
