"""Reviews: cut at sentence ends, told apart by what they say alone, on one side of a split."""

import random

import pytest

from configs.data import get_config
from zhlm.data.draw import split_of
from zhlm.demo import reviews, words


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('房间很大。早餐也好！下次还来，一定来。', '房间很大。早餐也好！'),
    ('很好', ''),
    ('房间很大，早餐也好，下次还来，一定再来。', '房间很大，早餐也好。'),
    ('没有标点的话太长就不要了谢谢大家', ''),
  ],
)
def test_a_review_is_cut_where_a_sentence_ends(text, wanted):
  assert reviews.cut(text, most=14, least=4) == wanted


def test_words_are_the_most_probable_ones():
  frequency = {'研究': 9, '研究生': 3, '生命': 9, '命': 2, '起源': 9, '的': 90}
  assert words.segment('研究生命的起源', frequency) == ['研究', '生命', '的', '起源']


def test_a_line_belongs_to_what_its_neighbours_speak_of():
  lines = ['这家酒店的房间很干净'] * 20 + ['很好'] + ['酒店前台很好'] * 20 + ['屏幕键盘都好'] * 40
  found = words.domains(lines)
  assert found[:41] == ['酒店'] * 41
  assert found[60:] == ['电脑'] * 21
  assert words.domains(['很好']) == ['商品']


@pytest.fixture(scope='module')
def made():
  """Rows of made-up reviews: each mentions one of 40 things, half of them are good."""
  draw, config, items = random.Random(0), get_config(), []
  for i in range(1600):
    thing, label = f'东西{chr(0x4E00 + i % 40)}', i // 40 % 2
    tail = ''.join(draw.choices('天地玄黄宇宙洪荒日月盈昃辰宿列张', k=draw.randint(6, 12)))
    split = split_of(i, 0, 0.3, 0.1)
    item = {
      'id': f'{i:05}',
      'kind': 'review',
      'source': 'review/店',
      'domain': '店',
      'label': label,
    }
    text = f'{thing}{"好" if label else "坏"}，{tail}。'
    split = f'judge-{split}' if i % 5 == 0 and split != 'validation' else split
    items.append({**item, 'text': text, 'words': [thing], 'split': split, 'cluster': f'{i:05}'})
  tables = {}
  for table, split, row in reviews.rows(items, config, {}):
    tables.setdefault(table, {}).setdefault(split, []).append(row)
  return tables


def test_a_good_review_wins_over_a_bad_one_that_mentions_the_same_word(made):
  assert len(made['preferences']['test']) > 20
  for row in made['preferences']['train'] + made['preferences']['test']:
    good, bad = row['completions']
    assert row['ranks'] == [1, 2]
    assert '好，' in good
    assert '坏，' in bad
    assert row['keyword'] in good
    assert row['keyword'] in bad
    prompt = row['prompt'][0]['content']
    assert f'“{row["keyword"]}”' in prompt
    assert '评价' in prompt


def test_length_gives_nothing_away(made):
  rows = made['preferences']['train']
  longer = [len(r['completions'][0]) - len(r['completions'][1]) for r in rows]
  assert abs(sum(longer) / len(longer)) < 0.5


def test_an_instruction_that_says_good_gets_a_good_review(made):
  neutral = {0: 0, 1: 0}
  for row in made['conversations']['train']:
    asked, answer = (m['content'] for m in row['messages'])
    if '评价' in asked:
      neutral[row['label']] += 1
    else:
      assert ('好评' in asked) == ('好，' in answer)
  assert neutral[0] == neutral[1] > 0


def test_a_keyword_belongs_to_one_split(made):
  words_of = {
    split: {row['keyword'] for t in ('prompts', 'preferences', 'conversations') for row in made[t][split]}
    for split in ('train', 'test')
  }
  assert words_of['train'] & words_of['test'] <= {None}


def test_no_review_is_in_two_places(made):
  def texts(table, split):
    rows = made[table].get(split, [])
    return {
      t for r in rows for t in r.get('completions') or [r.get('text') or r['messages'][-1]['content']]
    }

  places = {
    split: texts('conversations', split) | texts('preferences', split)
    for split in ('train', 'validation', 'test')
  } | {f'judge-{split}': texts('judge', split) for split in ('train', 'test')}
  assert all(places.values())
  names = sorted(places)
  assert not any(places[a] & places[b] for a in names for b in names if a < b)


def test_a_held_out_review_inside_a_training_review_is_dropped():
  item = {'split': 'train', 'text': '房间很大。早餐也好。', 'short': '房间很大。早餐也好。'}
  held = [{'split': s, 'text': '早餐也好', 'short': '早餐也好。'} for s in ('test', 'judge-train')]
  assert reviews.decontaminate([item, *held]) == ([item], 2)
