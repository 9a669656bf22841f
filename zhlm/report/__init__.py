"""A whole story on one page: what a workdir's files say, from data to PPO, as one HTML file.

`render(folder)` reads what is there and says what is not. It knows the files' names and shapes; how
things look is page.py's and chart.py's. The same files give the same page: no clock.
"""

import math
import time
from pathlib import Path

from zhlm.errors import InputError
from zhlm.report import corpus
from zhlm.report.files import read_json, read_results, read_stage, wall_seconds
from zhlm.report.page import (
  both,
  duration,
  facts,
  is_number,
  is_plain,
  name,
  number,
  page,
  section,
  table,
  text,
  tree,
)
from zhlm.report.stage import MAIN, STAGES, card, samples_section, stage_section

WHAT_ZH = '收集文本、学分词、预训练、监督微调、学习偏好、用 PPO 改进：全过程测得的数字，和模型写的话。'
WHAT_EN = 'From collected text to PPO: what was measured on the way, and what the model wrote.'


def bar(value, goal):
  """A bar from zero to the value and a mark at the goal, on one scale; '' without a number."""
  if not is_number(value) or not math.isfinite(value):
    return ''
  goal = goal if is_number(goal) and math.isfinite(goal) else None
  ends = [0, value, value if goal is None else goal]
  low, scale = min(ends), 100 / ((max(ends) - min(ends)) * 1.04 or 1)
  left, width = (min(0, value) - low) * scale, abs(value) * scale
  mark = '' if goal is None else f'<u style="left:{(goal - low) * scale:.2f}%"></u>'
  return f'<div class="bar"><i style="left:{left:.2f}%;width:{width:.2f}%"></i>{mark}</div>'


def results_section(results):
  """Each promise with its goal: measured, met or missed."""
  rows = []
  for x in results:
    met = {True: ('yes', '✓ 达到 met'), False: ('no', '✗ 未达 missed')}.get(x.get('met'))
    kind, mark = met or ('', '— 未判 open')
    verdict = f'<div class="{kind}"><span class="mark">{mark}</span>{{}}</div>'
    rows.append(
      [
        (text(x['name']), False),
        (f'<b>{number(x.get("value"))}</b>', True),
        (number(x.get('goal')), True),
        (verdict.format(bar(x.get('value'), x.get('goal'))), False),
        (number(x['note']) if x.get('note') else '', False),
      ]
    )
  zh_en = ('测得', 'measured'), ('目标', 'goal'), ('结论（竖线是目标）', 'verdict, mark = goal')
  head = [
    ('', False),
    *((both(*h), i < 2) for i, h in enumerate(zh_en)),
    (both('说明', 'note'), False),
  ]
  labels = ('测得 measured', '目标 goal', '', '')
  body = table(head, rows, 'stack results', labels) if rows else ''
  return section('results', '结果', 'Results', body)


def report_section(anchor, zh, en, value):
  """Any nested report: a heading for each of its parts."""
  if not isinstance(value, dict):
    return section(anchor, zh, en, tree(value) if value else '')
  plain = {k: v for k, v in value.items() if is_plain(v)}
  parts = [tree(plain)] if plain else []
  parts += [tree(v, name(k)) for k, v in value.items() if v and k not in plain]
  return section(anchor, zh, en, ''.join(parts))


def headline(runs, results):
  """What this is, how long it took, when."""
  there = [run for run in runs.values() if run]
  times = [r['time'] for run in there for r in run['metrics'] if is_number(r.get('time'))]
  total = sum(wall_seconds(run) or 0 for run in there)
  pairs = [(both('完成的阶段', 'stages run'), f'{len(there)} / {len(runs)}')]
  if times:
    day, end = (time.strftime('%Y-%m-%d %H:%M', time.gmtime(t)) for t in (min(times), max(times)))
    end = end.removeprefix(day[:11])  # the day once, where it is the same
    pairs.append((both('训练总用时', 'training time in all'), both(*duration(total))))
    pairs.append((both('时间（UTC）', 'when (UTC)'), f'{day} → {end}'))
  judged = [x['met'] for x in results if x.get('met') is not None]
  if judged:
    pairs.append((both('达到的目标', 'goals met'), f'{sum(judged)} / {len(judged)}'))
  git = dict.fromkeys(str(run['config']['git'])[:12] for run in there if run['config'].get('git'))
  if git:
    pairs.append((both('代码版本', 'git revision'), text(' '.join(git))))
  links = [('results', '结果', 'results'), *((k, *STAGES[k][:2]) for k in runs)]
  links += [
    ('samples', '样例', 'samples'),
    ('data', '数据', 'data'),
    ('tokenizer', '分词器', 'tokenizer'),
  ]
  nav = ''.join(f'<a href="#{a}">{both(zh, en)}</a>' for a, zh, en in links)
  cards = ''.join(card(stage, run) for stage, run in runs.items())
  return (
    f'<h1>{both("从零训练一个中文 ChatGPT", "A Chinese ChatGPT, trained from nothing")}</h1>'
    f'<p>{both(WHAT_ZH, WHAT_EN, block=True)}</p><nav>{nav}</nav>'
    f'<div class="cards top">{cards}</div>{facts(pairs)}'
  )


def render(folder):
  """The page of a workdir as HTML. Raises InputError where it or a file in it is broken."""
  folder = Path(folder)
  if not folder.is_dir():
    raise InputError(f'{folder}: no such folder; --workdir wants the one that holds pretrain/, sft/, …')
  results = read_results(folder / 'results.json')
  runs = {stage: read_stage(folder / stage) for stage in STAGES}
  runs = {stage: run for stage, run in runs.items() if run or stage in MAIN}
  data = read_json(folder / 'data' / 'report.json')
  tokenizer = read_json(folder / 'tokenizer' / 'report.json')
  return page(
    '中文 ChatGPT · 训练报告',
    headline(runs, results)
    + results_section(results)
    + ''.join(stage_section(stage, run) for stage, run in runs.items())
    + samples_section(runs)
    + corpus.sections(data)
    + report_section('tokenizer', '分词器报告', 'Tokenizer report', tokenizer),
  )
