"""The benchmark's arithmetic, and that what it prints, what it promises and what is committed agree."""

import json
import re
from pathlib import Path

import pytest
from absl import flags

from benchmarks import data, datatrove_chain, gpu, material, speed, whole
from zhlm.clean import document
from zhlm.collect import pages, sources
from zhlm.errors import InputError

ROOT = Path(data.__file__).parent
PROSE = '清晨五点半，菜市场的卷帘门刚刚升起，卖豆腐的老周已经把第一板豆腐端上了案头。'


def item(text, name='a'):
  return {'id': name, 'kind': 'document', 'source': 's', 'licence': '', 'preset': 'web', 'text': text}


def test_a_number_meets_its_bar_from_the_right_side():
  least, most = data.Bar('', '', least=3), data.Bar('', '', most=15)
  assert [data.met(least, x) for x in (2.99, 3, 4)] == [False, True, True]
  assert [data.met(most, x) for x in (14, 15, 15.1)] == [True, True, False]
  assert data.met(data.Bar('', ''), 1) is None


def test_the_table_says_what_is_missed():
  rows = data.table([('chain', 2.5, 'a note'), ('bpe', 7.9, ''), ('cut', 12.34, '')]).splitlines()[2:]
  cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
  assert cells[0][1:] == ['2.5', '≥ 3', 'MB/CPU-s', '**未达 missed**', 'a note']
  assert cells[1][1:5] == ['7.9', '≤ 15', 'CPU-s', '达到 met'] and cells[2][1:5] == [
    '12.3',
    '',
    'MB/CPU-s',
    '',
  ]


def test_the_committed_table_has_the_bars_of_the_program():
  text = (ROOT / 'data.md').read_text('utf-8')
  part = text.split(data._BEGIN)[1].split(data._END)[0]
  named = {bar.name: bar for bar in data.BARS.values()}
  rows = [
    [c.strip() for c in row.strip('|').split('|')] for row in part.splitlines() if row.startswith('| ')
  ]
  assert len(rows) > 20
  for name, value, limit, unit, *_ in rows[1:]:
    bar = named[name]
    limits = [f'{s} {data.shown(x)}' for s, x in (('≥', bar.least), ('≤', bar.most)) if x is not None]
    assert (limit, unit) == (' '.join(limits), bar.unit), name
    assert float(value.replace(',', '')) > 0


def test_every_number_has_a_bar_and_every_bar_a_number():
  code = ''.join((ROOT / f'{name}.py').read_text('utf-8') for name in ('speed', 'whole', 'against'))
  modes = re.findall(r"'(\w+)'", re.search(r'for mode in (.*):', code)[1])
  names = {f'{name}_{mode}' for name in re.findall(r"yield f'(\w+)_\{mode\}'", code) for mode in modes}
  names |= set(re.findall(r"yield\s*\(?\s*'(\w+)'", code))
  names |= {
    name for tuples in re.findall(r'in \(\((.*)\)\):', code) for name in re.findall(r"'(\w+)', ", tuples)
  }
  names |= set(re.findall(r"'(two\w*)': \[\]", code))
  assert names == set(data.BARS)


def test_only_what_stands_between_the_marks_is_replaced():
  text = f'before\n{data._BEGIN}\nold\n{data._END}\nafter\n'
  assert data.put(text, 'new\n') == text.replace('old', 'new')
  with pytest.raises(InputError, match='--to'):
    data.put('no marks', 'new')


def test_long_documents_come_from_all_files_and_short_ones_only_when_they_must(tmp_path):
  for name, texts in {'a': [PROSE * 40] * 9, 'b': [PROSE * 30] * 9, 'c': [PROSE] * 300}.items():
    lines = [json.dumps({'text': text}) + '\n' for text in texts]
    (tmp_path / f'{name}.jsonl').write_text(''.join(lines), 'utf-8')
  found = material.load(str(tmp_path), '', 0.03)
  assert {i['source'] for i in found.items} == {'a', 'b'}
  assert material.size(i['text'] for i in found.items) < 0.04
  assert all(len(i['text'].encode()) >= material.LONG for i in found.items)
  alone = material.load(str(tmp_path / 'c.jsonl'), '', 0.03)
  assert alone.items and all(len(i['text'].encode()) >= material.LONG for i in alone.items)
  assert 0.02 < material.size(i['text'] for i in material.some(alone.items, 0.025)) <= 0.025


def test_the_page_that_is_made_of_a_text_holds_it_among_noise():
  html = material.page('菜市场', '\n'.join([PROSE] * 6))
  assert html.count(PROSE) == 6 and all(ad in html for ad in material._ADS)
  assert PROSE in pages.extract(html)['text']


