"""The packages: taken from the cache when the hash is right, and never when it is wrong."""

import hashlib
import io
import sys
import tarfile
import zipfile

import pytest

from zhlm.demo import fetch, packages
from zhlm.errors import InputError


@pytest.fixture
def package(monkeypatch):
  digest = hashlib.sha256(b'good').hexdigest()
  monkeypatch.setattr(fetch, 'PACKAGES', {'toy==1': ('toy-1.whl', digest)})
  monkeypatch.delenv('ZHLM_CACHE', raising=False)
  return 'toy==1'


def fake_pip(tmp_path, code):
  path = tmp_path / 'pip.py'
  path.write_text(code)
  return [sys.executable, str(path)]


def test_a_cached_archive_is_used_without_pip(package, tmp_path):
  (tmp_path / 'toy-1.whl').write_bytes(b'good')
  assert fetch.fetch(package, str(tmp_path), pip=['no such program']) == str(tmp_path / 'toy-1.whl')


def test_a_wrong_hash_is_refused(package, tmp_path):
  (tmp_path / 'toy-1.whl').write_bytes(b'evil')
  with pytest.raises(InputError, match='sha256'):
    fetch.fetch(package, str(tmp_path))


def test_what_pip_brings_is_checked_and_then_cached(package, tmp_path):
  save = 'import sys; open(sys.argv[sys.argv.index("-d") + 1] + "/toy-1.whl", "wb").write(b"%s")'
  with pytest.raises(InputError, match='sha256'):
    fetch.fetch(package, str(tmp_path / 'a'), pip=fake_pip(tmp_path, save % 'evil'))
  assert list((tmp_path / 'a').iterdir()) == []
  path = fetch.fetch(package, str(tmp_path / 'a'), pip=fake_pip(tmp_path, save % 'good'))
  assert fetch.fetch(package, str(tmp_path / 'a'), pip=['no such program']) == path


@pytest.mark.parametrize(
  ('code', 'says'),
  [
    ('import sys; sys.exit("ERROR: no connection")', 'no connection'),
    ('import time; time.sleep(9)', 'more than 1 s'),
    ('', 'not toy-1.whl'),
  ],
)
def test_without_a_network_the_way_out_is_named(package, tmp_path, code, says):
  cache = tmp_path / 'cache'
  with pytest.raises(InputError, match=says) as error:
    fetch.fetch(package, str(cache), timeout=1, pip=fake_pip(tmp_path, code))
  message = str(error.value)
  assert '\n' not in message
  assert all(part in message for part in ('toy-1.whl', str(cache), 'source=PATH'))


def test_members_are_read_in_memory_from_any_archive(tmp_path):
  inner = io.BytesIO()
  with zipfile.ZipFile(inner, 'w') as archive:
    archive.writestr('words.txt', '词\t义')
  with zipfile.ZipFile(tmp_path / 'a.whl', 'w') as archive:
    archive.writestr('a/words.zip', inner.getvalue())
  with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz') as archive:
    info = tarfile.TarInfo('a/b/words.zip')
    info.size = len(inner.getvalue())
    archive.addfile(info, io.BytesIO(inner.getvalue()))
  for name in ('a.whl', 'a.tar.gz'):
    assert packages.reader(str(tmp_path / name))('words.zip') == '词\t义'
    with pytest.raises(InputError, match='holds no other.txt'):
      packages.reader(str(tmp_path / name))('other.txt')
