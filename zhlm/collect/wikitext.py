"""Wikitext as plain prose; expands no templates, and knows no files.

One pass over the brackets, with a stack, resolves what nests: templates, links, tables, footnotes and the
variants of `-{…}-`. What is left has no nesting and is done with patterns.
"""

import re
from html import unescape

# Which text of `-{…}-` is taken: the first that is there.
VARIANTS = ('zh-cn', 'zh-hans', 'zh-sg', 'zh-my', 'zh', 'zh-hant', 'zh-tw', 'zh-hk', 'zh-mo')
MAX_NESTING = 40  # MediaWiki's own limit for templates in templates

# Sections that hold lists and no prose.
_NO_PROSE = (
  '参考文献 參考文獻 参考资料 參考資料 参考书目 參考書目 参考来源 參考來源 参考 參考 资料来源 資料來源 来源'
  ' 來源 文献 文獻 书目 書目 引用 引注 脚注 腳註 注释 注釋 註釋 註解 注解 注 註 备注 備註 外部链接 外部連結'
  ' 外部鏈接 参见 參見 参看 參看 另见 另見 相关条目 相關條目 相关链接 延伸阅读 延伸閱讀 扩展阅读 擴展閱讀'
  ' 进一步阅读 图集 圖集 图库 圖庫 画廊 畫廊'
)
_NO_PROSE = frozenset(_NO_PROSE.split())
# Templates that stand for a piece of a sentence: which of their arguments it is (the first that is there).
_INLINE = {
  (1,): 'nowrap nobr small big nobold smaller larger 僻字 缺字 quote cquote blockquote ruby formatnum lc uc'
  ' illm abbr tooltip kbd mono sub sup u',
  (2,): 'lang color colour fontcolor langwithname transl',
  (3, 1): 'le link',
  (4, 3, 2): 'tsl translink',
}
_INLINE = {name: numbers for numbers, names in _INLINE.items() for name in names.split()}
_JOINED = {
  'convert': '{}{}',
  'cvt': '{}{}',
  'bd': '{}{}－{}{}',
  'frac': '{}/{}',
}  # and those that are several

_VERBATIM = re.compile(
  r'<!--.*?(?:-->|\Z)'
  r'|<(nowiki|math|chem|ce|pre|code|source|syntaxhighlight)\b[^<>]*(?:/>|>(.*?)(?:</\1\s*>|\Z))',
  re.S | re.I,
)
_BRACKET = re.compile(
  r'(?P<table>^[ \t:]*\{\|)|(?P<end_table>^[ \t]*\|\}(?!\}))|\{\{|\}\}|-\{(?!\{)|\}-|\[\[|\]\]'
  r'|<(?P<end_tag>/?)(?P<tag>ref|gallery|timeline|score|imagemap|graph|indicator|templatedata)\b[^<>]*>',
  re.M | re.I,
)
# What each opens, and what it closes.
_BRACKETS = {'{{': ('{{', ''), '-{': ('-{', ''), '[[': ('[[', '')}
_BRACKETS |= {'}}': ('', '{{'), '}-': ('', '-{'), ']]': ('', '[[')}
_NO_TEXT = 'file image media category 文件 档案 檔案 图像 圖像 图片 圖片 媒体 媒體 分类 分類'
_NO_TEXT = frozenset(_NO_TEXT.split())
_LANGUAGE = re.compile(r'[a-z]{2,3}(?:-[a-z]+)*|simple|tokipona')
_RULE = re.compile(r'(?:\A|;)\s*(?:[^;:]*=>\s*)?(zh(?:-[a-z]+)?)\s*:', re.I)
_FLAGS = re.compile(r'[\s;A-Za-z-]*')
_HEADING = re.compile(r'(={1,6})\s*(.+?)\s*\1\s*')
_PLAIN = [
  (re.compile(r"'{2,5}"), ''),
  (re.compile(r'\[(?:[a-z]{3,6}:)?//[^\s\[\]]+(?:[ \t]+([^\[\]\n]*))?\]', re.I), r'\1'),
  (re.compile(r'<br\b[^<>]*>', re.I), '\n'),
  (re.compile(r'</?[a-z][^<>]*>', re.I), ''),
  (re.compile(r'__[^\W_]+__'), ''),
]
# A template that is gone leaves its brackets and commas behind.
_LEFT_OVER = [
  (re.compile(r'(?<=[（(])[ ，,、；;：:]+|(?<![ ，,、；;：:])[ ，,、；;：:]+(?=[）)])'), ''),
  (re.compile(r'（）|\(\)|《》|「」|“”'), ''),
]


