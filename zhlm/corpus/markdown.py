"""The data report as Markdown, Chinese and English side by side."""

from collections import Counter


def table(head, rows):
  """A Markdown table."""
  lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
  for row in rows:
    cells = (f'{c:,}' if isinstance(c, int) else str(c).replace('|', '\\|') for c in row)
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def render(whole, samples):
  """The report as Markdown; `samples` are {table: rows}."""
  parts = [
    '# 数据报告 · Data report',
    _sources_part(whole),
    _rules_part(whole),
    _shapes_part(whole),
    _tables_part(whole),
    _datasets_part(whole),
    _tokenizer_part(whole),
    _words_part(whole['words']),
    '## 其他 · Other counts\n\n' + table(['', '数量 count'], whole['notes'].items()),
    _steps_part(whole),
    '## 样例 · Samples\n\n' + '\n\n'.join(_rows_part(n, rows) for n, rows in samples.items()),
  ]
  return '\n\n'.join(filter(None, parts)) + '\n'


def _share(part, of):
  return f'{part / of:.1%}' if of else '—'


def _sources_part(whole):
  rows = [
    (
      name,
      s['in'],
      s['kept'],
      _share(s['kept'], s['in']),
      s['characters'],
      _share(s['characters'], s['characters_in']),
    )
    for name, s in sorted(whole['sources'].items())
  ]
  head = ['来源 source', '读入 in', '保留 kept', '占比 share', '字符 characters', '字符占比 share']
  return '## 来源 · Sources\n\n' + table(head, rows)


def _rules_part(whole):
  total, everything = Counter(), sum(s['in'] for s in whole['sources'].values())
  for about in whole['sources'].values():
    total.update(about['dropped'])
  rows, gone = [], 0
  bad = [('bad_record', whole['notes']['bad_record'])] if 'bad_record' in whole['notes'] else []
  for rule, count in [*bad, *total.most_common()]:
    gone += count
    shown = '　'.join(_line(row) for row in whole['rejected'][rule]) if rule in whole['rejected'] else ''
    rows.append((rule, count, _share(count, everything), _share(gone, everything), shown))
  head = ['规则 rule', '丢弃 dropped', '占比 share', '累计 cumulative', '样例 samples']
  by_source = [
    (source, rule, count, _share(count, about['in']))
    for source, about in sorted(whole['sources'].items())
    for rule, count in about['dropped'].items()
  ]
  parts = ['## 为何丢弃 · Why dropped', table(head, rows)]
  parts += ['更多样例 More samples: `rejected/*.jsonl`', '### 按来源 · By source']
  parts += [table(['来源 source', '规则 rule', '丢弃 dropped', '占比 share'], by_source)]
  return '\n\n'.join(parts)


def _line(row):
  if 'why' in row:
    return f'{row["where"]}: {row["why"]}'
  value = f'{row["value"]:.3g}' if isinstance(row['value'], float) else row['value']
  return f'（{value}）{row["text"][:40]}'.replace('\n', ' ')


def _shapes_part(whole):
  names = {
    'characters': '长度（字符）characters',
    'han_share': '汉字占比 share of Han',
    'script': '字体 script',
  }
  parts = ['## 分布 · Histograms']
  for name, counts in whole['histograms'].items():
    rows = [(k, n, '▇' * round(40 * n / max(1, *counts.values()))) for k, n in counts.items()]
    parts.append(table([names.get(name, name), '文本 texts', ''], rows))
  sizes = table(['同簇文本数 texts in a cluster', '簇数 clusters'], whole['clusters'].items())
  note = '一簇之内的文本不会分到两个集合。Texts of one cluster never meet two splits.'
  return '\n\n'.join([*parts, '### 近似重复 · Near-duplicates', note, sizes])


def _tables_part(whole):
  splits = ('train', 'validation', 'test')
  rows = [(name, *(t.get(s, 0) for s in splits)) for name, t in whole['tables'].items()]
  missing = [name for name, t in whole['tables'].items() if not t]
  note = f'\n\n来源中没有 · The source holds no: {", ".join(missing)}' if missing else ''
  head = ['表 table', '训练 train', '验证 validation', '测试 test']
  return '## 划分 · Splits\n\n' + table(head, rows) + note


def _datasets_part(whole):
  rows = [
    (stage, split, d['records'], d['tokens'], d['longest'], d['sha256'][:12])
    for stage, splits in whole['datasets'].items()
    for split, d in splits.items()
  ]
  head = ['阶段 stage', '集合 split', '条数 records', '词元 tokens', '最长 longest', 'sha256']
  return '## 数据集 · Datasets\n\n' + table(head, rows)


def _tokenizer_part(whole):
  fields = ('vocab_size', 'characters', 'tokens', 'characters_per_token', 'byte_tokens_share')
  rows = [(name, *(about[field] for field in fields)) for name, about in whole['tokenizer'].items()]
  head = ['测试文本 test text', '词表 vocabulary', '字符 characters', '词元 tokens']
  head += ['字符/词元 characters a token', '字节词元占比 share of byte tokens']
  return '## 分词器 · Tokenizer\n\n' + table(head, rows)


def _words_part(words):
  title = '## 词 · Words'
  if not words:
    return f'{title}\n\n没有标注 Not annotated: `--config.annotate=True`'
  plain = [(name, round(v, 4)) for name, v in words.items() if isinstance(v, int | float)]
  nested = [
    (f'{name}', '　'.join(f'{k} {n:.4g}' for k, n in v.items()))
    for name, v in words.items()
    if isinstance(v, dict)
  ]
  return f'{title}\n\n' + table(['', ''], plain + nested)


def _steps_part(whole):
  fields = ('seconds', 'cpu_seconds', 'megabytes', 'megabytes_per_cpu_second', 'peak_megabytes')
  rows = [(name, *(step[field] for field in fields)) for name, step in whole['steps'].items()]
  head = ['步骤 step', '秒 s', 'CPU 秒 CPU-s', 'MB', 'MB/CPU-s', '内存峰值 peak MB']
  return '## 用时 · Time and memory\n\n' + table(head, rows)


def _rows_part(name, rows):
  return f'### {name}\n\n' + '\n'.join(f'- `{row["source"]}` {_show(row)}' for row in rows)


def _show(row):
  if 'messages' in row:
    text = ' → '.join(m['content'] for m in row['messages'])
  elif 'completions' in row:
    ranked = zip(row['ranks'], row['completions'], strict=True)
    text = row['prompt'][-1]['content'] + ' → ' + ' '.join(f'({r}) {c}' for r, c in ranked)
  elif 'prompt' in row:
    text = row['prompt'][-1]['content']
  else:
    text = row['text'] + (f'（{row["label"]}）' if 'label' in row else '')
  return text[:300].replace('\n', ' ')
