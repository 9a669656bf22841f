"""Of a dump the articles come out, one at a time in memory; a broken or cut dump is never whole."""

import bz2
import gzip
import lzma
import tracemalloc
import types
from xml.sax.saxutils import escape

import pytest

from zhlm.collect import wiki
from zhlm.errors import InputError

BODY = '水利站在堤坝内侧种植了[[柳树|三万株柳树]]。'
PROSE = '水利站在堤坝内侧种植了三万株柳树。'


def page(title, text=BODY, ns=0, more='', days=('2024-01-02',), model='wikitext'):
  revisions = ''.join(
    f'<revision><id>1</id><timestamp>{day}T03:04:05Z</timestamp><model>{model}</model><text bytes="9">'
    f'{escape(text)}{day[-1] if len(days) > 1 else ""}</text></revision>\n'
    for day in days
  )
  return f'<page><title>{title}</title><ns>{ns}</ns><id>7</id>{more}\n{revisions}</page>\n'


def dump(*pages):
  return (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="zh">\n'
    '<siteinfo><sitename>Wikipedia</sitename><base>https://zh.wiki.example/wiki/Wikipedia:首页</base>'
    '<namespaces><namespace key="0" /></namespaces></siteinfo>\n' + ''.join(pages) + '</mediawiki>\n'
  ).encode()


def read(folder, data, name='a.xml'):
  path = folder / name
  path.write_bytes(data)
  return list(wiki.read(types.SimpleNamespace(path=str(path))))


@pytest.mark.parametrize(
  ('ending', 'pack'),
  [('.xml', bytes), ('.xml.bz2', bz2.compress), ('.xml.gz', gzip.compress), ('.xml.xz', lzma.compress)],
)
def test_articles_are_items(tmp_path, ending, pack):
  items = read(tmp_path, pack(dump(page('堤 坝'), page('柳树'))), f'a{ending}')
  url = 'https://zh.wiki.example/wiki/%E5%A0%A4_%E5%9D%9D'
  first = {'kind': 'document', 'text': PROSE, 'title': '堤 坝', 'url': url, 'date': '2024-01-02'}
  assert items[0] == first and [item['title'] for item in items] == ['堤 坝', '柳树']


def test_what_is_no_article_is_passed_over(tmp_path):
  others = [
    page('Talk:堤坝', ns=1),
    page('分类:堤坝', ns=14),
    page('大坝', more='<redirect title="堤坝" />'),
    page('水坝', '#重定向 [[堤坝]]'),
    page('桥 (消歧义)'),
    page('船', '船可以是：\n* [[大船]]\n{{消歧义}}'),
    page('车', '{{ Disambig|cat=1}}\n车可以是：'),
    page('空', '{{infobox}}'),
    page('程序', model='javascript'),
    page('删', ''),
  ]
  items = read(tmp_path, dump(*others, page('堤坝', '{{消歧义链接}}' + BODY)))
  assert [item['title'] for item in items] == ['堤坝']


def test_of_many_revisions_the_newest_counts(tmp_path):
  (item,) = read(tmp_path, dump(page('堤坝', days=('2024-01-02', '2024-01-05', '2024-01-03'))))
  assert item['text'] == PROSE + '5' and item['date'] == '2024-01-05'


def test_memory_does_not_grow_with_the_dump(tmp_path):
  path = tmp_path / 'a.xml'

  def peak(pages):
    path.write_bytes(dump(*(page(f'第{i}页') for i in range(pages))))
    tracemalloc.start()
    assert sum(1 for _ in wiki.read(types.SimpleNamespace(path=str(path)))) == pages
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size

  assert peak(2000) < 1.5 * peak(500)


def test_broken_xml_is_an_error_with_its_line(tmp_path):
  data = dump(page('堤坝'), page('柳树'), page('石桥'))
  line = data[: data.index('柳树</title>'.encode())].count(b'\n') + 1
  broken = data.replace('柳树</title>'.encode(), '柳树</titel>'.encode())
  with pytest.raises(InputError, match=f'a.xml:{line}: the XML is broken or cut'):
    read(tmp_path, broken)
  cut = data[: data.index('石桥'.encode())]
  with pytest.raises(InputError, match=f'a.xml:{cut.count(bytes([10])) + 1}: the XML is broken or cut'):
    read(tmp_path, cut)


@pytest.mark.parametrize(('ending', 'pack'), [('.bz2', bz2.compress), ('.gz', gzip.compress)])
def test_a_cut_packed_dump_is_an_error(tmp_path, ending, pack):
  data = pack(dump(*(page(f'第{i}页', BODY * i) for i in range(200))))
  with pytest.raises(InputError, match=rf'a.xml{ending}.* \(after line \d+\)'):
    read(tmp_path, data[: len(data) * 2 // 3], f'a.xml{ending}')


@pytest.mark.parametrize('data', [dump(), b'<feed><entry>1</entry></feed>', b'', b'{"text": 1}'])
def test_what_is_no_dump_is_an_error(tmp_path, data):
  with pytest.raises(InputError, match='a.xml'):
    read(tmp_path, data)
