"""Words, parts of speech and stop words stand beside a text, and nothing of it is lost."""

import json
import random

import pytest

from zhlm.clean import annotate, lists

STOP = frozenset(lists.words(f'{lists.SHIPPED}/stop.txt'))
TEXTS = [
  '我们在北京的公园里散步。\n今天天气很好，The weather is fine 123！',
  '',
  ' ',
  '孤\ud800立\udfff\x00',
  '零\u200b宽𠮷野家👨‍👩‍👧e\u0301',
  '。。。！！',
  '好' * 3000,
  '臣闻求木之长者，必固其根本\r\n欲流之远者，必浚其泉源',
]


@pytest.mark.parametrize('text', TEXTS)
def test_the_words_are_the_text(text):
  words, pos, stop = annotate.annotate(text, STOP)
  assert ''.join(words) == text
  assert len(words) == len(pos) == len(stop) and all(words) and all(pos)


def test_known_words_have_their_parts_of_speech():
  words, pos, stop = annotate.annotate('我爱北京天安门，也爱长城。', STOP)
  tagged = dict(zip(words, zip(pos, stop, strict=True), strict=True))
  assert tagged['我'] == ('r', True) and tagged['爱'] == ('v', False) and tagged['，'] == ('x', True)
  assert tagged['北京'] == tagged['长城'] == ('ns', False) and tagged['也'] == ('d', True)


def test_a_long_line_is_cut_at_sentences(monkeypatch):
  text = '我们去公园散步，看到了很多花。' * 40
  whole = annotate.annotate(text, STOP)
  monkeypatch.setattr(annotate, '_MOST', 50)
  assert list(map(len, annotate._pieces(text))) == [45] * 13 + [15]
  assert annotate.annotate(text, STOP) == whole
  assert ''.join(annotate._pieces('好' * 333)) == '好' * 333


def test_statistics_are_plain_counts():
  rows = [annotate.annotate(text, STOP) for text in TEXTS[:2]]
  counted = annotate.statistics(rows)
  words, pos, stop = rows[0]
  assert counted['total'] == {
    'documents': 2, 'words': len(words), 'stop': sum(stop), 'characters': len(TEXTS[0])
  }  # fmt: skip
  assert counted['pos'] == {tag: pos.count(tag) for tag in set(pos)}
  assert counted['words']['公园'] == 1 and not {'，', '123', 'The'} & set(counted['words'])
  assert counted['lengths'] == {0: 1, len(words).bit_length(): 1}
  shown = annotate.summary(counted, STOP)
  assert (
    shown['stop_word_share'] == sum(stop) / len(words) and shown['words_per_document'] == len(words) / 2
  )
  assert '的' in shown['top_words'] and '的' not in shown['top_content_words']
  assert sum(shown['pos_shares'].values()) == pytest.approx(1)
  assert sum(shown['documents_by_words'].values()) == 2
  json.dumps(shown)


def test_shards_and_order_do_not_change_statistics():
  rows = [annotate.annotate(text, STOP) for text in TEXTS[4:]] * 3
  whole = annotate.statistics(rows)
  random.Random(0).shuffle(rows)
  shards = [annotate.statistics(rows[:2]), annotate.statistics(rows[2:3]), annotate.statistics(rows[3:])]
  assert annotate.merge(shards) == annotate.merge(shards[::-1]) == whole
  for some in (shards, shards[::-1]):
    assert annotate.summary(annotate.merge(some), STOP, 2) == annotate.summary(whole, STOP, 2)


def test_words_outside_the_dictionary_are_not_listed():
  words, *_ = annotated = annotate.annotate('奇亚籽同学', STOP)
  assert '奇亚籽' in words
  counted = annotate.statistics([annotated])
  assert counted['words'] == {'同学': 1} and counted['total']['words'] == len(words)


def test_nothing_at_all_can_be_summed_up():
  assert annotate.statistics([]) == annotate.merge([])
  assert annotate.summary(annotate.merge([]), STOP)['words'] == 0


def test_a_sidecar_holds_every_row(tmp_path):
  from pyarrow import parquet

  path = tmp_path / 'new' / 'words.parquet'
  rows = [(f's/{i}', *annotate.annotate(text, STOP)) for i, text in enumerate(TEXTS)]
  assert annotate.write_sidecar(str(path), iter(rows), group=3) == len(rows)
  assert [p.name for p in path.parent.iterdir()] == ['words.parquet']
  table = parquet.read_table(path)
  assert table.schema.names == ['id', 'word', 'pos', 'is_stop']
  assert parquet.ParquetFile(path).num_row_groups == 3
  for (name, words, pos, stop), row in zip(rows, table.to_pylist(), strict=True):
    assert (row['id'], row['pos'], row['is_stop']) == (name, pos, stop)
    assert ''.join(row['word']) == ''.join(
      '\ufffd' if '\ud800' <= c <= '\udfff' else c for c in ''.join(words)
    )


def test_an_unfinished_sidecar_leaves_nothing(tmp_path):
  def rows():
    yield 'a', ['好'], ['a'], [False]
    raise RuntimeError('killed')

  with pytest.raises(RuntimeError, match='killed'):
    annotate.write_sidecar(str(tmp_path / 'words.parquet'), rows(), group=1)
  assert list(tmp_path.iterdir()) == []
  assert annotate.write_sidecar(str(tmp_path / 'none.parquet'), []) == 0
