"""Writes a prepared table for other programs: text, JSON lines, Parquet or SQLite.

  python -m launch.export --workdir=runs/demo --table=documents --split=test --format=parquet --to=a.parquet

Tables: documents conversations preferences prompts; splits: train validation test. What training reads
(runs/demo/data/pretrain …) are TFDS datasets: `tfds.builder_from_directory` opens them without zhlm.
"""

from absl import flags

from launch import run

_WORKDIR = flags.DEFINE_string('workdir', 'runs/demo', 'A prepared folder.')
_TABLE = flags.DEFINE_string('table', 'documents', 'Which table.')
_SPLIT = flags.DEFINE_string('split', 'train', 'Which split.')
_FORMAT = flags.DEFINE_string('format', 'jsonl', 'text, jsonl, parquet or sqlite.')
_TO = flags.DEFINE_string('to', None, 'The file to write.')
flags.mark_flag_as_required('to')


def main(_):
  """Exports, and says how many rows."""
  from zhlm.corpus import export

  count = export.export(_WORKDIR.value, _TABLE.value, _SPLIT.value, _FORMAT.value, _TO.value)
  print(f'{_TO.value}: {count:,} rows')


if __name__ == '__main__':
  run(main)
