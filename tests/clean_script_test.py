"""A text is labelled by the script it is in, and converted only when asked."""

import sys
import types

import pytest

from zhlm.clean import script
from zhlm.errors import InputError

HANS = '汉字简化以后，书写变得简单，学习的时间也缩短了。'
HANT = '漢字簡化以後，書寫變得簡單，學習的時間也縮短了。'


@pytest.mark.parametrize(
  ('text', 'label'),
  [
    (HANS, 'hans'),
    (HANT, 'hant'),
    (HANS + HANT, 'mixed'),
    ('人之初，性本善', 'none'),  # the same in both
    ('皇后在里面台上只干了一杯', 'none'),  # each a Traditional character too
    ('', 'none'),
    ('plain English', 'none'),
    ('𠮷', 'none'),
    (HANS * 3 + '（他名叫「劉備」）', 'hans'),  # a quoted name does not make it mixed
  ],
)
def test_label(text, label):
  assert script.script(text) == label


@pytest.mark.parametrize(
  ('how', 'text', 'wanted'),
  [
    ('', HANT, HANT),
    ('t2s', HANT, HANS),
    ('s2t', HANS, HANT),
    ('t2s', HANS, HANS),
    ('tw2sp', '他看著滑鼠', '他看着鼠标'),  # phrases of Taiwan too
    ('t2s', '頭髮發現', '头发发现'),
    ('s2t', '头发发现', '頭髮發現'),  # by the word, not by the character
  ],
)
def test_conversion(how, text, wanted):
  assert script.convert(text, how) == wanted


def test_a_conversion_that_does_not_exist_is_told_with_the_choices():
  with pytest.raises(InputError, match='convert=t2x: no such conversion; .*t2s.*tw2sp'):
    script.convert('汉', 't2x')


def test_the_slow_library_of_the_same_name_is_refused(monkeypatch):
  old = types.SimpleNamespace(__version__='0.1.7', OpenCC=lambda how: None)
  monkeypatch.setitem(sys.modules, 'opencc', old)
  with pytest.raises(InputError, match='opencc-python-reimplemented.*pip uninstall'):
    script._converter.__wrapped__('t2s')


def test_without_the_library_the_way_to_get_it_is_told(monkeypatch):
  monkeypatch.setitem(sys.modules, 'opencc', None)
  with pytest.raises(InputError, match='pip install opencc'):
    script._converter.__wrapped__('t2s')
