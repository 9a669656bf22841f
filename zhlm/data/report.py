"""What was done to the data, in words and tables, Chinese and English side by side."""

SAMPLES = 3


def table(head, rows):
  """A Markdown table; columns of numbers are right-aligned by their content."""
  lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
  for row in rows:
    cells = (f'{c:,}' if isinstance(c, int) else str(c).replace('|', '\\|') for c in row)
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def markdown(summary, tables):
  """The report as Markdown; `tables` lend a few samples."""
  parts = [
    '# 数据报告 · Data report',
    _sources(summary),
    _tables(summary),
    _datasets(summary),
    _tokenizer(summary),
    '## 其他 · Other counts\n\n' + table(['', '数量 count'], summary['notes'].items()),
    '## 用时 · Seconds a step\n\n' + table(['步骤 step', '秒 s'], summary['seconds'].items()),
    '## 样例 · Samples\n\n' + '\n\n'.join(_samples(n, t) for n, t in tables.items()),
  ]
  return '\n\n'.join(parts) + '\n'


def _sources(summary):
  rows = [(name, s['in'], s['kept'], s['in'] - s['kept']) for name, s in summary['sources'].items()]
  why = [
    (name, reason, d['count'], '　'.join(d['samples']))
    for name, s in summary['sources'].items()
    for reason, d in sorted(s['dropped'].items(), key=lambda x: -x[1]['count'])
  ]
  sizes = table(['同簇文本数 texts in a cluster', '簇数 clusters'], summary['clusters'].items())
  return '\n\n'.join(
    [
      '## 来源 · Sources',
      table(['来源 source', '读入 in', '保留 kept', '丢弃 dropped'], rows),
      '### 为何丢弃 · Why dropped',
      table(['来源 source', '规则 rule', '数量 count', '样例 samples'], why),
      '### 近似重复 · Near-duplicates',
      '一簇之内的文本不会分到两个集合。Texts of one cluster never meet two splits.',
      sizes,
    ]
  )


def _tables(summary):
  splits = ('train', 'validation', 'test')
  rows = [(name, *(t.get(s, 0) for s in splits)) for name, t in summary['tables'].items()]
  missing = [name for name, t in summary['tables'].items() if not t]
  note = f'\n\n来源中没有 · The source holds no: {", ".join(missing)}' if missing else ''
  head = ['表 table', '训练 train', '验证 validation', '测试 test']
  return '## 划分 · Splits\n\n' + table(head, rows) + note


def _datasets(summary):
  rows = [
    (stage, split, d['records'], d['tokens'], d['longest'], d['sha256'][:12])
    for stage, splits in summary['datasets'].items()
    for split, d in splits.items()
  ]
  head = ['阶段 stage', '集合 split', '条数 records', '词元 tokens', '最长 longest', 'sha256']
  return '## 数据集 · Datasets\n\n' + table(head, rows)


def _tokenizer(summary):
  rows = [
    (
      name,
      t['vocab_size'],
      t['characters'],
      t['tokens'],
      t['characters_per_token'],
      t['byte_tokens_share'],
    )
    for name, t in summary['tokenizer'].items()
  ]
  head = ['测试文本 test text', '词表 vocabulary', '字符 characters', '词元 tokens']
  head += ['字符/词元 characters a token', '字节词元占比 share of byte tokens']
  return '## 分词器 · Tokenizer\n\n' + table(head, rows)


def _samples(name, splits):
  lines, seen = [], {}
  for row in splits.get('train', []):
    if seen.setdefault(row['source'], 0) < SAMPLES:
      seen[row['source']] += 1
      lines.append(f'- `{row["source"]}` {_show(row)}')
  return f'### {name}\n\n' + '\n'.join(lines)


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