def test_every_takes_all_measures_and_drops_nothing():
  presets = speed.presets()
  for text in ('！', PROSE * 3, 'abc ' * 50):
    assert document.clean(item(text), presets['every'])[1] is None
  web, characters = presets['web'], presets['characters']
  off = set(characters['off'].split())
  assert {'min_words', 'max_dup_10gram', 'max_top_2gram', 'min_entropy'} <= off <= set(web)
  assert not off & {'min_han', 'max_repeated', 'min_line_ends', 'max_dup_lines'}
  assert speed.chain([item(PROSE * 9), item('太短', 'b')], web) == 0
  assert speed.chain([item(PROSE * 9), item('太短', 'b')], presets['every']) == 2


def test_the_written_source_is_read_by_the_rules_of_its_presets(tmp_path):
  items = [{**item(PROSE, str(i)), 'preset': 'web' if i % 2 else 'book'} for i in range(6)]
  found = sources.find(whole.write_source(str(tmp_path / 'source'), items))
  read = [one for source in found for one in sources.read(source)]
  assert sorted(one['preset'] for one in read) == ['book'] * 3 + ['web'] * 3
  assert {one['text'] for one in read} == {PROSE}


def test_what_a_block_drops_goes_no_further():
  seen = []
  chain = [('even', lambda n: n % 2 == 0), ('note', lambda n: seen.append(n) or True)]
  answer = datatrove_chain.run(range(5), chain)
  assert (seen, answer['kept'], set(answer['seconds'])) == ([0, 2, 4], 3, {'even', 'note'})
  loose = datatrove_chain.loose({'min_words': 50, 'max_words': 9})
  assert loose['min_words'] < 0 < 1e6 < loose['max_words']


def test_both_sides_count_the_same_stop_words():
  from zhlm.clean import words

  assert set(datatrove_chain.STOP_WORDS) == words.STOP_WORDS


def test_the_flags_say_what_they_are():
  for module in ('benchmarks.data', 'benchmarks.gpu'):
    for flag in flags.FLAGS.flags_by_module_dict()[module]:
      assert len(flag.help) > 20 and flag.help[0].isupper(), flag.name


def test_the_gpu_benchmark_trains_the_real_update():
  c = gpu.pretraining('tiny', 4, 2, 'auto')
  c.optimizer.name, c.optimizer.warmup_steps = 'adamw', 1
  numbers = gpu.speed(c, packed=False, updates=3)
  assert numbers['last'] < numbers['first'] and numbers['tokens_per_second'] > 0
  assert numbers['mfu'] is None is numbers['memory']  # a CPU's peak and memory are not known
  cells = gpu.cells('speed', 'tiny', 'xla', False, numbers)
  assert len(cells) == len(gpu._HEADS['speed']) and cells[4:6] == ['—', '—']


def test_its_packed_rows_hold_several_documents_and_the_others_need_no_segments():
  c = gpu.pretraining('tiny', 4, 2, 'auto')
  packed, whole = gpu.batch_of(c, True), gpu.batch_of(c, False)
  assert (packed['segments'].max(1) > 2).all() and (packed['segments'] > 0).all()
  assert whole['segments'] is None and (whole['positions'][:, -1] == c.batch.T - 1).all()
  assert packed['tokens'].shape == whole['tokens'].shape == (4, 64) and packed['weights'].all()


def test_its_parity_sees_what_attention_does(monkeypatch):
  """Where an attention forgets the segments."""
  from zhlm import attention

  c = gpu.pretraining('tiny', 4, 2, 'auto')
  attend = attention.attend

  def forgetful(*x, segments_BT, implementation, **how):
    segments = None if implementation == 'blockwise' else segments_BT
    return attend(*x, segments_BT=segments, implementation=implementation, **how)

  monkeypatch.setattr('zhlm.model.attend', forgetful)
  found = gpu.parity(c, 'blockwise', True)
  largest = found.pop('logits')[0]
  assert found['logit'][0] > 0.01 * largest and found['gradient'][0] > 0.01
  assert {exact for _, exact in found.values()} == {0}  # xla's own, which is in float32 here


def test_what_was_not_run_or_did_not_fit_says_so():
  rows = [
    gpu.cells('speed', '1.7b', 'xla', True, {'failed': 'does not fit'}),
    ['0.6b', 'cudnn', '—', gpu._NOT_RUN],
  ]
  lines = gpu.table('speed', rows).splitlines()
  assert {line.count('|') for line in lines} == {len(gpu._HEADS['speed']) + 1}
  assert '| does not fit | — |' in lines[2] and '| 没有测 not run: no GPU | — |' in lines[3]


def test_the_committed_gpu_table_is_of_the_program():
  text = (ROOT / 'gpu.md').read_text('utf-8')
  for head in gpu._HEADS.values():
    assert f'| {" | ".join(head)} |' in text
  assert all(f'| {size} | cudnn |' in text for size in gpu._SIZES.default)
