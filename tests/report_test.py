"""One made-up workdir: all of it must be on the page, and nothing on the page may do harm."""

import html
import html.parser
import json
import re

import numpy as np
import pytest

from zhlm import monitor, report, stages
from zhlm.errors import InputError
from zhlm.report import chart as report_chart
from zhlm.report.page import duration

FIELDS = {
  'pretrain': ['loss', 'bits_per_character'],
  'sft': ['loss', 'odd_field'],
  'reward': ['loss', 'accuracy'],
  'ppo': ['score', 'kl', 'entropy'],
}
EVIL = "好评<script>alert('x')</script> & <img src=http://x.example/a.png onerror=alert(1)>"


def put(path, *rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows), 'utf-8')


@pytest.fixture
def workdir(tmp_path):
  for stage, fields in FIELDS.items():
    metrics = [
      {'step': i, 'time': 1.8e9 + i, 'tokens_per_second': 1e4} | {f: 1 / i for f in fields}
      for i in range(1, 60)
    ]
    put(tmp_path / stage / 'metrics.jsonl', *metrics, {'step': 59, 'validation/loss': 0.25})
    put(tmp_path / stage / 'config.json', {'config': {'model': {'D': 777}}, 'git': 'abc123'})
    put(tmp_path / stage / 'results.json', {'parameters': 6_830_592})
    ask = [{'role': 'user', 'content': '写一条好评'}]
    put(
      tmp_path / stage / 'samples.jsonl',
      {'prompt': ask, 'completion': f'{stage}的回答', 'source': 'reviews', 'score': 0.5},
      {'prompt': [{'role': 'system', 'content': '简短些'}, *ask], 'completion': EVIL},
    )
  results = [
    {'name': '高者', 'value': 0.9, 'goal': 0.8, 'met': True, 'note': '甲'},
    {'name': '低者', 'value': 0.4, 'goal': 0.8, 'met': False, 'note': ''},
    {'name': '未判', 'value': 'n/a', 'goal': None, 'met': None, 'note': None},
  ]
  put(tmp_path / 'results.json', results)
  put(tmp_path / 'data' / 'report.json', data_report())
  put(tmp_path / 'tokenizer' / 'report.json', {'vocab_size': 8000})
  return tmp_path


def data_report():
  """What launch.prepare writes, of one source and one rule."""
  source = {'in': 4321, 'kept': 4223, 'characters_in': 99, 'characters': 90, 'train': 4000}
  sample = {'rule': 'min_han', 'value': 0.25, 'id': 'a', 'source': '报纸', 'text': EVIL}
  step = {'tasks': 1, 'fresh': 1, 'seconds': 1.5, 'cpu_seconds': 1.0, 'peak_megabytes': 321}
  return {
    'sources': {'报纸': {**source, 'dropped': {'min_han': 98}}},
    'rejected': {'min_han': [sample], 'bad_record': [{'where': 'a.jsonl:7', 'why': EVIL}]},
    'histograms': {'characters': {'8': 3, '16': 4}},
    'clusters': {'1': 4000},
    'tables': {'documents': {'train': 4000}},
    'datasets': {
      'pretrain': {'train': {'records': 4000, 'tokens': 5678, 'longest': 9, 'sha256': '0' * 64}}
    },
    'tokenizer': {'documents': {'vocab_size': 8000}},
    'notes': {'bad_record': 1},
    'words': {'documents': 3, 'pos_shares': {'n': 0.5}},
    'steps': {'clean': step},
    'seconds': 12.0,
    'config': {'source': EVIL},
    'versions': {'python': '3'},
    'inputs': {'a.jsonl': '0' * 64},
  }


class Reader(html.parser.HTMLParser):
  """Collects what a browser would: tags with attributes, sections with their text."""

  def __init__(self, source):
    super().__init__()
    self.tags, self.open, self.text, self.section = [], [], {}, ''
    self.feed(source)

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    if tag not in ('meta', 'link', 'br'):
      self.open.append(tag)
    if tag == 'section':
      self.section = dict(attributes)['id']

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.text[self.section] = self.text.get(self.section, '') + data


def test_every_curve_of_every_stage_is_drawn(workdir):
  page = report.render(workdir)
  for stage, fields in FIELDS.items():
    part = page.split(f'<section id="{stage}">')[1].split('</section>')[0]
    for field in [*fields, 'tokens_per_second']:
      assert f'aria-label="{field} against step"' in part
    # One dot: the only validation point, in the chart of the loss.
    assert part.count('class="valid dot"') == 1
    assert part.count('<svg') == len({*fields, 'loss', 'tokens_per_second'})
  read = Reader(page)
  assert not read.open and '777' in read.text['sft'] and '6,830,592' in read.text['ppo']


