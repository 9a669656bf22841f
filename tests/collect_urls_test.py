"""URLs have one spelling, answers one meaning, whatever stands in them."""

import pytest

from tests.site import config
from zhlm.collect import answer, urls

pytest.importorskip('scrapy')


@pytest.mark.parametrize(
  'href', ['http://[bad', 'http://a.cn:99999/', '\x00', '\ud83d', '%', '//', '?', ' x y ']
)
@pytest.mark.parametrize(
  'tag', ['<base href="%s">', '<a href="%s">', '<meta http-equiv=refresh content="0;url=%s">']
)
def test_no_link_stops_a_crawl(href, tag):
  body = (tag % href + '<a href="/ok">').encode('utf-8', 'surrogatepass')
  outcome, found = answer.judge(answer.Answer(200, (), body), 'http://a.cn/', 0, 0, config())
  assert outcome == 'page'
  assert 'base' in tag or 'http://a.cn/ok' in [url for url, *_ in found]


@pytest.mark.parametrize(
  'url, expected',
  [
    (
      'HTTP://例子.测试:80/路 径?q=中#部分',
      'http://xn--fsqu00a.xn--0zwm56d/%E8%B7%AF%20%E5%BE%84?q=%E4%B8%AD',
    ),
    ('https://u:p@A.cn.:443', 'https://a.cn/'),
    ('https://a.cn:8443/x?', 'https://a.cn:8443/x'),
    ('http://a.cn/x;jsessionid=1A?b=2&PHPSESSID=3&a=1&sid=7', 'http://a.cn/x?b=2&a=1&sid=7'),
    ('http://a.cn/x?sid=0123456789abcdef', 'http://a.cn/x'),
    ('http://a.cn/(S(0123456789abcdef01234567))/x.aspx', 'http://a.cn/x.aspx'),
    ('http://[::1]:80/', 'http://[::1]/'),
    ('http://[::1/', None),
    ('http://a.cn:99999/', None),
    ('http:///x', None),
    ('ftp://a.cn/', None),
    ('javascript:void(0)', None),
    ('', None),
  ],
)
def test_a_page_has_one_spelling(url, expected):
  scope = config().scope
  assert urls.clean(url, scope) == expected
  assert expected is None or urls.clean(expected, scope) == expected


def test_the_order_of_query_fields_and_percent_codes_make_no_second_page():
  assert urls.key('http://a.cn/%7ex/./y?b=2&a=1') == urls.key('http://a.cn/~x/y?a=1&b=2')
  assert urls.key('http://a.cn/?a=1') != urls.key('http://a.cn/?a=2')


def test_a_query_is_asked_for_in_the_encoding_of_its_page():
  assert urls.clean('http://a.cn/路?q=中', config().scope, 'gb18030') == 'http://a.cn/%E8%B7%AF?q=%D6%D0'


@pytest.mark.parametrize(
  'value, seconds',
  [('120', 120), ('Sun, 22 Nov 2026 00:01:00 GMT', 60), ('Sun, 06 Nov 1994 08:49:37 GMT', 0)]
  + [(value, None) for value in ('', 'soon', '-5', '9' * 30, '1.5')],
)
def test_retry_after_is_a_number_or_a_date(value, seconds):
  busy = answer.Answer(503, (('Retry-After', value),))
  assert answer.retry_after(busy, now=1_795_305_600) == seconds


def test_robots_txt_is_cut_at_the_end_of_a_line():
  body = b'User-agent: *\nDisallow: /a\nDisallow: /bcd\n'
  for most, blocked in ((len(body), 'a bcd'), (len(body) - 2, 'a'), (27, 'a'), (26, '')):
    rules = answer.parse_robots(body, most)
    found = [path for path in ('a', 'b', 'bcd') if not rules.can_fetch(f'http://a.cn/{path}', 'zhlm')]
    assert ' '.join(found) == blocked
