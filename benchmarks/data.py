"""Megabytes in a CPU-second for each step of the data path, beside the bar that it must reach.

  make bench SOURCE=folder                 everything, into benchmarks/data.md: ten minutes on two cores
  python -m benchmarks.data --source=FOLDER --only=cleaning,chains

FOLDER is what launch.prepare reads (--sources describes its files); 40 MB of its documents of 3 KB and more
are used. CPU-seconds hardly depend on what else the machine does; the wall-clock ratios of `two_processes`
are noise unless it is idle.
"""

import functools
import os
import platform
import re
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from absl import flags

from launch import run


class Bar(NamedTuple):
  """What a number is called, its unit, and what it must reach; None: shown only."""

  name: str
  unit: str
  least: float | None = None
  most: float | None = None


_SPEED = 'MB/CPU-s'
BARS = {
  'resiliparse': Bar('resiliparse 取正文 · resiliparse extract', 'html MB/CPU-s', 12),
  'trafilatura': Bar('trafilatura 快速 · trafilatura, fast', 'html MB/CPU-s', 1),
  'vote': Bar('两者表决 · our vote of both', 'html MB/CPU-s'),
  'vote_quick': Bar('只用 resiliparse 与行规则 · resiliparse and line rules alone', 'html MB/CPU-s'),
  'normalise': Bar('规范化 · normalise', _SPEED, 40),
  'script': Bar('简繁判断 · script', _SPEED),
  'private': Bar('隐私遮蔽 · private data masked', _SPEED),
  'characters': Bar('字符统计与规则 · character statistics and rules', _SPEED, 25),
  'words': Bar('FineWeb-2 词规则 · FineWeb-2 word rules', _SPEED, 3.5),
  'cut': Bar('其中分词 · of which words cut and numbered', _SPEED),
  'labels': Bar('词表与标签 · lists and labels', _SPEED),
  't2s': Bar('繁转简 · Traditional to Simplified', _SPEED, 70),
  'pos': Bar('词性 · parts of speech', _SPEED, 4),
  'lines': Bar('行哈希 · line hashes', _SPEED),
  'ngrams': Bar('防泄题 n 元组 · protected n-grams', _SPEED),
  'chain': Bar('整条清洗链，含词规则 · whole clean chain with word rules', _SPEED, 3),
  'chain_every': Bar('同上，一篇不丢 · the same, nothing dropped', _SPEED),
  'chain_characters': Bar('清洗与 MinHash，仅字符规则 · clean and MinHash, character rules', _SPEED, 10),
  'chain_short': Bar('同上，360 字节短文 · the same on texts of 360 bytes', _SPEED, 2),
  'minhash': Bar('MinHash，长文 · MinHash, long', _SPEED, 40),
  'minhash_short': Bar('MinHash，短文 · MinHash, short', 'µs a document', None, 100),
  'lsh': Bar('判重 · LSH', 'documents/CPU-s', 250_000),
  'lsh_memory': Bar('判重内存 · memory of LSH', 'bytes a document', None, 256),
  'bpe': Bar('学 32k BPE，20 MB · BPE of 32k learnt on 20 MB', 'CPU-s', None, 15),
  'tokenise': Bar('分成词元 · tokenise, 32k', _SPEED, 3.5),
  'read': Bar('TFDS 读词元 · TFDS tokens read', 'M tokens/CPU-s', 5),
  'packed': Bar('装满的批 · packed batches', 'M tokens/CPU-s', 1),
  'beam': Bar('Beam 对本机引擎的 CPU 效率 · CPU efficiency, Beam over local', '×', 0.5),
  'two_maps': Bar('两进程对一进程，可并行的步骤 · two processes over one, map steps', '× wall', 1.6),
  'two': Bar('两进程对一进程，全程 · two processes over one, all', '× wall'),
  'memory': Bar(
    '最大进程的内存，减去每篇 256 B · largest process, less 256 B a document', 'MB', None, 1_000
  ),
  'memory_4': Bar('同上，四倍输入 · the same, four times the input', 'MB', None, 1_000),
  'datatrove_every': Bar('datatrove 对 zhlm，全部检查 · datatrove over zhlm, all checks', '× CPU', 20),
  'ours_every': Bar('— zhlm', _SPEED),
  'theirs_every': Bar('— datatrove', _SPEED),
  'datatrove_fineweb2': Bar(
    '同样的规则，丢弃者不再处理 · the same rules, what is dropped goes no further', '× CPU', 20
  ),
  'ours_fineweb2': Bar('— zhlm', _SPEED),
  'theirs_fineweb2': Bar('— datatrove', _SPEED),
}
SECTIONS = ['extraction', 'cleaning', 'chains', 'duplicates', 'tokens']
SECTIONS += ['beam', 'memory', 'two_processes', 'datatrove']
_BEGIN, _END = '<!-- bench:begin -->', '<!-- bench:end -->'

