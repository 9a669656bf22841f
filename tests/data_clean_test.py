"""Cleaning changes how a text is written, not what it says; and every drop has a reason."""

import pytest

from configs.data import get_config
from zhlm.data import clean

RULES = get_config().rules.document


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('ＡＢＣ１２３％', 'ABC123%'),
    ('好，真好！（是吗？）：是；', '好，真好！（是吗？）：是；'),
    ('零\u200b宽\ufeff', '零宽'),
    ('响\x07铃\x00', '响铃'),
    ('一  二\t三\u3000四', '一 二 三 四'),
    ('一 \r\n 二\n\n\n\n三', '一\n二\n\n三'),
    ('e\u0301', 'é'),
    ('孤\ud800立', '孤立'),
  ],
)
def test_normal_form(text, wanted):
  assert clean.normalise(text) == wanted
  assert clean.normalise(wanted) == wanted


@pytest.mark.parametrize(
  ('text', 'reason'),
  [
    ('今天天气很好，我们去公园散步。', None),
    ('太短', 'too_short'),
    ('一' * 100_001, 'too_long'),
    ('this text has hardly any 汉字 at all', 'few_han'),
    ('锟斤拷锟斤拷一二三四五六', 'mojibake'),
    ('我们一起去公园看花看草看云。' * 9, 'repeated'),
    ('好' * 12, 'few_distinct'),
    ('他妈的，这天气真是太热了。', 'blocked_word'),
  ],
)
def test_every_drop_has_its_reason(text, reason):
  assert clean.reject(text, RULES) == reason


def test_the_report_adds_up():
  items = [
    {'id': str(i), 'source': 's', 'text': t} for i, t in enumerate(['短', '短短', '好好学习天天向上'])
  ]
  kept, report = clean.clean(items, lambda _: RULES)
  assert [item['id'] for item in kept] == ['2']
  dropped = {'too_short': {'count': 2, 'samples': ['短', '短短']}}
  assert report == {'s': {'in': 3, 'kept': 1, 'dropped': dropped}}
