"""Prints the table of results of a story and writes its report.html: curves and samples of all stages.

  python -m launch.report --workdir=runs/demo

A stage that has not been run is said to be missing; run it again whenever there is more to see.
"""

import pathlib

from absl import flags

from launch import run

_WORKDIR = flags.DEFINE_string(
  'workdir', 'runs/demo', 'Folder with data/, tokenizer/, pretrain/, sft/, reward/, ppo/.'
)


def main(_):
  """Writes WORKDIR/results.json and WORKDIR/report.html, and says where they are."""
  from rich import console, table

  from zhlm import disk, report
  from zhlm.evals import goals

  folder = pathlib.Path(_WORKDIR.value)
  rows = goals.table(folder)
  disk.write_json(folder / 'results.json', rows)
  disk.write_text(folder / 'report.html', report.render(folder))
  grid = table.Table('结果 results', '测得 measured', '目标 goal', '', show_lines=True)
  marks = {True: '达到 met', False: '未达 missed', None: ''}
  for row in rows:
    value, goal = (f'{x:.3f}' if x is not None else '' for x in (row['value'], row['goal']))
    about = '\n'.join(filter(None, [*row['name'].split(' · '), row['note']]))
    grid.add_row(about, value, goal, marks[row['met']])
  console.Console(width=110).print(grid)
  print(f'报告 report: {folder / "report.html"}')
  talk = [stage for stage in ('ppo', 'sft') if (folder / stage / 'config.json').exists()][:1]
  for stage in talk:
    print(f'聊天 chat:   python -m launch.generate --workdir={folder / stage}')


if __name__ == '__main__':
  run(main)
