"""Numbers and addresses that belong to a person, masked; what cannot be checked stays as it is.

An identity number must have a valid checksum, province and birthday; a bank card a valid Luhn sum and
the word for it; a QQ number or WeChat name the word before it. Public officials' names, postal addresses
and landlines are not looked for.
"""

import datetime
import ipaddress
import re

MASKS = {  # `normalise` leaves these alone, and no chat marker looks like them
  'id_card': '<身份证号>',
  'bank_card': '<银行卡号>',
  'email': '<邮箱>',
  'mobile': '<手机号>',
  'qq': '<QQ号>',
  'wechat': '<微信号>',
  'ip': '<IP地址>',
}
_PROVINCES = re.compile('1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]')  # GB/T 2260
_WEIGHTS = [2 ** (17 - i) % 11 for i in range(17)]  # ISO 7064 MOD 11-2

# Patterns start with a digit class or a literal and look back from there: a regex that starts with
# looking back is tried at every character. Bounded lengths keep any text from taking quadratic time.
_LONG = re.compile('[0-9]{3}(?:[0-9]{2}|[ -][0-9]{4})')  # every number below but IP holds one of these
_ID_18 = re.compile('[1-8](?<![0-9].)[0-9]{16}[0-9Xx](?![0-9A-Za-z])')
_ID_15 = re.compile('(身份证[^0-9\n]{0,8})([1-8][0-9]{14})(?![0-9A-Za-z])')
_CARD = re.compile(
  '((?:卡号|[账帐][号户]|银行卡|储蓄卡|信用卡)[^0-9\n]{0,8})([1-9](?:[ -]?[0-9]){14,18})(?![0-9])'
)
_MOBILE = re.compile('1[3-9][0-9](?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4})(?![0-9A-Za-z_]|\\.[0-9])')
_BEFORE_MOBILE = re.compile('(?:^|[^0-9A-Za-z_])(?:(?:00)?86[ -]?)?$')
_DECIMAL = re.compile('[0-9][.]$')
_EMAIL_NAME = re.compile('[A-Za-z0-9._%+-]{1,64}$')
_EMAIL = re.compile('@(?:[A-Za-z0-9-]{1,63}\\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])')
_QQ_WORDS = ('QQ', 'qq', 'Qq', '企鹅', '扣扣')
_QQ = re.compile('((?:QQ|qq|Qq|企鹅|扣扣)(?:[号群码是为加]|联系|[:\\s：]){0,8})([1-9][0-9]{4,10})(?![0-9])')
_WECHAT_WORDS = ('微信', '薇信', '徽信', 'V信', 'v信', 'VX', 'vx', 'Vx', 'eixin', 'echat', 'eChat', 'WE')
_WECHAT = re.compile(
  '((?:[微薇徽]信|(?<![0-9A-Z_])(?:V信|(?:VX|WEIXIN|WECHAT)(?![0-9A-Z_])))[ 加是为]{0,3}(号? ?[:：]|号)? ?)'
  '([A-Z][0-9A-Z_-]{5,19})(?![0-9A-Z_-])',
  re.IGNORECASE | re.ASCII,
)
_IP = re.compile('[0-9](?<![0-9A-Za-z_.].)[0-9]{0,2}(?:\\.[0-9]{1,3}){3}(?![0-9A-Za-z_]|[./][0-9])')


def mask(text):
  """The text with each private item replaced by its name in brackets, and {kind: count} of them."""
  counts = {}

  def put(kind, pattern, holds):
    """Masks what follows the first group in each match that holds."""

    def one(match):
      if not holds(match):
        return match[0]
      counts[kind] = counts.get(kind, 0) + 1
      return (match[1] if pattern.groups else '') + MASKS[kind]

    return pattern.sub(one, text)

  if '@' in text:  # first: the name in an address may be a mobile or QQ number
    text, emails = _mask_emails(text)
    counts = {'email': emails} if emails else counts
  if _LONG.search(text):
    text = put('id_card', _ID_18, lambda m: is_id_card(m[0]))
    if '身份证' in text:
      text = put('id_card', _ID_15, lambda m: _is_born(m[2][:2], '19' + m[2][6:12]))
    if any(word in text for word in ('卡', '账', '帐')):
      text = put('bank_card', _CARD, lambda m: is_luhn(m[2]))
    text = put('mobile', _MOBILE, _is_mobile)
    if any(word in text for word in _QQ_WORDS):
      text = put('qq', _QQ, lambda _: True)
  if any(word in text for word in _WECHAT_WORDS):
    text = put('wechat', _WECHAT, _is_wechat)
  if text.count('.') >= 3:
    text = put('ip', _IP, lambda m: _is_public(m[0]))
  return text, counts


def _mask_emails(text):
  """The text without addresses, and how many they were; a name is looked for backwards from its @."""
  parts, end = [], 0
  for domain in _EMAIL.finditer(text):
    at = domain.start()
    if name := _EMAIL_NAME.search(text, max(end, at - 64), at):
      parts += [text[end : name.start()], MASKS['email']]
      end = domain.end()
  return ''.join(parts) + text[end:], len(parts) // 2


def is_id_card(number):
  """Whether 18 characters are a Chinese identity number (GB 11643): province, birthday and checksum."""
  total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
  return _is_born(number[:2], number[6:14]) and '10X98765432'[total % 11] == number[17].upper()


def _is_born(province, day):
  """Whether a province and a birthday (yyyymmdd) can be those of a living person."""
  try:
    datetime.date(int(day[:4]), int(day[4:6]), int(day[6:]))
  except ValueError:
    return False
  return bool(_PROVINCES.match(province)) and '1900' <= day[:4] < '2100'


def is_luhn(number):
  """Whether a card number (blanks and hyphens allowed) has a valid check digit (ISO/IEC 7812)."""
  digits = [int(c) for c in reversed(number) if c.isdigit()]
  return sum(digits[::2] + [sum(divmod(2 * d, 10)) for d in digits[1::2]]) % 10 == 0


def _is_mobile(match):
  """Whether eleven digits begin where a number does (after 86 at most), and not inside 0.13…"""
  before = match.string[max(match.start() - 8, 0) : match.start()]
  return bool(_BEFORE_MOBILE.search(before)) and not _DECIMAL.search(before)


def _is_wechat(match):
  """A name after a colon or 号; elsewhere (微信 Android 版) only one that no word looks like."""
  return bool(match[2]) or any(c.isdigit() or c == '_' for c in match[3])


def _is_public(number):
  """Whether four numbers are a public IPv4 address, and not a version or section (v5.1.2.3)."""
  if max(map(int, number.split('.'))) < 64:
    return False
  try:
    return ipaddress.ip_address(number).is_global
  except ValueError:
    return False
