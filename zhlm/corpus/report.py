"""What was done to the data, in numbers, words and samples, Chinese and English side by side."""

import json
import os
import shutil
from collections import Counter, defaultdict

from zhlm import disk
from zhlm.corpus import shards, steps
from zhlm.data.draw import fraction

SHOWN = 3  # samples a rule and a table in the report; rejected/ holds up to `steps.SAMPLES`


def write(folder, summary, results, lexical, told, seconds):
  """Writes report.json, report.md and rejected/{rule}.jsonl of a preparation into `folder`."""
  rejected = _rejected(results)
  whole = {
    **summary,
    'tokenizer': results['tokenizer'][0]['about'],
    'sources': _sources(results),
    'histograms': _histograms(results['clean']),
    'clusters': results['dedup'][0]['clusters'],
    'rejected': {rule: rows[:SHOWN] for rule, rows in rejected.items()},
    'notes': _notes(results),
    'words': lexical,
    'steps': told.steps,
    'seconds': round(seconds, 1),
  }
  aside = os.path.join(folder, 'rejected')
  shutil.rmtree(aside, ignore_errors=True)
  for rule, rows in rejected.items():
    text = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
    disk.write_text(os.path.join(aside, f'{rule}.jsonl'), text)
  disk.write_json(os.path.join(folder, 'report.json'), whole)
  disk.write_text(os.path.join(folder, 'report.md'), markdown(whole, _samples(results['write'])))


def _sources(results):
  """{source: {'in', 'kept', 'characters_in', 'characters', 'dropped': {rule: count}, splits …}}."""
  out = defaultdict(lambda: {'in': 0, 'kept': 0, 'characters_in': 0, 'characters': 0, 'dropped': Counter()})
  for shard in results['clean']:
    for source, about in shard['sources'].items():
      for name in ('in', 'characters_in'):
        out[source][name] += about[name]
  for shard in (*results['clean'], *results['place']):
    for source, dropped in shard['dropped_by_source'].items():
      out[source]['dropped'].update(dropped)
  for shard in results['place']:
    for source, count in shard['characters'].items():
      out[source]['characters'] += count
    for source, splits in shard['splits'].items():
      out[source]['kept'] += sum(splits.values())
      for split, count in splits.items():
        out[source][split] = out[source].get(split, 0) + count
  return {
    source: {**about, 'dropped': dict(about['dropped'].most_common())} for source, about in out.items()
  }


def _histograms(cleaned):
  out = defaultdict(Counter)
  for shard in cleaned:
    for name, counts in shard['histograms'].items():
      out[name].update(counts)
  number = lambda key: (0, float(key)) if key.replace('.', '').isdigit() else (1, key)  # noqa: E731
  return {name: {k: counts[k] for k in sorted(counts, key=number)} for name, counts in out.items()}


def _rejected(results):
  """{rule: samples}, the most frequent rule first; bad records as samples of `bad_record`."""
  rows = defaultdict(list)
  for shard in (*results['clean'], *results['place']):
    for row in shards.read(shard['rejected']):
      rows[row['rule']].append(row)
  count = Counter()
  for shard in (*results['clean'], *results['place']):
    count.update(shard['dropped'])
  out = {}
  bad = [{'where': where, 'why': why} for result in results['read'] for where, why in result['bad_samples']]
  if bad:
    out['bad_record'] = bad
  for rule, _ in count.most_common():
    out[rule] = sorted(rows[rule], key=lambda row: fraction('sample', row['id']))[: steps.SAMPLES]
  return out


def _notes(results):
  notes = {'bad_record': sum(result['bad'] for result in results['read'])}
  for result in results['write']:
    if result['stage']:
      name = f'{result["stage"]}: above max_tokens'
      notes[name] = notes.get(name, 0) + result['too_long']
  for result in results['tasks']:
    notes |= result['notes']
  evaluation, own = results['protect'][0]['ngrams']
  learnt = results['tokenizer'][0]['share']
  return {
    **{name: count for name, count in notes.items() if count},
    'protected n-grams of evaluation sets': evaluation,
    'protected n-grams of the test split (sampled)': own,
    'share of the training text the tokenizer learnt from': round(learnt, 4),
  }


def _samples(written):
  """{table: rows}: the first training rows of each source."""
  out = {}
  for result in written:
    if result['split'] != 'train' or result['table'] in out:
      continue
    seen, rows = Counter(), []
    for row in shards.read(result['lines']):
      seen[row['source']] += 1
      if seen[row['source']] <= SHOWN:
        rows.append(row)
    out[result['table']] = rows
  return out


def table(head, rows):
  """A Markdown table."""
  lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
  for row in rows:
    cells = (f'{c:,}' if isinstance(c, int) else str(c).replace('|', '\\|') for c in row)
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def markdown(whole, samples):
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
  for rule, count in total.most_common():
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
