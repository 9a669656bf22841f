"""A folder as sources: each file is known by its ending or by what is said of it, each record has an id."""

import bz2
import gzip
import json
import pickle

import pytest

from zhlm.collect import sources
from zhlm.collect.files import Bad
from zhlm.errors import InputError

LINE = '{"text": "春眠不觉晓，处处闻啼鸟。"}\n'


def folder(tmp_path, **contents):
  """Files by name, `/` written as `__` and `.` as `_`."""
  for name, data in contents.items():
    path = tmp_path / name.replace('__', '/').replace('_', '.')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
  return str(tmp_path)


def test_files_are_found_by_their_endings_in_all_folders(tmp_path):
  names = {
    'jsonl': ['a.jsonl', 'b.ndjson.gz'],
    'json': ['c.json.xz'],
    'csv': ['d.csv.bz2'],
    'tsv': ['e.tsv.zst'],
    'parquet': ['f.parquet'],
    'sqlite': ['g.sqlite', 'h.db'],
    'text': ['i.txt', 'j.md', 'Q.TXT.GZ', 'sub/deep/z.txt'],
    'epub': ['k.epub'],
    'html': ['l.html', 'm.htm'],
    'warc': ['n.warc.gz', 'o.warc.wet.gz'],
    'wiki': ['p.xml.bz2'],
  }
  passed_over = ['x.zip', 'README.md', 'LICENSE.txt', '.hidden.txt', 'noending', '.git/y.txt']
  for name in [*passed_over, *(name for group in names.values() for name in group)]:
    folder(tmp_path, **{name.replace('.', '_').replace('/', '__'): 'x'})
  found = sources.find(str(tmp_path))
  presets = {'text': 'book', 'epub': 'book', 'wiki': 'wiki'}
  want = {name: (kind, presets.get(kind, 'web')) for kind, group in names.items() for name in group}
  assert {s.file: (s.format, s.preset) for s in found} == want
  assert [s.name for s in found] == sorted(s.name for s in found)
  assert {s.file: s.name for s in found}['sub/deep/z.txt'] == 'sub'
  assert all(s.path == f'{tmp_path}/{s.file}' for s in found)


def test_a_single_file_is_a_source(tmp_path):
  path = folder(tmp_path, law_jsonl_gz=gzip.compress(LINE.encode())) + '/law.jsonl.gz'
  (found,) = sources.find(path)
  assert (found.name, found.file, found.path) == ('law', 'law.jsonl.gz', path)
  (item,) = sources.read(found)
  assert item == {
    'id': 'law/law.jsonl.gz:00000001',
    'kind': 'document',
    'text': '春眠不觉晓，处处闻啼鸟。',
    'source': 'law',
    'licence': '',
    'preset': 'web',
  }


def test_a_source_travels_to_workers_by_pickle_and_json(tmp_path):
  toml = '[[source]]\nfiles = "a.jsonl"\ntext = ["x", "y"]\nhead = "t"\n'
  (found,) = sources.find(folder(tmp_path, a_jsonl='{"y": "文"}', sources_toml=toml))
  assert (found.text, found.head) == (('x', 'y'), ('t',))
  assert pickle.loads(pickle.dumps(found)) == found
  again = sources.Source(**json.loads(json.dumps(found._asdict())))
  assert list(sources.read(again)) == list(sources.read(found))


