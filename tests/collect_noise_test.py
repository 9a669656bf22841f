"""A line about the page is told from a line of its text."""

import pytest

from zhlm.collect.noise import is_noise


@pytest.mark.parametrize(
  ('line', 'noise'),
  [
    ('堤坝内侧种植了三万株柳树，根系可以固定土壤。', False),
    ('默认值', False),
    ('等灯', False),
    ('月亮也不急', False),
    ('}', False),
    ('他点击了一下鼠标，程序就开始下载。', False),
    ('首页 > 新闻 > 国内', True),
    ('上一篇：路灯更换完毕 下一篇：春季植树', True),
    ('来源：某报 作者：某人 2020年1月2日 08:30', True),
    ('某某公司版权所有 © 2020', True),
    ('扫描二维码，关注公众号！', True),
    ('2020-01-02 08:30', True),
    ('* * *', True),
    ('热点|专题|图片', True),
    ('热点专题图片', True),
  ],
)
def test_a_line_of_noise(line, noise):
  assert is_noise(line, {'热点': None, '专题': None, '图片': None}) is noise
