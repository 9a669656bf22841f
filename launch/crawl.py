"""Crawls web sites politely into WARC files, which launch.prepare reads. (pip install 'zhlm[crawl]')

  python -m launch.crawl --config=configs/crawl.py --config.seeds=https://example.cn/ \
    --config.contact=you@example.cn --workdir=runs/crawl

Expect about a page a second from each host, a line of progress every five seconds, and in WORKDIR
crawl-00000.warc.gz, … and summary.json: how many URLs were not taken, and why (crawl.sqlite knows of each).
Stop it as you like: the same command goes on where it was. robots.txt is obeyed.
"""

from absl import flags
from ml_collections import config_flags

from launch import run

_CONFIG = config_flags.DEFINE_config_file('config', None, 'configs/crawl.py; fields: --config.field=value.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/crawl', 'Folder that gets the WARC files.')
flags.mark_flag_as_required('config')


def main(_):
  """Crawls."""
  from zhlm.collect import crawl  # after the flags: `--help` need not wait for it

  summary = crawl.crawl(_CONFIG.value, _WORKDIR.value)
  print(f'{summary["pages"]:,} pages: {summary["stopped"]}; see {_WORKDIR.value}/summary.json')
  for host, why in summary['hosts_left_alone'].items():
    print(f'  {host} was left alone: {why}')


if __name__ == '__main__':
  run(main)
