"""What one stage shows: curves, numbers, warnings, settings; and what all stages answered to one prompt."""

from zhlm import monitor
from zhlm.report.chart import chart
from zhlm.report.files import series, speed, wall_seconds
from zhlm.report.page import both, duration, facts, is_number, name, number, section, table, text, tree

STAGES = {
  'pretrain': ('预训练', 'Pretraining', '读大量文字，学会接着写', 'reads, and learns to go on'),
  'sft': (
    '监督微调',
    'Supervised fine-tuning',
    '看示范，学会回答',
    'sees answers, learns to answer',
  ),
  'reward': ('奖励模型', 'Reward model', '看比较，学会打分', 'sees comparisons, learns to score'),
  'ppo': ('强化学习', 'PPO', '按得分改进回答', 'answers for a better score'),
  'grpo': ('组内比较', 'GRPO', '同一问题的几个回答互相比较', 'answers to one prompt, compared'),
  'rloo': ('留一基线', 'RLOO', '与同一问题的其他回答比较', 'an answer against the others'),
  'dpo': ('直接偏好优化', 'DPO', '不用奖励模型，直接学比较', 'comparisons, without a reward model'),
}
MAIN = ('pretrain', 'sft', 'reward', 'ppo')  # the others are shown where they have been run
COLUMNS = 5  # validations whose answers are shown side by side: more do not fit
ONLINE = ('score', 'gold', 'kl', 'entropy', 'length', 'ended', 'repeated', 'distinct_2', 'value_explained')
# Curves to see first, in this order; the others wait behind "more curves".
FIRST = {
  'pretrain': ('loss', 'bits_per_character', 'bits_per_byte', 'accuracy'),
  'sft': ('loss', 'bits_per_character', 'bits_per_byte', 'accuracy'),
  'reward': ('accuracy', 'loss', 'margin'),
  **dict.fromkeys(('ppo', 'grpo', 'rloo'), ONLINE),
  'dpo': ('accuracy', 'loss', 'margin', 'better'),
}
ROLES = {'system': ('系统', 'system'), 'user': ('问', 'user'), 'assistant': ('答', 'assistant')}


def figure(key, train, validation, broken):
  """One chart with its name and last values."""
  last = [
    f'<span style="color:var(--{kind})">{number(float(points[-1][1]))}</span>'
    for kind, points in (('train', train), ('valid', validation))
    if points
  ]
  if broken:
    last.append(f'<span style="color:var(--bad)">{len(broken)} × NaN</span>')
  drawn = chart(f'{key} against step', train, validation) if train or validation else ''
  return f'<figure><figcaption><h4>{name(key)}</h4><b>{"　".join(last)}</b></figcaption>{drawn}</figure>'


def curves(stage, metrics):
  """The first curves of a stage, and the others folded away."""
  found = series(metrics)
  order = {key: i for i, key in enumerate(FIRST[stage])}
  first = sorted((k for k in found if k.split('/')[-1] in order), key=lambda k: order[k.split('/')[-1]])
  rest = [k for k in found if k not in first]
  key = (
    '<p class="key en"><i style="background:var(--train);margin-left:0"></i>训练 train'
    '<i style="background:var(--valid)"></i>验证 validation　横轴：步 · x: step</p>'
  )
  grids = [
    f'<div class="charts">{"".join(figure(k, *found[k]) for k in keys)}</div>' if keys else ''
    for keys in (first, rest)
  ]
  more = f'<details><summary>{both("更多曲线", "more curves")}</summary>{grids[1]}</details>'
  return (key if found else '') + grids[0] + (more if rest else '')


def flat(config, prefix=''):
  """{'model.D': 512, …} of a nested config."""
  out = {}
  for key, value in config.items():
    if isinstance(value, dict):
      out |= flat(value, f'{prefix}{key}.')
    else:
      out[prefix + key] = value
  return out


def basics(run):
  """(label, value) of a run's length, speed and its own results."""
  steps = max((row['step'] for row in run['metrics']), default=None)
  seconds, rate = wall_seconds(run), speed(run)
  pairs = [(name('steps'), number(steps))] if steps is not None else []
  if seconds is not None:
    pairs.append((both('用时', 'wall time'), both(*duration(seconds))))
  if rate is not None:
    pairs.append((name('tokens_per_second'), number(round(rate))))
  plain = [(k, v) for k, v in run['results'].items() if k != 'wall_seconds' and k.count('/') < 2]
  return pairs + [(name(k), number(v)) for k, v in plain]


def tables(results):
  """Results called TABLE/ROW/COLUMN, as such."""
  found = {}
  for key, value in results.items():
    if key.count('/') == 2:
      title, row, column = key.split('/')
      found.setdefault(title, {}).setdefault(row, {})[column] = value
  return ''.join(tree(rows, name(title)) for title, rows in found.items())


def warned(metrics):
  """What the monitor found wrong, in words."""
  boxes = []
  for first, last, found in monitor.told(monitor.history(metrics)):
    when = number(first) + (f' – {number(last)}' if last > first else '')
    title = both(f'⚠ 警告（第 {when} 步）', f'warning, step {when}')
    boxes.append(
      f'<div class="card warn"><h4>{title}</h4><p>{both(found.zh, found.en, block=True)}</p></div>'
    )
  return ''.join(boxes)