_SOURCE = flags.DEFINE_string('source', None, 'File or folder of texts, as launch.prepare reads it.')
_SOURCES = flags.DEFINE_string('sources', '', 'A TOML file that describes them.')
_MEGABYTES = flags.DEFINE_integer('megabytes', 40, 'Text to take from them; 8 for a quick look.', 4)
_ONLY = flags.DEFINE_list('only', SECTIONS, f'Sections: {" ".join(SECTIONS)}.')
_PYTHON = flags.DEFINE_string('datatrove', '.venv/datatrove/bin/python', "The python of datatrove's venv.")
_TO = flags.DEFINE_string('to', None, 'A Markdown file whose part between the marks is replaced.')


def met(bar, value):
  """Whether a number reaches its bar; None without one."""
  if bar.least is None and bar.most is None:
    return None
  return (bar.least is None or value >= bar.least) and (bar.most is None or value <= bar.most)


def shown(value):
  """A number with three digits that count."""
  return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def table(results):
  """Markdown of (name, number, note) rows beside the bars."""
  lines = [
    '| 步骤 step | 测得 measured | 门槛 bar | 单位 unit | | 备注 note |',
    '|---|---|---|---|---|---|',
  ]
  for name, value, note in results:
    bar = BARS[name]
    limits = [f'{sign} {shown(x)}' for sign, x in (('≥', bar.least), ('≤', bar.most)) if x is not None]
    mark = {True: '达到 met', False: '**未达 missed**', None: ''}[met(bar, value)]
    lines.append(f'| {bar.name} | {shown(value)} | {" ".join(limits)} | {bar.unit} | {mark} | {note} |')
  return '\n'.join(lines) + '\n'


def put(text, part):
  """The text with what stands between its marks replaced by `part`. Raises InputError without marks."""
  from zhlm.errors import InputError

  before, begin, rest = text.partition(_BEGIN)
  _, end, after = rest.partition(_END)
  if not begin or not end:
    raise InputError(f'--to: no {_BEGIN} … {_END} in this file')
  return f'{before}{_BEGIN}\n{part}{_END}{after}'


def measured(found, folder, only):
  """Yields (name, number, note) of the sections asked for, in order."""
  from benchmarks import against, speed, whole

  sections = {name: getattr(speed, name) for name in SECTIONS[:5]}
  sections |= {name: getattr(whole, name) for name in SECTIONS[5:8]}
  sections['datatrove'] = functools.partial(against.chains, python=_PYTHON.value)
  for name in only:
    yield from sections[name](found, folder)


def machine():
  """The processor, its cores for this process, Python, and the load of the machine now."""
  cpuinfo = Path('/proc/cpuinfo')
  model = re.search(r'model name\s*: (.*)', cpuinfo.read_text()) if cpuinfo.exists() else None
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
  name = model[1] if model else platform.processor()
  return f'{name}, {cores} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}'


def main(_):
  """Measures, prints a line a number, then the table."""
  from benchmarks import material
  from zhlm import disk
  from zhlm.errors import InputError

  if unknown := set(_ONLY.value) - set(SECTIONS):
    raise InputError(f'--only: no section {", ".join(sorted(unknown))}; there are {" ".join(SECTIONS)}')
  start, about = time.time(), machine()
  found = material.load(_SOURCE.value, _SOURCES.value, _MEGABYTES.value)
  print(found.about, flush=True)
  results = []
  with tempfile.TemporaryDirectory() as folder:
    for name, value, note in measured(found, folder, [s for s in SECTIONS if s in _ONLY.value]):
      results.append((name, value, note))
      print(f'{name:<16} {shown(value):>10} {BARS[name].unit:<14} {note}', flush=True)
  described = f' --sources={_SOURCES.value}' if _SOURCES.value else ''
  text = (
    f'`python -m benchmarks.data --source=FOLDER{described}`, {time.time() - start:.0f} s: {about}.\n\n'
  )
  text += f'文本 text: {found.about}.\n\n{table(results)}'
  print(f'\n{text}')
  if _TO.value:
    path = Path(_TO.value)
    disk.write_text(path, put(path.read_text('utf-8'), text))


if __name__ == '__main__':
  flags.mark_flag_as_required('source')
  run(main)
