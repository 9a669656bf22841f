"""Plans for pods that nobody holds, compiled and told: the tables of docs/pods.md and the READMEs.

  make pods                                   all of PLANS, one after another: half an hour on idle cores
  python -m benchmarks.pods --only=7b,ppo     those, the others as they were; --only= writes the tables anew

Needs libtpu (make extras). Each plan is a command that a person can type; what it found lies in runs/pods.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from absl import flags

from launch import run
from zhlm.errors import InputError
from zhlm.plan import report

PRETRAIN, PPO = 'configs/pretrain.py', 'configs/ppo.py'
# name -> (config, flags): rows a device and microbatches are chosen so that it fits.
PLANS = {
  '7b': (f'{PRETRAIN}:size=7b,mesh=v5p_256', '--topology=v5p-256'),
  '30b-a3b': (f'{PRETRAIN}:size=30b-a3b,mesh=v5p_256_experts', '--topology=v5p-256'),
  '1.7b': (f'{PRETRAIN}:size=1.7b,mesh=v5e_16', '--config.batch.microbatches=16 --topology=v5e-16'),
  '0.6b': (f'{PRETRAIN}:size=0.6b,mesh=fsdp', '--config.batch.microbatches=4 --topology=v6e-8'),
  'slices': (
    f'{PRETRAIN}:size=1.7b,mesh=v5e_16',
    '--config.mesh.data=2 --config.batch.microbatches=4 --topology=v5e-16 --slices=2',
  ),
  'ppo': (f'{PPO}:size=1.7b,mesh=v5e_16', '--topology=v5e-16 --program=all'),
  'too_much': (f'{PRETRAIN}:size=7b,mesh=fsdp', '--config.batch.B=8 --topology=v5e-4'),
}
SCALING = ('7b', '30b-a3b')
FOLDER = Path('runs/pods')
PAGES = {
  Path('docs/pods.md'): 'en',
  Path('docs/pods_zh.md'): 'zh',
  Path('README.md'): 'en',
  Path('README_zh.md'): 'zh',
}

_ONLY = flags.DEFINE_list('only', list(PLANS), 'Names of PLANS to compile now.')


def command(name, scaling=False):
  """What a person types."""
  config, options = PLANS[name]
  options = re.sub(r' ?--program=\w+', '', options) + ' --scaling' if scaling else options
  return f'python -m launch.compile --config={config} {options}'


def compile(name, scaling=False):  # noqa: A001
  """Runs that command; its numbers, or the line with which it ended, go into runs/pods."""
  file = FOLDER / f'{name}{".scaling" * scaling}.json'
  FOLDER.mkdir(parents=True, exist_ok=True)
  args = [sys.executable, *command(name, scaling).split()[1:], f'--json={file}']
  done = subprocess.run(args, capture_output=True, text=True)
  if done.returncode == 3:
    file.write_text(json.dumps(done.stderr.strip()))
  elif done.returncode:
    raise InputError(f'{name}: {done.stderr.strip()[-500:]}')
  print(f'{name}{" on paper" * scaling}: {(done.stdout or done.stderr).strip()[-2_000:]}\n', flush=True)


def read(name, scaling=False):
  """What was found, or None."""
  file = FOLDER / f'{name}{".scaling" * scaling}.json'
  return json.loads(file.read_text()) if file.exists() else None


def grid(head, rows):
  """A table in Markdown."""
  lines = [head, ['---'] * len(head), *rows]
  return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


HEADS = {
  'plans': {
    'en': [
      'plan',
      'devices, mesh',
      'parameters',
      'memory a device',
      'of it temporaries',
      'model FLOPs',
      'step',
    ]
    + ['tokens/s', 'MFU', 'compiled in'],
    'zh': [
      '方案',
      '设备与网格',
      '参数',
      '每台设备的内存',
      '其中临时量',
      '模型 FLOPs',
      '一步',
      '词元/秒',
      'MFU',
      '编译用时',
    ],
  },
  'sent': {
    'en': ['plan', 'collective', 'over', 'a step', 'sent a device', 'on paper, all kinds'],
    'zh': ['方案', '集合通信', '沿', '每步次数', '每台设备发出', '纸上（各种合计）'],
  },
  'scaling': {
    'en': ['chips', 'mesh', 'batch.B', 'state', 'products', 'network', 'sent', 'step', 'MFU'],
    'zh': ['芯片', '网格', 'batch.B', '状态', '乘法', '网络', '发出', '一步', 'MFU'],
  },
}


def plan_row(name, told):
  """The cells of one program."""
  mesh = ' × '.join(f'{a} {n}' for a, n in told['mesh'].items())
  slices = f' × {told["slices"]}' if told['slices'] > 1 else ''
  name = name if told['program'] == 'update' else f'{name}, {told["program"]}'
  total, active = (report.quantity(told[k], '').strip() for k in ('parameters', 'active'))
  m, model = told['memory'], told['model_flops']
  return [
    name,
    f'{told["topology"]}{slices}: {told["devices"]}; {mesh}',
    total if active == total else f'{total} ({active})',
    f'{report.gib(m["needed"])} / {report.gib(told["usable"])}',
    report.gib(m['temporaries']),
    report.quantity(model, 'FLOP') if model else '–',
    f'{report.seconds(told["best"])} … {report.seconds(told["worst"])}',
    f'{told["tokens"] / told["worst"]:,.0f} … {told["tokens"] / told["best"]:,.0f}',
    f'{told["mfu"][0]:.0%} … {told["mfu"][1]:.0%}' if told['mfu'] else '–',
    report.seconds(told['compile_seconds']),
  ]


def scaling_row(row):
  """The cells of one number of chips."""
  mesh = ' × '.join(f'{a} {n}' for a, n in row['mesh'].items() if n > 1) or '–'
  return [
    f'{row["devices"]:,}' + (f' ({row["slices"]})' if row['slices'] > 1 else ''),
    mesh,
    f'{row["B"]:,}',
    report.gib(row['state']) + (' **!**' if row['state'] > row['usable'] else ''),
    report.seconds(row['compute']),
    report.seconds(sum(x for _, x in row['network'])),
    report.quantity(row['sent'], 'B'),
    f'{report.seconds(row["best"])} … {report.seconds(row["worst"])}',
    f'{row["mfu"][0]:.0%} … {row["mfu"][1]:.0%}',
  ]


def tables(language):
  """{marker: text} of a page, from what lies in runs/pods."""
  found = {name: read(name) for name in PLANS}
  fits = {name: x for name, x in found.items() if isinstance(x, list)}
  parts = {
    'commands': '```sh\n' + '\n'.join(command(name) for name in found) + '\n```',
    'plans': grid(
      HEADS['plans'][language], [plan_row(name, x) for name, told in fits.items() for x in told]
    ),
    'refused': '```\n' + '\n'.join(x for x in found.values() if isinstance(x, str)) + '\n```',
  }
  rows = []
  for name, told in fits.items():
    for x in told:
      label = name if x['program'] == 'update' else f'{name}, {x["program"]}'
      rows += [[label, *cells] for cells in report.sends(x)[:8]]
  short = [0, 1, 2, 3, 6, 7, 8]  # the columns of the READMEs
  parts['pods'] = grid(
    [HEADS['plans'][language][i] for i in short],
    [[plan_row(name, x)[i] for i in short] for name in SCALING if name in fits for x in fits[name]],
  )
  parts['sent'] = grid(HEADS['sent'][language], rows)
  for name in SCALING:
    if told := read(name, scaling=True):
      parts[f'scaling {name}'] = grid(HEADS['scaling'][language], [scaling_row(row) for row in told])
  return parts


def main(_):
  """Compiles what --only names, then writes the tables of the pages that have a place for them."""
  names = [name for name in _ONLY.value if name]
  if wrong := set(names) - set(PLANS):
    raise InputError(f'--only={",".join(sorted(wrong))}: choose from {", ".join(PLANS)}')
  for name in names:
    compile(name)
  for name in set(names) & set(SCALING):
    compile(name, scaling=True)
  for page, language in PAGES.items():
    text = page.read_text('utf-8')
    for marker, part in tables(language).items():
      pattern = rf'(<!-- {re.escape(marker)}:begin -->\n).*?(<!-- {re.escape(marker)}:end -->)'
      text = re.sub(pattern, lambda m, part=part: f'{m[1]}{part}\n{m[2]}', text, flags=re.S)
    page.write_text(text, 'utf-8')


if __name__ == '__main__':
  run(main)
