"""Bytes of any packing and text of any charset: read whole, or refused by name; never cut in silence."""

import bz2
import gzip
import io
import lzma
import random

import pytest
import zstandard

from zhlm.collect import files
from zhlm.errors import InputError

ZSTD = zstandard.ZstdCompressor(write_checksum=True)
PACK = {'.gz': gzip.compress, '.xz': lzma.compress, '.bz2': bz2.compress, '.zst': ZSTD.compress}
TEXT = '天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。\n'


def read(path):
  with files.open_bytes(str(path)) as stream:
    return stream.read()


def write(path, data):
  path.write_bytes(data)
  return str(path)


@pytest.mark.parametrize('ending', PACK)
def test_what_was_packed_comes_out_again_all_members_of_it(tmp_path, ending):
  noise = random.Random(0).randbytes(3 << 19)  # more than one chunk, even packed
  packed = PACK[ending](TEXT.encode()) + PACK[ending](noise) + PACK[ending](b'end')
  path = write(tmp_path / f'a{ending.upper()}', packed)
  assert read(path) == TEXT.encode() + noise + b'end'
  with files.open_bytes(path) as stream:
    assert isinstance(stream, io.BufferedReader)
    assert stream.readline() == TEXT.encode()
    assert stream.tell() == len(TEXT.encode())  # fastwarc asks
    with pytest.raises(io.UnsupportedOperation):
      stream.seek(1 << 22)


@pytest.mark.parametrize('ending', PACK)
def test_a_file_cut_at_any_byte_is_refused_by_name(tmp_path, ending):
  packed = PACK[ending](TEXT.encode() * 3)
  for size in range(1, len(packed)):
    path = write(tmp_path / f'cut{ending}', packed[:size])
    with pytest.raises(InputError, match=f'cut{ending}: ') as error:
      read(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('ending', PACK)
def test_a_file_cut_in_its_second_member_gives_its_beginning_and_then_the_error(tmp_path, ending):
  lines = [f'{i}{TEXT}' for i in range(60_000)]
  data = PACK[ending](''.join(lines).encode())
  path = write(tmp_path / f'cut{ending}', data + data[: len(data) // 2])
  found = files.lines(path)
  assert [next(found) for _ in lines[:1000]] == lines[:1000]
  with pytest.raises(InputError, match='the file is cut'):
    list(found)


@pytest.mark.parametrize('ending', PACK)
def test_a_damaged_file_is_refused_by_name(tmp_path, ending):
  packed = bytearray(PACK[ending](TEXT.encode() * 3))
  packed[len(packed) // 2] ^= 0x55
  with pytest.raises(InputError, match=f'bad{ending}: its compressed data is damaged'):
    read(write(tmp_path / f'bad{ending}', packed))
  with pytest.raises(InputError, match=f'none{ending}: its compressed data is damaged'):
    read(write(tmp_path / f'none{ending}', TEXT.encode()))


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(InputError, match='gone.txt: cannot be opened: No such file'):
    read(tmp_path / 'gone.txt')


@pytest.mark.parametrize(
  ('encoding', 'asked', 'name'),
  [
    ('utf-8', '', 'utf-8'),
    ('utf-8-sig', '', 'utf-8'),
    ('utf-8-sig', 'UTF8', 'utf-8'),
    ('gbk', '', 'gb18030'),
    ('gbk', 'GB2312', 'gb18030'),
    ('utf-16', '', 'utf-16'),
    ('utf-32', '', 'utf-32'),
    ('utf-16-le', 'UTF-16LE', 'utf-16-le'),
    ('cp950', 'big5', 'big5hkscs'),
  ],
)
def test_charsets_are_found_or_taken_as_asked(tmp_path, encoding, asked, name):
  text = '孔雀東南飛，五里一徘徊。碁\r\n' * 3
  assert files.decode(text.encode(encoding), asked) == (text, name)
  path = write(tmp_path / 'a.txt', text.encode(encoding))
  assert list(files.lines(path, asked)) == text.splitlines(keepends=True)


def test_characters_that_only_gb18030_has_are_read():
  assert files.decode('𠮷野家，€１'.encode('gb18030')) == ('𠮷野家，€１', 'gb18030')


@pytest.mark.parametrize('encoding', ['utf-8', 'gb18030', 'utf-16'])
def test_half_a_character_at_the_end_is_left_out_and_changes_no_charset(tmp_path, encoding):
  text = '落霞与孤鹜齐飞，秋水共长天一色𠮷。'
  data = text.encode(encoding)
  for size in range(8, len(data)):
    found, name = files.decode(data[:size])
    assert name == encoding
    assert text.startswith(found)
    assert len(found) >= len(data[:size].decode(encoding, 'ignore'))
    lost = size - len(found.encode(encoding))
    # A stream keeps the digits within GB18030's longest characters, and refuses half a UTF-16 one.
    if encoding == 'utf-8' or (encoding == 'gb18030' and lost < 2):
      assert ''.join(files.lines(write(tmp_path / 'a.txt', data[:size]))) == found


def test_english_that_ends_in_half_a_chinese_character_is_utf8():
  assert files.decode(b'words ' * 20 + '好'.encode()[:2]) == ('words ' * 20, 'utf-8')


def test_utf8_with_a_broken_byte_is_not_taken_for_gb18030():
  data = ('床前明月光，' * 20).encode()
  broken = data[:30] + b'\xff' + data[30:]
  with pytest.raises(InputError, match=r'poem.txt: byte 30 \(0xff\) is not utf-8'):
    files.decode(broken, where='poem.txt')
  # Cut inside a character, it even is good GB18030, of other characters.
  merged = '床前明月光'.encode()[:-1] + '疑是地上'.encode()
  assert len(merged.decode('gb18030')) == 13
  with pytest.raises(InputError, match='byte 12'):
    files.decode(merged)


def test_bytes_of_no_charset_are_refused_with_their_offset():
  with pytest.raises(InputError, match=r'byte 4 \(0xff\) is not gb18030; name its charset'):
    files.decode('好人'.encode('gbk') + b'\xff\xff')
  with pytest.raises(InputError, match='byte 0 .* is not utf-8'):
    files.decode('好人'.encode('gbk'), 'utf-8')


def test_nul_and_replacement_characters_stay_for_the_rules_to_see():
  assert files.decode('锟斤拷\0\ufffd'.encode())[0] == '锟斤拷\0\ufffd'


@pytest.mark.parametrize('charset', ['utf-9', 'base64', '汉字', 'rot13'])
def test_what_is_no_charset_is_named(charset):
  with pytest.raises(InputError, match=f'{charset}.*e.g. utf-8, gb18030, big5'):
    files.known(charset)


def test_lines_keep_bytes_that_are_no_text_for_the_reader_to_find(tmp_path):
  good, bad = '好\n', '坏'.encode('gbk') + b'\n'
  first, second, third = files.lines(write(tmp_path / 'a', good.encode() * 1 + bad + good.encode()))
  assert (first, third) == (good, good)
  assert [files.undecodable(line)[:9] for line in (first, second, third)] == ['', 'byte 0xbb', '']


def test_a_surrogate_without_its_other_half_is_replaced_wherever_it_stands():
  assert files.scrub({'a\ud83d': ['𠮷\udc00', 1, {'b': 'c'}]}) == {'a\ufffd': ['𠮷\ufffd', 1, {'b': 'c'}]}