def test_every_sample_stands_beside_the_other_stages(workdir):
  read = Reader(report.render(workdir)).text['samples']
  assert [read.index(f'{stage}的回答') for stage in FIELDS] == sorted(
    read.index(f'{stage}的回答') for stage in FIELDS
  )
  assert read.count('写一条好评') == 2 and read.count(EVIL) == 4 and 'reviews' in read


def test_answers_of_validations_stand_in_their_own_table(workdir):
  rows = [
    {'step': step, 'prompt': [{'role': 'user', 'content': '问甲'}], 'completion': f'第{step}次{EVIL}'}
    | {'score': step / 8, 'gold': 0.125, 'ended': step < 70}
    for step in range(0, 80, 10)
  ]
  put(workdir / 'ppo' / 'samples.jsonl', {'prompt': rows[0]['prompt'], 'completion': '末次'}, *rows)
  read = Reader(report.render(workdir)).text
  shown = [step for step in range(0, 80, 10) if f'第{step}次' in read['ppo']]
  assert len(shown) == 5 and shown[0] == 0 and shown[-1] == 70 and '5 / 8' in read['ppo']
  assert read['ppo'].count('问甲') == 1 and '8.75' in read['ppo'] and '0.12' in read['ppo']
  assert read['ppo'].count('cut off') == 1
  assert '末次' in read['samples'] and '第0次' not in read['samples'] and '末次' not in read['ppo']


def test_warnings_stand_in_the_words_of_the_run(workdir):
  rows = [
    {'step': step, 'validation/ended': 0.0, 'validation/length': 8.0, 'validation/kl': -step / 10}
    | {'validation/kl_error': 0.01}
    for step in (0, 5, 10)
  ]
  put(workdir / 'ppo' / 'metrics.jsonl', *rows)
  page = report.render(workdir)
  assert page.count('class="card warn"') == 2
  read = Reader(page).text['ppo']
  for first, last, found in monitor.told(monitor.history(rows)):
    assert found.zh in read and found.en in read and f'warning, step {first} – {last}' in read


def test_relatives_are_shown_where_they_were_run(workdir):
  assert '<section id="grpo">' not in report.render(workdir)
  for stage in ('grpo', 'rloo', 'dpo'):
    put(workdir / stage / 'metrics.jsonl', {'step': 1, 'time': 1.8e9, 'loss': 2.0, 'score': 1.0})
  page = report.render(workdir)
  assert set(stages.names()) <= {a['id'] for _, a in Reader(page).tags if 'id' in a}
  assert {'#grpo', '#rloo', '#dpo'} <= {a.get('href') for _, a in Reader(page).tags}


def test_text_of_others_is_only_text(workdir):
  page = report.render(workdir)
  tags = Reader(page).tags
  assert '<script' not in page and not {tag for tag, _ in tags} & {'script', 'img', 'iframe'}
  assert html.escape(EVIL) in page


def test_page_asks_the_network_for_nothing(workdir):
  page = report.render(workdir)
  policy = [a['content'] for _, a in Reader(page).tags if 'Content-Security' in str(a)]
  assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
  for tag, attributes in Reader(page).tags:
    for key in ('src', 'href', 'data', 'action', 'poster'):
      assert attributes.get(key, '#').startswith(('#', 'data:')), (tag, attributes)
  style = re.search('<style>(.*?)</style>', page, re.S)[1]
  assert 'url(' not in style and '@import' not in style and 'prefers-color-scheme:dark' in style


def test_links_on_the_page_lead_somewhere(workdir):
  tags = Reader(report.render(workdir)).tags
  ids = {a['id'] for _, a in tags if 'id' in a}
  assert {a['href'][1:] for tag, a in tags if tag == 'a'} <= ids


def test_met_missed_and_open_goals_are_told_apart(workdir):
  page = report.render(workdir)
  rows = re.search('<section id="results">(.*?)</section>', page, re.S)[1].split('<tr>')[2:]
  assert [['met' in r, 'missed' in r, 'open' in r] for r in rows] == np.eye(3, dtype=bool).tolist()
  # On one scale with 4 % of air: a value of half its goal is a bar half as long as the goal is far.
  width, mark = (
    float(re.search(p, rows[1])[1]) for p in (r'width:([\d.]+)%', r'<u style=\"left:([\d.]+)%')
  )
  assert width == pytest.approx(mark / 2, abs=0.01) and mark == pytest.approx(100 / 1.04, abs=0.01)


