"""What happened to the texts, as HTML: how many came, which rule dropped which, what they look like.

It shows data/report.json of a prepared workdir, by itself (`render`) or as a part of the whole story.
"""

from collections import Counter

from zhlm.report.page import both, duration, facts, number, page, section, table, text, tree

_SHOWN = 160  # characters of a sample


def _share(part, whole):
  return f'{part / whole:.1%}' if whole else '—'


def overview(data):
  """The numbers that a reader asks for first."""
  sources = data['sources'].values()
  into, kept = (sum(s[k] for s in sources) for k in ('in', 'kept'))
  tokens = {stage: sum(d['tokens'] for d in splits.values()) for stage, splits in data['datasets'].items()}
  pairs = [
    (both('读入的文本', 'texts in'), number(into)),
    (both('保留', 'kept'), f'{number(kept)} ({_share(kept, into)})'),
    (both('保留的字符', 'characters kept'), number(sum(s['characters'] for s in sources))),
    *((both(f'{stage} 词元', f'{stage} tokens'), number(n)) for stage, n in tokens.items() if n),
    (both('用时', 'time'), both(*duration(data['seconds']))),
    (
      both('最大进程内存', 'largest process'),
      f'{max(s["peak_megabytes"] for s in data["steps"].values())} MB',
    ),
  ]
  return facts(pairs)


def sources_table(data):
  """One row a source."""
  names = ('in', 'kept', 'characters', 'train', 'validation', 'test')
  rows = {
    source: {
      **{name: about.get(name, 0) for name in names},
      '保留占比 share kept': _share(about['kept'], about['in']),
      '最常因 top drop': next((f'{r} {_share(n, about["in"])}' for r, n in about['dropped'].items()), '—'),
    }
    for source, about in sorted(data['sources'].items(), key=lambda pair: -pair[1]['in'])
  }
  return tree(rows)


def rules_table(data):
  """One row a rule: how many it dropped, and some of them to judge by."""
  total, into = Counter(), sum(about['in'] for about in data['sources'].values())
  for about in data['sources'].values():
    total.update(about['dropped'])
  rows, gone = [], 0
  bad = data['notes'].get('bad_record', 0)
  for rule, count in [*([('bad_record', bad)] if bad else []), *total.most_common()]:
    gone += count
    shown = ''.join(f'<p>{_sample(row)}</p>' for row in data['rejected'].get(rule, []))
    rows.append(
      [
        (text(rule), False),
        (number(count), True),
        (_share(count, into), True),
        (_share(gone, into), True),
        (shown, False),
      ]
    )
  head = [
    (both('规则', 'rule'), False),
    (both('丢弃', 'dropped'), True),
    (both('占比', 'share'), True),
    (both('累计', 'cumulative'), True),
    (both('样例（括号里是触发的值）', 'samples (the value that broke it)'), False),
  ]
  return table(head, rows) if rows else f'<p>{both("没有丢弃任何文本。", "Nothing was dropped.")}</p>'


def _sample(row):
  if 'why' in row:
    return f'<code>{text(row["where"])}</code> {text(row["why"])}'
  value = f'{row["value"]:.3g}' if isinstance(row['value'], float) else row['value']
  short = row['text'][:_SHOWN] + ('…' if len(row['text']) > _SHOWN else '')
  return f'<span class="en">({text(value)})</span> {text(short)}'


def sections(data):
  """The parts of the data report. `data` is report.json."""
  if not data:
    return section('data', '数据报告', 'Data report', '')
  parts = [
    overview(data),
    f'<h3>{both("来源", "Sources")}</h3>' + sources_table(data),
    f'<h3>{both("为何丢弃", "Why dropped")}</h3>' + rules_table(data),
    *(tree(counts, _titled(name)) for name, counts in data['histograms'].items()),
    tree(data['clusters'], both('同簇文本数（不跨集合）', 'texts in a cluster, which no split divides')),
    tree(data['tables'], both('划分', 'Splits')),
    tree(data['datasets'], both('数据集', 'Datasets')),
    tree(data['tokenizer'], both('分词器', 'Tokenizer')),
    tree(data['words'], both('词、词性、停用词', 'Words, parts of speech, stop words'))
    if data['words']
    else '',
    tree(data['notes'], both('其他', 'Other counts')) if data['notes'] else '',
    tree(data['steps'], both('每步的时间与内存', 'Time and memory of each step')),
  ]
  return section('data', '数据报告', 'Data report', ''.join(parts))


def _titled(name):
  known = {
    'characters': ('长度分布（字符，2 的幂）', 'length in characters, powers of two'),
    'han_share': ('汉字占比分布', 'share of Chinese characters'),
    'script': ('字体', 'script'),
    'labels': ('标签在一半以上的文本', 'texts of which a label is on more than half'),
  }
  return both(*known[name]) if name in known else text(name)


def render(data):
  """The page of a preparation as HTML, from its report.json."""
  title = f'<h1>{both("中文语料报告", "A Chinese corpus, reported")}</h1>'
  versions = {'config': data['config'], 'versions': data['versions'], 'inputs': data['inputs']}
  more = section('settings', '设置与版本', 'Settings and versions', tree(versions))
  return page('中文语料报告', title + sections(data) + more)