def some(items, most):
  """At most so many of a list, evenly, with the first and the last."""
  if len(items) <= most:
    return items
  return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def answers_table(answers):
  """One row a prompt, one column a validation: how the answers change as the policy learns."""
  rows = {}
  for answer in answers:
    key = tuple((m['role'], m['content']) for m in answer['prompt'])
    rows.setdefault(key, {})[answer['step']] = answer
  if not rows:
    return ''
  steps = sorted({answer['step'] for answer in answers})
  shown = some(steps, COLUMNS)
  lines = [
    [
      (said([{'role': role, 'content': content} for role, content in key]), False),
      *((completion(row[step]) if step in row else '', False) for step in shown),
    ]
    for key, row in rows.items()
  ]
  head = [
    (both('问', 'prompt'), False),
    *((both(f'第 {step} 步', f'step {step}'), False) for step in shown),
  ]
  title = both('同样的问题，训练中怎样回答', 'the same prompts, answered as training goes on')
  if len(shown) < len(steps):
    title += f' <span class="en">{len(shown)} / {len(steps)}</span>'
  labels = [f'第 {step} 步 step {step}' for step in shown]
  return f'<h3>{title}</h3>{table(head, lines, "stack talk", labels)}'


def stage_section(stage, run):
  """All of one stage, or that it has not been run."""
  zh, en, *_ = STAGES[stage]
  if run is None:
    missing = both('这一步还没有运行。', 'This stage has not been run.')
    return section(stage, zh, en, f'<div class="card off">{missing}</div>')
  body = warned(run['metrics']) + facts(basics(run)) + tables(run['results'])
  body += curves(stage, run['metrics']) + answers_table(run['answers'])
  settings = flat(run['config'])
  if settings:
    rows = [[(text(k), False), (number(v), False)] for k, v in settings.items()]
    title = both('全部设置', 'all settings')
    body += f'<details><summary>{title}</summary>{table([], rows)}</details>'
  return section(stage, zh, en, body)


def turn(message):
  """One message under the name of who said it."""
  who = ROLES.get(message['role'], (message['role'], ''))
  return f'<p><span class="tag">{both(*who)}</span>{text(message["content"])}</p>'


def said(messages):
  """A prompt: the text alone where it is one question, else a line for each turn."""
  if len(messages) == 1:
    return f'<p>{text(messages[0]["content"])}</p>'
  return ''.join(map(turn, messages))


def completion(sample):
  """One answer with its scores."""
  tags = [
    f'<span class="tag">{both(zh, key)} {sample[key]:.2f}</span>'
    for key, zh in (('score', '得分'), ('gold', '金标准'))
    if is_number(sample.get(key))
  ]
  if sample.get('ended') is False:
    tags.append(f'<span class="tag">{both("未结束", "cut off")}</span>')
  line = f'<p>{"".join(tags)}</p>' if tags else ''
  return f'<div class="said">{line}<p>{text(sample["completion"])}</p></div>'


def samples_section(runs):
  """One row a prompt, one column a stage: the same question before and after each lesson."""
  rows = {}
  for stage, run in runs.items():
    for sample in run['samples'] if run else ():
      key = tuple((m['role'], m['content']) for m in sample['prompt'])
      row = rows.setdefault(key, {'prompt': sample['prompt'], 'sources': {}})
      row['sources'][str(sample.get('source', ''))] = None
      row.setdefault(stage, []).append(sample)
  columns = [s for s in STAGES if any(s in row for row in rows.values())]
  lines = []
  for row in sorted(rows.values(), key=lambda row: -sum(s in row for s in columns)):
    tags = ''.join(f'<span class="tag">{text(s)}</span>' for s in row['sources'] if s)
    lines.append([(tags + said(row['prompt']), False)])
    lines[-1] += [(''.join(map(completion, row.get(s, []))), False) for s in columns]
  head = [(both('问', 'prompt'), False), *((both(*STAGES[s][:2]), False) for s in columns)]
  labels = [f'{STAGES[s][0]} {STAGES[s][1]}' for s in columns]
  body = table(head, lines, 'stack talk', labels) if lines else ''
  return section('samples', '样例：同一个问题，各阶段怎样回答', 'Samples, stage by stage', body)


def card(stage, run):
  """A stage in a few words: what it learns from, how long it took."""
  zh, en, zh_what, en_what = STAGES[stage]
  if run is None:
    state = both('还没有运行', 'not run yet', block=True)
  else:
    steps = max((row['step'] for row in run['metrics']), default=0)
    seconds = wall_seconds(run)
    time_zh, time_en = duration(seconds) if seconds is not None else ('—', '—')
    state = both(f'{steps:,} 步 · {time_zh}', f'{steps:,} steps · {time_en}', block=True)
  return (
    f'<a class="card{" off" if run is None else ""}" href="#{stage}"><h4>{both(zh, en)}</h4>'
    f'<p>{both(zh_what, en_what, block=True)}</p><p>{state}</p></a>'
  )