def test_the_first_description_that_matches_a_file_decides(tmp_path):
  toml = """
  [[source]]
  files = '**/poem*'
  name = '诗'
  preset = 'poem'
  licence = 'MIT'

  [[source]]
  files = '*.dat'
  format = 'jsonl'
  preset = 'news'
  text = 'body'

  [[source]]
  files = '**/*'
  licence = 'CC0-1.0'
  """
  rows = '{"title": "题", "text": "诗", "licence": "PSF-2.0"}\n{"title": "题", "text": "诗"}'
  path = folder(
    tmp_path,
    poem_jsonl=rows,
    a__poem_jsonl=rows,
    b_dat='{"body": "文"}',
    c_txt='文',
    README_md='x',
    sources_toml=toml,
  )
  (tmp_path / 'sources.toml').rename(tmp_path / 'described.toml.txt')
  (tmp_path / 'described.toml.txt').rename(tmp_path.parent / 'described.toml')
  found = sources.find(path, str(tmp_path.parent / 'described.toml'))
  about = [(s.name, s.file, s.preset, s.licence, s.format, s.head) for s in found]
  assert about == [
    ('README', 'README.md', 'book', 'CC0-1.0', 'text', ()),  # the last glob names it
    ('b', 'b.dat', 'news', '', 'jsonl', ()),
    ('c', 'c.txt', 'book', 'CC0-1.0', 'text', ()),
    ('诗', 'a/poem.jsonl', 'poem', 'MIT', 'jsonl', ('title',)),
    ('诗', 'poem.jsonl', 'poem', 'MIT', 'jsonl', ('title',)),
  ]
  items = [item for s in found for item in sources.read(s)]
  assert len({item['id'] for item in items}) == len(items)
  assert [(i['text'], i['licence'], i['title']) for i in items[-2:]] == [
    ('题\n诗', 'PSF-2.0', '题'),
    ('题\n诗', 'MIT', '题'),
  ]


def test_a_preset_given_for_all_is_that_of_files_without_one(tmp_path):
  toml = '[[source]]\nfiles = "b.jsonl"\npreset = "wiki"\n[[source]]\nfiles = "c.jsonl"\nname = "c"\n'
  path = folder(tmp_path, a_jsonl=LINE, b_jsonl=LINE, c_jsonl=LINE, sources_toml=toml)
  found = sources.find(path, preset='poem')
  assert [(s.preset, s.head) for s in found] == [('poem', ('title',)), ('wiki', ()), ('poem', ('title',))]


@pytest.mark.parametrize(
  ('toml', 'says'),
  [
    (
      '[[source]]\nfiles = "*.jsonl"\npresets = "web"',
      'source 1: presets: no such key; the keys are files, name, format',
    ),
    (
      '[[source]]\nfiles = "*.jsonl"\npreset = "blog"',
      "source 1: preset: 'blog' is none of web, wiki, manual, news, book",
    ),
    (
      '[[source]]\nfiles = "*.jsonl"\nformat = "xls"',
      "source 1: format: 'xls' is none of jsonl, json, csv",
    ),
    (
      '[[source]]\nfiles = "*.jsonl"\nkind = "text"',
      "source 1: kind: 'text' is none of document, conversation",
    ),
    (
      '[[source]]\nfiles = "*.jsonl"\nsplit = "page"',
      "source 1: split: 'page' is none of chapters, paragraphs, whole",
    ),
    ('[[source]]\nfiles = "*.jsonl"\ncharset = "utf-9"', "source 1: charset='utf-9': no such charset"),
    (
      '[[source]]\nfiles = "*.jsonl"\n[[source]]\nfiles = "*.gz"',
      "source 2: files: '[*].gz' matches no file below",
    ),
    ('[[source]]\nfiles = "*.jsonl"\ntext = [1]', 'source 1: text: must be the name of a field or a list'),
    ('[[source]]\nfiles = "*.jsonl"\nname = 1', 'source 1: name: must be a text, not 1'),
    ('[[source]]\nname = "a"', 'source 1: files: is missing'),
    ('[[source]]\nfiles = "*.dat"', 'format: .*b.dat: the name must end in one of .jsonl'),
    ('[[source]]\nfiles = "*.jsonl"\nquery = "SELECT 1"', 'query: is for SQLite; .*a.jsonl is jsonl'),
    ('[source]\nfiles = "*.jsonl"', r'must hold tables \[\[source\]\] and nothing else, not source'),
    ('[[sources]]\nfiles = "*.jsonl"', 'nothing else, not sources'),
    ('', 'nothing else, not nothing'),
    ('[[source]\n', 'not a TOML file: '),
  ],
)
def test_what_is_wrong_in_a_description_is_named_with_the_choices(tmp_path, toml, says):
  path = folder(tmp_path, a_jsonl=LINE, b_dat=LINE, sources_toml=toml)
  with pytest.raises(InputError, match=says) as error:
    sources.find(path)
  assert 'sources.toml: ' in str(error.value)
  assert '\n' not in str(error.value)