def plain(wikitext):
  """The prose of an article, a paragraph or heading a line; formulas stay as $LaTeX$."""
  kept = []

  def keep(match):
    if not match[2]:
      return ''
    maths = (match[1] or '').lower() in ('math', 'chem', 'ce')
    kept.append(f'${match[2].strip()}$' if maths else match[2])
    return f'\0{len(kept) - 1}\0'  # XML has no NUL, so nothing else looks like this

  text = _resolve(_VERBATIM.sub(keep, wikitext))
  for pattern, new in _PLAIN:
    text = pattern.sub(new, text)
  text = unescape(text)
  for pattern, new in _LEFT_OVER:
    text = pattern.sub(new, text)
  text = re.sub('\0(\\d+)\0', lambda match: kept[int(match[1])], text)
  return '\n'.join(_prose(text.split('\n')))


def _prose(lines):
  """Lines without empty ones, list marks, rests of tables, sections without prose, and empty sections."""
  headings, skipped = [], 7
  for line in map(str.strip, lines):
    heading = line.endswith('=') and len(line) < 300 and _HEADING.fullmatch(line)
    if heading:
      level, title = len(heading[1]), heading[2]
      if level > skipped:
        continue
      skipped = level if title in _NO_PROSE else 7
      headings = [(n, t) for n, t in headings if n < level] + [(level, title)] * (skipped == 7)
      continue
    line = line.lstrip('*#:; \t')
    if skipped < 7 or not re.search(r'\w', line) or line.startswith(('|', '!')):
      continue
    yield from (title for _, title in headings)
    headings = []
    yield line


def _resolve(text):
  """The text with every bracketed piece replaced, from the inside out, by what it stands for."""
  stack, count, end = [('', [])], {}, 0
  for match in _BRACKET.finditer(text):
    stack[-1][1].append(text[end : match.start()])
    end = match.end()
    opener, closes = _BRACKETS.get(match[0]) or _bracket(match)
    if opener:
      if len(stack) < MAX_NESTING:
        stack.append((opener, []))
        count[opener] = count.get(opener, 0) + 1
    elif count.get(closes):
      while True:  # what was opened inside and never closed stays as text
        kind, parts = stack.pop()
        count[kind] -= 1
        if kind == closes:
          break
        stack[-1][1].extend(parts)
      stack[-1][1].append(_meaning(kind, ''.join(parts)))
  parts = [part for _, parts in stack for part in parts]
  return ''.join([*parts, text[end:]])


def _bracket(match):
  """What a table mark or tag opens or closes; a tag that closes itself does neither."""
  if match['table']:
    return '{|', ''
  if match['end_table']:
    return '', '{|'
  name = f'<{match["tag"].lower()}'
  return ('', name) if match['end_tag'] else ('', '') if match[0].endswith('/>') else (name, '')


def _meaning(kind, content):
  if kind == '[[':
    return _link(content)
  if kind == '-{':
    return variant(content)
  return _template(content) if kind == '{{' else ''


def variant(content):
  """What `-{content}-` shows to a reader in mainland China."""
  flags, bar, rest = content.partition('|')
  if not bar or not _FLAGS.fullmatch(flags):
    flags, rest = '', content
  flags = {flag.strip().upper() for flag in flags.split(';')}
  if flags & {'H', 'T', '-'}:  # rules for the rest of the page, its title, the end of a rule: not shown
    return ''
  if 'R' in flags:
    return rest
  rules = list(_RULE.finditer(rest))
  ends = [rule.start() for rule in rules[1:]] + [len(rest)]
  texts = {
    rule[1].lower(): rest[rule.end() : end].strip().rstrip(';')
    for rule, end in zip(rules, ends, strict=False)
  }
  return next((texts[name] for name in VARIANTS if name in texts), rest if not rules else '')


def _link(content):
  target, bar, label = content.partition('|')
  target = target.strip()
  prefix = target.partition(':')[0].strip().lower() if ':' in target else ''
  if prefix in _NO_TEXT or (_LANGUAGE.fullmatch(prefix) and not bar):
    return ''
  if label.strip():
    return label
  target = target.lstrip(':#')
  return re.sub(r'\s*[(（][^()（）]*[)）]\s*\Z', '', target.partition(':')[2] or target) if bar else target


def _template(content):
  """The text of a template that stands for a piece of a sentence; '' of all others."""
  name, *values = content.split('|')
  name, colon, first = name.strip().lower().replace('_', ' ').partition(':')
  if name.startswith('lang-'):
    numbers = (1,)
  elif name.startswith(('link-', 'internal link helper')):
    numbers = (3, 1)
  else:
    numbers = _INLINE.get(name, ())
  if not numbers and name not in _JOINED:
    return ''
  arguments, number = {}, 0
  for value in [first, *values] if colon else values:
    key, equals, named = value.partition('=')
    if equals and re.fullmatch(r'\s*[\w-]+\s*', key):
      arguments[key.strip()] = named.strip()
    else:
      number += 1
      arguments[str(number)] = value.strip()
  if name in _JOINED:
    wanted = _JOINED[name]
    return wanted.format(*(arguments.get(str(n + 1), '') for n in range(wanted.count('{}'))))
  return next((arguments[str(n)] for n in numbers if arguments.get(str(n))), '')
