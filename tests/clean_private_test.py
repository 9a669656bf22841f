"""What belongs to a person is masked; a number that cannot be one stays."""

import random

import pytest

from zhlm.clean.normalise import normalise
from zhlm.clean.private import MASKS, is_id_card, is_luhn, mask


def checksum(seventeen):
  """ISO 7064 MOD 11-2 by its recursive definition: s = 2 (s + digit) mod 11; the last digit makes it 1."""
  state = 0
  for digit in seventeen:
    state = (state + int(digit)) * 2 % 11
  return '0123456789X'[(12 - state) % 11]


def luhn(digits):
  """The check digit, doubling from the right."""
  total = 0
  for i, d in enumerate(reversed(digits)):
    d = int(d) * (2 if i % 2 == 0 else 1)
    total += d - 9 if d > 9 else d
  return str(-total % 10)


@pytest.mark.parametrize(
  ('text', 'wanted', 'kind'),
  [
    ('身份证11010519491231002X。', '身份证<身份证号>。', 'id_card'),  # the standard's own example
    ('号码：440524188001010014', '号码：440524188001010014', None),  # born 1880
    ('号码：110105194912310021', '号码：110105194912310021', None),  # a bad checksum stays
    ('身份证号码：110105491231002', '身份证号码：<身份证号>', 'id_card'),
    ('已交身份证，流水号在下面一行里：110105491231002', None, None),  # fifteen digits alone prove nothing
    ('打13812345678找我', '打<手机号>找我', 'mobile'),
    ('+86 138-1234-5678', '+86 <手机号>', 'mobile'),
    ('8613812345678', '86<手机号>', 'mobile'),
    ('12812345678', '12812345678', None),
    ('订单138123456789', '订单138123456789', None),  # a longer run of digits
    ('订单9913812345678', '订单9913812345678', None),
    ('圆周率0.13812345678', '圆周率0.13812345678', None),
    ('写信给 li.lei+a@mail.example.com.cn。', '写信给 <邮箱>。', 'email'),
    ('13812345678@163.com', '<邮箱>', 'email'),
    ('@property 和 a@b', '@property 和 a@b', None),
    ('加QQ：12345678 聊', '加QQ：<QQ号> 聊', 'qq'),
    ('企鹅号 100100', '企鹅号 <QQ号>', 'qq'),
    ('人口12345678', '人口12345678', None),
    ('加微信abc_12345详谈', '加微信<微信号>详谈', 'wechat'),
    ('VX：lilei2020', 'VX：<微信号>', 'wechat'),
    ('微信 Android 版很好', '微信 Android 版很好', None),
    ('微信公众号：xinwenlianbo', '微信公众号：xinwenlianbo', None),
    ('卡号：6222 0212 3456 7890 128', '卡号：<银行卡号>', 'bank_card'),
    ('卡号：6222 0212 3456 7890 120', '卡号：6222 0212 3456 7890 120', None),  # a bad Luhn sum
    ('单号：6222021234567890128', '单号：6222021234567890128', None),  # no word for a card before it
    ('来自 203.208.60.1 的请求', '来自 <IP地址> 的请求', 'ip'),
    ('本机 192.168.1.100，版本 1.2.3.4，网段 203.208.60.0/24', None, None),
    ('见 203.208.60.256 与 5.1.2.3.4', None, None),
  ],
)
def test_masked_or_left_alone(text, wanted, kind):
  wanted = wanted or text
  assert mask(text) == (wanted, {kind: 1} if kind else {})
  assert mask(wanted) == (wanted, {})  # a mask is never masked again


def test_the_checksum_is_that_of_iso_7064():
  draw = random.Random(0)
  for _ in range(300):
    day = f'{draw.randrange(1900, 2030)}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}'
    number = f'{draw.choice((11, 44, 65, 81))}{draw.randrange(10**4):04}{day}{draw.randrange(1000):03}'
    right = checksum(number)
    assert [c for c in '0123456789X' if is_id_card(number + c)] == [right]
    assert mask(f'他是{number}{right}。') == ('他是<身份证号>。', {'id_card': 1})


@pytest.mark.parametrize('number', ['17010519491231', '11010519491331', '11010519490230', '11010518991231'])
def test_without_province_or_birthday_a_valid_checksum_is_not_enough(number):
  number += '002'
  number += checksum(number)
  assert mask(number) == (number, {})


def test_the_card_sum_is_luhn():
  draw = random.Random(0)
  for _ in range(200):
    number = ''.join(draw.choices('0123456789', k=draw.randrange(15, 19)))
    assert [c for c in '0123456789' if is_luhn(number + c)] == [luhn(number)]


def test_all_kinds_in_one_text_are_counted():
  text = '电话13812345678、13912345678，QQ 10000，微信：lilei1，a@b.cn，203.208.60.1，11010519491231002X'
  masked, counts = mask(text)
  assert counts == {'mobile': 2, 'qq': 1, 'wechat': 1, 'email': 1, 'ip': 1, 'id_card': 1}
  assert counts == {kind: masked.count(m) for kind, m in MASKS.items() if m in masked}


def test_masks_are_in_normal_form():
  for placeholder in MASKS.values():
    assert normalise(placeholder) == placeholder


@pytest.mark.parametrize(
  'part', ['a', '1', '1 ', 'a@', '138-', '1.', 'QQ', '微信', 'a.', '@a.', 'a@b.cn,', '卡号1']
)
def test_no_text_takes_quadratic_time(part):
  text = part * 200_000
  mask(text)  # minutes, were it quadratic