def test_results_named_by_table_row_and_column_are_a_table(workdir):
  results = {'accuracy': 0.75, 'accuracy_a/b': 0.5}
  results |= {'calibration/0.5-0.6/pairs': 12, 'calibration/0.5-0.6/accuracy': 0.625}
  put(workdir / 'reward' / 'results.json', results | {'calibration/0.6-0.7/pairs': 0})
  page = report.render(workdir)
  rows = re.findall(r'<tr><th>(0\.\d-0\.\d)</th><td class=n>(.*?)</td><td class=n>(.*?)</td>', page)
  assert rows == [('0.5-0.6', '12', '0.625'), ('0.6-0.7', '0', '—')]
  assert 'calibration/' not in page and 'accuracy_a/b' in Reader(page).text['reward']


def test_nested_reports_are_shown_whole(workdir):
  read = Reader(report.render(workdir)).text
  for word in ('报纸', '4,321', 'min_han', '98', '0.25', 'a.jsonl:7', '5,678', '321 MB'):
    assert word in read['data']
  assert '8,000' in read['tokenizer']


def test_missing_stages_and_reports_are_said(tmp_path):
  put(tmp_path / 'sft' / 'metrics.jsonl', {'step': 1, 'time': 1.8e9, 'loss': 2.0})
  read = Reader(report.render(tmp_path)).text
  for part in ('pretrain', 'reward', 'ppo'):
    assert '还没有运行' in read[part] and 'has not been run' in read[part]
  for part in ('results', 'samples', 'data', 'tokenizer'):
    assert '还没有' in read[part] and 'Not there yet' in read[part]
  assert '还没有' not in read['sft']


def test_both_languages_name_each_section(workdir):
  headings = re.findall('<h2>(.*?)</h2>', report.render(workdir))
  assert len(headings) == 8
  for heading in headings:
    zh, en = heading.split('<span class="en" lang="en">')
    assert re.search('[\u4e00-\u9fff]', zh) and re.match('[A-Za-z]{3}', en), heading


def test_same_files_give_the_same_page(workdir):
  assert report.render(workdir) == report.render(workdir)


@pytest.mark.parametrize(
  'file, line, number',
  [
    ('ppo/metrics.jsonl', '{"step": 1, "loss": ', 61),
    ('ppo/metrics.jsonl', '{"loss": 1}', 61),
    ('sft/samples.jsonl', '["completion"]', 3),
    ('sft/samples.jsonl', '{"prompt": ["hi"], "completion": "x"}', 3),
    ('sft/samples.jsonl', '{"prompt": [], "completion": "x", "step": "1"}', 3),
    ('data/report.json', '}', 2),
  ],
)
def test_a_broken_line_is_named(workdir, file, line, number):
  with open(workdir / file, 'a') as f:
    f.write(line + '\n')
  with pytest.raises(InputError, match=re.escape(f'{file}:{number}: ')):
    report.render(workdir)


def test_no_folder_is_said(tmp_path):
  with pytest.raises(InputError, match='no such folder'):
    report.render(tmp_path / 'nothing')


def test_a_diverged_loss_is_shown_not_hidden(tmp_path):
  (tmp_path / 'sft').mkdir()
  (tmp_path / 'sft' / 'metrics.jsonl').write_text('{"step": 1, "loss": NaN}\n')
  assert '1 × NaN' in report.render(tmp_path)


@pytest.mark.parametrize('low, high', [(0, 1), (-3.2, 9.7), (2.1e-4, 3e-4), (0, 4e6)])
def test_ticks_are_round_and_inside(low, high):
  ticks = np.array(report_chart.ticks(low, high))
  assert 2 <= len(ticks) <= 8 and ticks.min() >= low - 1e-9 and ticks.max() <= high + 1e-9
  step = np.diff(ticks)
  np.testing.assert_allclose(step, step[0])
  assert round(step[0] / 10 ** np.floor(np.log10(step[0]) + 1e-9), 6) in (1, 2, 5)


def test_long_curves_shrink_but_keep_their_mean():
  points = [(i, float(i % 7)) for i in range(10_000)]
  small = report_chart.bucket(points)
  assert 50 < len(small) <= 320  # no more than the drawing has pixels
  assert np.mean([y for _, y in small]) == pytest.approx(3, abs=0.02)


def test_smoothing_leaves_a_straight_line_alone():
  line = [(i, 2.0 * i) for i in range(100)]
  np.testing.assert_allclose(report_chart.smooth(line), line)


def test_time_spans_are_words():
  assert duration(59.6)[1] == '1 min 0 s'
  assert duration(3_725)[0] == '1 小时 2 分'
