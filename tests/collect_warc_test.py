"""Of a web archive every page is read, whatever it is packed and written in; what is cut is never whole."""

import gzip
import io
import types
import zlib

import brotli
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from zhlm.collect import files, warc
from zhlm.errors import InputError

PAGE = '<html><body><p>水利站的工程师介绍，堤坝内侧种植了三万株柳树。</p></body></html>'


def record(number, body=None, kind='response', status='200 OK', length=None, **headers):
  """One WARC record, by hand: so that everything in it may be wrong."""
  body = (PAGE + str(number)).encode() if body is None else body
  names = {'Content-Type': 'text/html', 'Content-Length': len(body)}
  names |= {name.replace('_', '-'): value for name, value in headers.items()}
  http = f'HTTP/1.1 {status}\r\n' + ''.join(f'{n}: {v}\r\n' for n, v in names.items() if v is not None)
  block = body if kind == 'conversion' else http.encode() + b'\r\n' + body
  head = (
    f'WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://www.a.example/{number}\r\n'
    f'WARC-Date: 2024-01-02T03:04:05Z\r\nContent-Length: {len(block) if length is None else length}\r\n\r\n'
  )
  return head.encode() + block + b'\r\n\r\n'


def read(folder, data, name='a.warc', **fields):
  path = folder / name
  path.write_bytes(data)
  return list(warc.read(types.SimpleNamespace(path=str(path), **fields)))


def packed(records):
  return b''.join(map(gzip.compress, records))


@pytest.mark.parametrize('pack', [b''.join, packed, lambda records: gzip.compress(b''.join(records))])
def test_every_page_is_an_item(tmp_path, pack):
  name = 'a.warc' if pack == b''.join else 'a.warc.gz'
  items = read(tmp_path, pack([record(i) for i in range(50)]), name)
  assert [item['html'] for item in items] == [PAGE + str(i) for i in range(50)]
  wanted = {'kind': 'document', 'date': '2024-01-02', 'group': 'www.a.example'}
  assert items[7] == {**wanted, 'url': 'http://www.a.example/7', 'html': PAGE + '7'}


def test_it_reads_what_warcio_writes(tmp_path):
  out = io.BytesIO()
  writer = WARCWriter(out, gzip=True)
  http = StatusAndHeaders('200 OK', [('Content-Type', 'text/html; charset=gbk')], protocol='HTTP/1.1')
  body = io.BytesIO(PAGE.encode('gbk'))
  writer.write_record(writer.create_warcinfo_record('a', {'software': 'test'}))
  answer = writer.create_warc_record('http://b.example/', 'response', body, http_headers=http)
  request = StatusAndHeaders('GET / HTTP/1.1', [('Host', 'b.example')], is_http_request=True)
  asked = writer.create_warc_record('http://b.example/', 'request', http_headers=request)
  writer.write_request_response_pair(asked, answer)
  (item,) = read(tmp_path, out.getvalue(), 'a.warc.gz')
  assert (item['html'], item['group']) == (PAGE, 'b.example')


def test_wet_files_and_plain_text_are_text(tmp_path):
  text = '水利站的工程师介绍。\n堤坝内侧种植了三万株柳树。'
  wet = record(1, text.encode(), 'conversion', Content_Type='text/plain')
  plain = record(2, text.encode('gbk'), Content_Type='text/plain; charset=GBK')
  assert [item['text'] for item in read(tmp_path, wet + plain)] == [text, text]


def test_other_answers_are_passed_over(tmp_path):
  others = [
    record(1, status='404 Not Found'),
    record(2, status='301 Moved'),
    record(3, b'\x89PNG', Content_Type='image/png'),
    record(4, kind='request'),
    record(5, b'', kind='metadata'),
    record(6, b'  \n'),
  ]
  assert len(read(tmp_path, b''.join([*others, record(7)]))) == 1


def chunks(body, size=10):
  parts = [body[i : i + size] for i in range(0, len(body), size)]
  return b''.join(b'%x\r\n%s\r\n' % (len(p), p) for p in [*parts, b''])


