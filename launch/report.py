"""Writes a workdir's report.html: results, curves and samples of all stages on one offline page.

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
  """Writes WORKDIR/report.html and says where it is."""
  from zhlm import report

  path = pathlib.Path(_WORKDIR.value) / 'report.html'
  path.write_text(report.render(path.parent), 'utf-8')
  print(path)


if __name__ == '__main__':
  run(main)
