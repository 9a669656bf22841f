"""Of a page the body stays and the rest goes; its bytes are read in the charset that they are in."""

import types

import pytest

from tests import pages as own
from zhlm.collect import pages
from zhlm.errors import InputError

TEXT = '堤坝内侧种植了三万株柳树，根系可以固定土壤。'


@pytest.mark.parametrize('thorough', [True, False])
def test_the_body_stays_and_the_noise_goes(thorough):
  found = {name: pages.extract(html, thorough=thorough) for name, (html, _, _) in own.PAGES.items()}
  body, noise = own.score({name: page and page['text'] for name, page in found.items()})
  assert body == 1 and noise <= 0.05


def test_the_vote_beats_each_of_its_voters():
  import trafilatura
  from resiliparse.extract.html2text import extract_plain_text

  html = {name: page[0] for name, page in own.PAGES.items()}
  voters = [
    {n: extract_plain_text(h, main_content=True) for n, h in html.items()},
    {n: trafilatura.extract(h, fast=True, favor_precision=True) for n, h in html.items()},
  ]
  body, noise = own.score({n: pages.extract(h)['text'] for n, h in html.items()})
  for other_body, other_noise in map(own.score, voters):
    assert body - noise > other_body - other_noise + 0.2


def test_a_box_that_reads_as_well_as_the_body_is_left_out_by_the_precise_voter():
  """What no rule for lines can know."""
  body, side = own._PROSE[:4], own._PROSE[9]
  html = f'<article>{own._join(body)}<div class="author-box"><p>{side}</p></div></article>'
  assert own.squeeze(pages.extract(html)['text']) == ''.join(body)
  assert own.squeeze(pages.extract(html, thorough=False)['text']) == ''.join([*body, side])


@pytest.mark.parametrize('name', own.EMPTY)
def test_a_page_without_main_text_gives_none(name):
  assert pages.extract(own.EMPTY[name]) is None


def test_title_and_date():
  html = own.PAGES['article'][0]
  page = pages.extract(html)
  assert (page['title'], page['date']) == ('菜市场的早晨', '2021-03-05')
  assert pages.extract(own.PAGES['chapter'][0])['title'] == '第三章 青骢马'
  assert pages.extract(own.PAGES['notice'][0])['date'] == '2017-12-01'
  # A member's first day in a forum is no date of the page.
  assert pages.extract(own.PAGES['forum'][0])['date'] == '2018-06-01'
  assert pages.extract(html.replace('2021-03-05', '2021-13-05'))['date'] == ''
  for day in ('20200102', '2020/01/02', '2020-01/02'):
    assert pages.extract(own.PAGES['divs'][0], f'http://a.example/{day}/1.html')['date'] == '2020-01-02'


@pytest.mark.parametrize('tags', ['<div>', '<table><tr><td>', '<b>', '<a href=x>', '<p><font>'])
def test_a_hundred_thousand_nested_tags(tags):
  html = tags * 100_000 + own._join(own._PROSE[:5])
  assert own.squeeze(pages.extract(html)['text']).endswith(own._PROSE[4])


def test_a_long_line_and_broken_tags():
  line = own._PROSE[0] * 10_000
  assert pages.extract(f'<p>{line}</p>')['text'] == line
  for tag in ('<meta ', '<a ', '<time ', '<link ', '<!--', '发布', '<'):
    pages.extract(tag * 50_000 + TEXT * 9)
  assert TEXT in pages.extract(f'\ud800<p>{TEXT * 3}</p>')['text']


META = '<html><head>{}<meta charset="{}"></head><p>{}</p>'.format


@pytest.mark.parametrize(
  ('charset', 'declared', 'header'),
  [
    ('utf-8', 'utf-8', ''),
    ('utf-8', 'gb2312', 'gbk'),
    ('utf-8', '', 'iso-8859-1'),
    ('utf-8-sig', 'big5', ''),
    ('utf-16', '', ''),
    ('gbk', 'gb2312', ''),
    ('gbk', '', ''),
    ('gbk', 'utf-8', 'iso-8859-1'),
    ('gb18030', 'nonsense', 'utf-8'),
    ('big5', 'big5', ''),
    ('big5', '', 'Big5'),
    ('hz', 'hz-gb-2312', ''),
  ],
)
def test_charsets(charset, declared, header):
  text = '臺灣的圖書館每到週末都坐滿了人。' if charset == 'big5' else TEXT
  for before in ('', '<!-- 2,000 bytes before it -->' + ' ' * 2000):
    html = META(before, declared, text)
    assert pages.decode(html.encode(charset), header) == html


def test_big5_on_request_and_pages_cut_inside_a_character():
  text = '圖書館每到週末都坐滿了人。'
  assert pages.decode(text.encode('big5'), charset='big5') == text
  for charset in ('utf-8', 'gbk'):
    data = META('', charset, TEXT * 100).encode(charset)
    cut = pages.decode(data[: data.rindex('柳'.encode(charset)) + 1])
    assert cut.rstrip('\ufffd').endswith('种植了三万株') and cut.count('\ufffd') <= 1


def test_bytes_of_no_charset_are_an_error():
  with pytest.raises(InputError, match='neither UTF-8 nor GB18030'):
    pages.decode(bytes([0xFF, 0x80, 0xA0, 0x81]) * 100)


def test_a_file_of_html_is_one_item(tmp_path):
  path = tmp_path / 'a.html'
  html = META('<link rel="canonical" href="http://news.example.cn/a.html">', 'gbk', TEXT)
  path.write_bytes(html.encode('gbk'))
  (item,) = pages.read(types.SimpleNamespace(path=str(path)))
  wanted = {'kind': 'document', 'html': html, 'url': 'http://news.example.cn/a.html'}
  assert item == {**wanted, 'group': 'news.example.cn'}
  path.write_bytes(TEXT.encode())
  assert list(pages.read(types.SimpleNamespace(path=str(path)))) == [{'kind': 'document', 'html': TEXT}]
  path.write_bytes(b' \n')
  with pytest.raises(InputError, match='a.html: the file is empty'):
    list(pages.read(types.SimpleNamespace(path=str(path))))