@pytest.mark.parametrize(
  ('pack', 'headers'),
  [
    (chunks, {'Transfer_Encoding': 'chunked'}),
    (gzip.compress, {'Content_Encoding': 'gzip'}),
    (zlib.compress, {'Content_Encoding': 'deflate'}),
    (brotli.compress, {'Content_Encoding': 'br'}),
    (lambda b: chunks(gzip.compress(b)), {'Transfer_Encoding': 'chunked', 'Content_Encoding': 'gzip'}),
    # Crawlers that store the body unpacked, under the headers that it came with.
    (bytes, {'Content_Encoding': 'gzip'}),
    (bytes, {'Transfer_Encoding': 'chunked'}),
    (bytes, {'Content_Length': 7}),
    (bytes, {'Content_Length': 10**6}),
    (bytes, {'Content_Length': None}),
  ],
)
def test_bodies_are_unpacked(tmp_path, pack, headers):
  items = read(tmp_path, record(1, pack(PAGE.encode()), **headers) + record(2))
  assert [item['html'] for item in items] == [PAGE, PAGE + '2']


def test_charsets_of_header_and_page(tmp_path):
  page = '<html><head>{}<meta charset="{}"></head><p>圖書館每到週末都坐滿了人。</p></html>'.format
  big5 = page(' ' * 2000, 'big5')
  plain = page('', '')
  data = [
    record(1, big5.encode('big5')),
    record(2, plain.encode('big5'), Content_Type='text/html; charset="Big5"'),
    record(3, plain.encode('gbk'), Content_Type='text/html; charset=utf-8'),
    record(4, plain.encode(), Content_Type='text/html; charset=ISO-8859-1'),
  ]
  assert [item['html'] for item in read(tmp_path, b''.join(data))] == [big5, plain, plain, plain]
  (item,) = read(tmp_path, record(5, plain.encode('big5')), charset='big5')
  assert item['html'] == plain


def test_a_bad_record_costs_itself(tmp_path, monkeypatch):
  monkeypatch.setattr(warc, 'MAX_PAGE', 5000)
  bad = [
    record(1, b'\xff\x80' * 300),
    record(2, b'\x1f\x8b broken', Content_Encoding='gzip'),
    record(3, gzip.compress(b'<p>' + b'x' * 10_000), Content_Encoding='gzip'),
    record(4, b'<p>' + b'x' * 10_000),
  ]
  whys = ['neither UTF-8', 'encoding that its headers name', 'more than 5,000', 'more than 5,000']
  good = record(9)
  found = read(tmp_path, b''.join(good + b for b in bad) + good)
  assert [item['html'] for item in found[::2]] == [PAGE + '9'] * 5
  start = 0
  for error, why, data in zip(found[1::2], whys, bad, strict=True):
    assert isinstance(error, files.Bad) and why in error.why
    assert error.where == f'{tmp_path}/a.warc:{start + len(good)}'
    start += len(good) + len(data)


def test_a_record_of_wrong_length_does_not_cost_the_file(tmp_path):
  for length, lost in ((len(record(1)), 2), (100, 0)):
    good = [record(i) for i in range(2, 6)]
    found = read(tmp_path, b''.join([record(1, length=length), *good]))
    items = [item for item in found if isinstance(item, dict)]
    bad = [item for item in found if isinstance(item, files.Bad)]
    assert [i['url'][-1] for i in items] == list('12345'[lost:])
    assert len(bad) == bool(lost) and all('Content-Length' in b.why for b in bad)


@pytest.mark.parametrize('pack', [packed, lambda records: gzip.compress(b''.join(records))])
@pytest.mark.parametrize('cut', [0.3, 0.9, -5])
def test_a_cut_file_is_an_error(tmp_path, pack, cut):
  data = pack([record(i) for i in range(40)])
  with pytest.raises(InputError, match='cut.warc.gz'):
    read(tmp_path, data[: cut if cut < 0 else int(cut * len(data))], 'cut.warc.gz')


def test_a_cut_record_is_an_error_wherever_it_is_cut(tmp_path):
  first, last = record(1), record(2)
  for cut in range(len('WARC/1.0'), len(last) - len('\r\n\r\n')):
    with pytest.raises(InputError, match=f'a.warc:{len(first)}: the file ends inside this record'):
      read(tmp_path, first + last[:cut])


@pytest.mark.parametrize(
  'data', [b'', b'hello\r\n' * 100, PAGE.encode(), record(1, kind='request'), record(1, kind='metadata')]
)
def test_no_response_is_an_error(tmp_path, data):
  with pytest.raises(InputError, match='a.warc: no response'):
    read(tmp_path, data)


def test_a_flipped_byte_is_an_error(tmp_path):
  data = bytearray(packed([record(i) for i in range(40)]))
  data[len(data) // 2] ^= 0xFF
  with pytest.raises(InputError, match='a.warc.gz'):
    read(tmp_path, bytes(data), 'a.warc.gz')
