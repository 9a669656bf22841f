"""What the benchmarks work on: long documents of a source of yours, and web pages made of them."""

from typing import NamedTuple

from zhlm.collect import pages, sources
from zhlm.corpus import hashing
from zhlm.errors import InputError

LONG = 3_000  # bytes of UTF-8: the bars are of documents from this size on …
SHORT = 120  # characters: … and some of texts as short as a poem
_MOST_READ = 4  # times a file's share, when it holds few long documents


class Material(NamedTuple):
  """Items of at least `LONG` bytes in an order of their own, and where they come from."""

  items: list
  about: str


def size(texts):
  """Megabytes of UTF-8."""
  return sum(len(text.encode('utf-8', 'replace')) for text in texts) / 1e6


def load(source, described, megabytes):
  """So many megabytes of long documents from all files alike, mixed by the hash of their ids.

  Texts that are too short are joined when long ones are scarce. Raises InputError for no text.
  """
  found = sources.find(source, described)
  share, items, joined, counts = megabytes / len(found), [], [], {}
  for file in found:
    for item in _some(file, share):
      (joined if item['joined'] else items).append(item)
  if size(item['text'] for item in items) < megabytes / 10:
    items += joined
  if not items:
    raise InputError(f'{source}: no text to measure with')
  items.sort(key=lambda item: hashing.key(item['id']))
  for item in items:
    counts[item['source']] = counts.get(item['source'], 0) + len(item['text'].encode('utf-8', 'replace'))
  parts = ', '.join(f'{name} {n / 1e6:.1f}' for name, n in sorted(counts.items()))
  return Material(items, f'{len(items):,} documents of ≥ {LONG:,} bytes, MB: {parts}')


def _some(file, share):
  """Yields documents of one file, until it gave its share or much more was read for it."""
  given = read = 0.0
  waiting, waited = [], 0
  for item in sources.read(file):
    if given >= share or read >= _MOST_READ * share:
      return
    if not isinstance(item, dict) or item['kind'] != 'document':
      continue
    if 'html' in item:
      page = pages.extract(item.pop('html'), item.get('url', ''))
      if page is None:
        continue
      item['text'] = page['text']
    item = {k: item[k] for k in ('id', 'kind', 'text', 'source', 'licence', 'preset')}
    bytes_ = len(item['text'].encode('utf-8', 'replace'))
    read += bytes_ / 1e6
    if bytes_ >= LONG:
      given += bytes_ / 1e6
      yield {**item, 'joined': False}
      continue
    waiting.append(item['text'])
    waited += bytes_
    if waited >= LONG:
      yield {**item, 'text': '\n'.join(waiting), 'joined': True}
      waiting, waited = [], 0


def some(items, megabytes):
  """The first items, up to so many megabytes."""
  out, total = [], 0.0
  for item in items:
    total += len(item['text'].encode('utf-8', 'replace')) / 1e6
    if out and total > megabytes:
      break
    out.append(item)
  return out


def pieces(texts):
  """The texts cut into short ones of `SHORT` characters."""
  return [text[i : i + SHORT] for text in texts for i in range(0, len(text) - SHORT + 1, SHORT)]


_LINKS = ['首页', '新闻', '财经', '体育', '娱乐', '科技', '教育', '健康', '汽车', '房产', '旅游', '论坛']
_ADS = ('【广告】点击领取百元优惠券，限时抢购，先到先得！', '加微信免费领取内部资料，名额有限，速来！')
_STYLE = (
  'body{font:14px/1.8 sans-serif;color:#333}.nav li{float:left;margin:0 8px}.ad{border:1px solid #eee}' * 6
)
_SCRIPT = (
  'var _q=_q||[];(function(){var s=document.createElement("script");s.async=true;_q.push(s)})();' * 8
)


def page(title, text):
  """A text as the article of a news site: head, menu, advertisements between its paragraphs, footer."""
  links = ''.join(
    f'<li><a href="/c/{i}.html" target="_blank">{name}</a></li>' for i, name in enumerate(_LINKS)
  )
  more = ''.join(
    f'<li><a href="/a/{i}.html">{name}频道今日要闻回顾</a></li>' for i, name in enumerate(_LINKS)
  )
  lines = [_escaped(line) for line in text.split('\n') if line.strip()]
  ad = '<div class="ad" id="ad-{}"><a href="/go?id={}">{}</a></div>'
  body = [f'<p class="p{i}">{line}</p>' for i, line in enumerate(lines)]
  for i, words in enumerate(_ADS):
    body.insert((i + 1) * len(body) // 3, ad.format(i, i, words))
  return f"""<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>{_escaped(title)} - 小城在线</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><script>{_SCRIPT}</script></head>
<body><div id="header"><a href="/"><img src="/logo.png" alt="小城在线"></a>
<a href="/login">登录</a> <a href="/register">免费注册</a></div><ul class="nav">{links}</ul>
<div class="crumbs">当前位置：<a href="/">首页</a> &gt; <a href="/news/">新闻</a> &gt; 正文</div>
<div class="main"><div class="article"><h1>{_escaped(title)}</h1>
<div class="info">来源：小城在线 作者：李明 2020-11-02 08:30</div>
{chr(10).join(body)}
<div class="share">分享到：微信 微博 QQ空间</div></div>
<div class="side"><h3>热门推荐</h3><ul>{more}</ul></div></div>
<div class="footer"><a href="/about">关于我们</a> | <a href="/contact">联系我们</a><br>
版权所有 © 2005-2020 小城在线 备案号：ICP备05000000号</div><script>{_SCRIPT}</script></body></html>"""


def _escaped(text):
  return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