def test_what_cannot_be_found_is_named(tmp_path):
  path = folder(tmp_path, a_zip='x', b_parquet_gz='x')
  with pytest.raises(InputError, match='gone: there is no such file or folder'):
    sources.find(f'{path}/gone')
  with pytest.raises(InputError, match='a.zip: the name must end in one of .jsonl'):
    sources.find(f'{path}/a.zip')
  with pytest.raises(InputError, match='b.parquet.gz: parquet is not read from a .gz; decompress it'):
    sources.find(path)
  (tmp_path / 'b.parquet.gz').unlink()
  with pytest.raises(InputError, match='no file here ends in .jsonl'):
    sources.find(path)
  with pytest.raises(InputError, match='none.toml: not a TOML file'):
    sources.find(path, f'{path}/none.toml')


def test_bad_records_keep_their_numbers_and_all_bad_is_an_error(tmp_path):
  path = folder(tmp_path, a_jsonl=LINE + 'x\n\n' + LINE, b_jsonl='x\ny\n')
  good, bad = sources.find(path)
  first, wrong, last = sources.read(good)
  assert (first['id'], last['id']) == ('a/a.jsonl:00000001', 'a/a.jsonl:00000003')
  assert wrong == Bad(f'{path}/a.jsonl:2', 'not JSON: Expecting value at column 1')
  with pytest.raises(InputError, match=r'b.jsonl: all 2 records are bad; the first: .*b.jsonl:1: not JSON'):
    list(sources.read(bad))


@pytest.mark.parametrize('data', [b'', b' \n\n', '\ufeff'.encode()])
@pytest.mark.parametrize('name', ['a_jsonl', 'a_txt', 'a_csv', 'a_json', 'a_jsonl_bz2'])
def test_an_empty_file_is_an_error(tmp_path, name, data):
  data = bz2.compress(data) if name.endswith('bz2') else data
  (found,) = sources.find(folder(tmp_path, **{name: data}))
  with pytest.raises(InputError, match='a[.].*: (the file is empty|holds no record)'):
    list(sources.read(found))


def test_conversations_are_chat_whatever_their_documents_are(tmp_path):
  messages = [{'role': 'user', 'content': '问'}, {'role': 'assistant', 'content': '答'}]
  toml = '[[source]]\nfiles = "b.jsonl"\npreset = "book"\n'
  rows = json.dumps({'messages': messages, 'licence': 'MIT'}) + '\n' + LINE
  found = sources.find(folder(tmp_path, a_jsonl=rows, b_jsonl=rows, sources_toml=toml))
  items = [item for s in found for item in sources.read(s)]
  assert [i['kind'] for i in items] == ['conversation', 'document'] * 2
  assert [i['preset'] for i in items] == ['chat', 'web', 'chat', 'book']
  assert items[0]['text'] == '问\n答'


def test_web_pages_and_archives_are_items_with_html(tmp_path):
  page = '<html><body><p>春眠不觉晓</p></body></html>'
  for i, data in enumerate([page.encode(), page.encode('gb18030'), b'']):
    folder(tmp_path, **{f'web__{i}_html': data})
  found = sources.find(str(tmp_path))
  first, second, bad = (record for s in found for record in sources.read(s))
  assert (first['html'], second['html']) == (page, page)
  assert [first['id'], first['source'], first['preset']] == ['web/web/0.html:00000001', 'web', 'web']
  assert bad == Bad(f'{tmp_path}/web/2.html', 'the file is empty')


def test_a_preset_that_is_none_is_named_with_the_choices(tmp_path):
  (tmp_path / 'a.txt').write_text('好')
  with pytest.raises(InputError, match='preset=blog: none of web, wiki'):
    sources.find(str(tmp_path), preset='blog')
