"""Small texts whose answers can be counted by hand."""

from zhlm import variety


def test_distinct_counts_across_texts():
  # 天地, 地天, 天地 | 天地: four bigrams, two of them different; 地 alone has none.
  assert variety.distinct_n(['天地天地', '天地', '地', '']) == 2 / 4
  assert variety.distinct_n(['天地人', '天'], n=1) == 3 / 4
  assert variety.distinct_n(['天地人'], n=3) == 1
  assert variety.distinct_n([]) == variety.distinct_n(['天']) == 0


def test_repetition_wants_the_same_four_characters_three_times():
  twice, thrice = '春夏秋冬春夏秋冬', '春夏秋冬，春夏秋冬。春夏秋冬'
  assert variety.repetition([twice, thrice]) == 1 / 2
  assert variety.repetition(['哈' * 5, '哈' * 6]) == 1 / 2  # overlapping ones count
  assert variety.repetition(['春', '']) == variety.repetition([]) == 0
