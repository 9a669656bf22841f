"""Books in any encoding: whole, by chapters or by paragraphs, and EPUB in its reading order."""

import tracemalloc
import zipfile

import pytest

from zhlm.collect import books, files, sources
from zhlm.errors import InputError

BOOK = """书名：试书
　　目录
第一章 起
第二章 承
\u3000
第一卷 山上
第一章 起

　　山上有一座庙。

　　庙里有一个和尚。
第二章　承
第一节课开始了。第三章以后再说，先吃饭。
后记

谢谢。
"""


def source(path, data=None, **fields):
  if data is not None:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
  return sources.find(str(path))[0]._replace(**fields)


def texts(found):
  return [item['text'] for item in found]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'gb18030', 'utf-16'])
def test_a_book_is_split_at_its_headings_and_a_table_of_contents_is_none(tmp_path, encoding):
  found = list(books.read(source(tmp_path / '试书.txt', BOOK.encode(encoding))))
  assert [item['title'] for item in found] == ['试书', '第一章 起', '第二章　承', '后记']
  assert texts(found)[0] == '书名：试书\n　　目录'
  assert texts(found)[1] == '第一章 起\n\n　　山上有一座庙。\n\n　　庙里有一个和尚。'
  assert texts(found)[2] == '第二章　承\n第一节课开始了。第三章以后再说，先吃饭。'
  assert {item['kind'] for item in found} == {'document'}


@pytest.mark.parametrize(
  'line',
  [
    '第一章',
    '第 12 章 归来',
    '　　第一百零八回　及时雨梦游天关，浪子燕青月夜逃',
    '第三卷：风起',
    '正文 第五章陨落的天才',
    '## 第二节 方法',
    '第二章 你是谁？',
    '楔子',
    '后记',
    '番外一 婚礼',
  ],
)
def test_headings_are_known(line):
  assert books.is_heading(line + '\n')


@pytest.mark.parametrize(
  'line',
  [
    '第一回合他就输了',
    '第一节课他迟到了',
    '第三部分讲的是方法',
    '第一章，我们先讲方法',
    '他说第一章写得好',
    '第一章写完以后，他就走了。',
    '序列',
    '第一章 ' + '长' * 60,
    '',
  ],
)
def test_sentences_are_no_headings(line):
  assert not books.is_heading(line)


def test_without_headings_a_book_is_groups_of_paragraphs(tmp_path):
  data = '第一段\n第二行\n\n \n第二首\n后记\n\n第三首'
  want = ['第一段\n第二行', '第二首\n后记', '第三首']
  assert texts(books.read(source(tmp_path / 'a.txt', data))) == want


def test_split_is_as_asked_and_markdown_is_whole(tmp_path):
  (whole,) = books.read(source(tmp_path / 'a.txt', BOOK, split='whole'))
  assert whole == {'kind': 'document', 'text': BOOK.strip(), 'title': 'a'}
  assert texts(books.read(source(tmp_path / 'a.txt', BOOK, split='paragraphs')))[2:3] == [
    '　　山上有一座庙。'.strip()
  ]
  assert texts(books.read(source(tmp_path / 'b.md', '# 一\n\n第一章\n\n第二章\n\n字'))) == [
    '# 一\n\n第一章\n\n第二章\n\n字'
  ]
  assert len(texts(books.read(source(tmp_path / 'b.md', split='paragraphs')))) == 4


def test_a_chapter_with_bytes_that_are_no_text_is_bad_and_the_others_are_read(tmp_path):
  data = '第一章\n好人一生平安。\n第二章\n'.encode() + b'\xbb\xb5\n' + '第三章\n好人一生平安。\n'.encode()
  first, bad, last = books.read(source(tmp_path / 'a.txt', data))
  assert (first['title'], last['title']) == ('第一章', '第三章')
  assert isinstance(bad, files.Bad)
  assert bad.where == f'{tmp_path}/a.txt:3'
  assert 'byte 0xbb' in bad.why


def test_a_line_of_20_mb_is_read_in_reasonable_memory(tmp_path):
  line = '天地玄黄，宇宙洪荒。' * 700_000
  path = source(tmp_path / 'a.txt', line)
  tracemalloc.start()
  (item,) = books.read(path)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert item['text'] == line
  assert peak < 10 * len(line.encode())


def epub(path, parts, spine=None, title='试书', **others):
  """An EPUB with its package in a folder, and its parts in another order than they are read in."""
  ids = [f'c{i}' for i in range(len(parts))]
  items = ''.join(f'<item id="{i}" href="text/{i}%20.xhtml"/>' for i in ids)
  refs = ''.join(f'<itemref idref="{i}"/>' for i in spine or ids)
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as book:
    book.writestr(
      'META-INF/container.xml',
      '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
      '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
    )
    book.writestr(
      'OEBPS/book.opf',
      '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
      f'<dc:title>{title}</dc:title></metadata><manifest>{items}</manifest><spine>{refs}</spine></package>',
    )
    for i, part in zip(ids, parts, strict=True):
      book.writestr(f'OEBPS/text/{i} .xhtml', part)
  return source(path)


HEAD = '<html><head><title>题</title><style>p {{}}</style></head>'
PAGE = HEAD + '<body><h1>{}</h1><p>{}</p><p>完。</p></body></html>'


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path):
  parts = [
    PAGE.format('第二章', '他走了。'),
    PAGE.format('第一章', '他来了&amp;坐下。'),
    '<html><body><img alt="封面"/></body></html>',
  ]
  found = epub(tmp_path / 'a.epub', parts, ['c2', 'c1', 'c0'])
  items = list(books.read(found))
  lines = [[line for line in text.split('\n') if line] for text in texts(items)]
  assert lines == [['第一章', '他来了&坐下。', '完。'], ['第二章', '他走了。', '完。']]
  assert {(item['kind'], item['title']) for item in items} == {('document', '试书')}
  (whole,) = books.read(found._replace(split='whole'))
  assert whole['text'] == '\n\n'.join(texts(items))


def test_a_part_of_an_epub_that_is_no_text_is_bad_and_no_epub_is_an_error(tmp_path):
  good, bad = books.read(epub(tmp_path / 'a.epub', [PAGE.format('章', '文'), '人'.encode() + b'\xff\xff']))
  assert good['text'].startswith('章')
  assert bad.where == f'{tmp_path}/a.epub:OEBPS/text/c1 .xhtml'
  assert 'byte ' in bad.why
  data = (tmp_path / 'a.epub').read_bytes()
  for broken in (data[:-30], data[:30], b'text', data.replace(b'OEBPS/book.opf', b'OEBPS/book.xxx')):
    with pytest.raises(InputError, match='b.epub: not an EPUB, damaged or encrypted'):
      list(books.read(source(tmp_path / 'b.epub', broken)))
  with zipfile.ZipFile(tmp_path / 'c.epub', 'w') as book:
    book.writestr('META-INF/container.xml', '<container/>')
  with pytest.raises(InputError, match='c.epub: not an EPUB'):
    list(books.read(source(tmp_path / 'c.epub')))
