"""What can be counted in any text."""

import pytest

from zhlm.errors import InputError
from zhlm.rewards import text

HANS, HANT = '汉字简化以后，书写变得简单。', '漢字簡化以後，書寫變得簡單。'
ASKED = '“山”是什么意思？'


@pytest.mark.parametrize(
  ('n', 'score'), [(0, 0), (5, 0.25), (20, 1), (60, 1), (90, 0.5), (120, 0), (500, 0)]
)
def test_length_has_soft_edges(n, score):
  assert text.length('', '字' * n, 20, 60) == pytest.approx(score)
  assert text.length('', '字 \n　' * n, 20, 60) == pytest.approx(score)  # blanks count nothing


@pytest.mark.parametrize(
  ('said', 'n', 'score'),
  [
    ('山高水长', 1, 1),
    ('山山山山', 1, 1 / 4),
    ('山水山水山水', 2, 2 / 5),
    ('山水 山水山\n水', 2, 2 / 5),
    ('山水', 4, 1),
    ('', 4, 1),
  ],
)
def test_repeated_runs_of_characters_cost_their_share(said, n, score):
  assert text.distinct('', said, n) == pytest.approx(score)


@pytest.mark.parametrize(
  ('prompt', 'said', 'wanted', 'score'),
  [
    ('', HANS, 'hans', 1),
    ('', HANT, 'hans', 0),
    ('', HANT, 'hant', 1),
    ('', '人之初，性本善', 'hant', 1),  # the same in both
    ('', HANS + HANT, 'hans', 0),
    ('', HANS, '', 1),
    ('', HANT, '', 1),
    ('', HANS + HANT, '', 0),
    (HANT, HANT, '', 1),  # without a wish, the prompt's
    (HANT, HANS, '', 0),
    (HANT, HANS, 'hans', 1),
    (HANS + HANT, HANS, '', 1),
  ],
)
def test_script_is_the_one_that_is_wanted(prompt, said, wanted, score):
  assert text.script(prompt, said, wanted) == score


@pytest.mark.parametrize(
  ('prompt', 'said', 'form', 'score'),
  [
    (ASKED, '“山”的意思是：高地。', 'definition', 1),
    (ASKED, '“水”的意思是：河流。', 'definition', 0),
    (ASKED, '“山”的意思是：', 'definition', 0),
    ('你好', '“”的意思是：高地。', 'definition', 0),
    ('接歇后语：泥菩萨过河——', '泥菩萨过河——自身难保', 'riddle', 1),
    ('接歇后语：泥菩萨过河——', '自身难保', 'riddle', 0),
    ('讲一讲：山——水', '火', 'word', 1),  # no question of the demo's
    (ASKED, '高山', 'word', 1),
    (ASKED, '高地', 'word', 0),
    ('你好', ' ', 'word', 0),
    ('你好', '你好', 'word', 1),
    ('', '他说：“好。”\n', 'sentence', 1),
    ('', '他说：好', 'sentence', 0),
    ('', '一行\n又一行。', 'sentence', 1),
    ('', ' -12.5 ', 'number', 1),
    ('', '12个', 'number', 0),
    ('', '1. 一\n2. 二', r'/1\..*\n2\..*/', 1),
    ('', '2. 二', r'/1\..*/', 0),
    ('', '12个', r'/\d+/', 0),  # all of it must match
  ],
)
def test_a_form_is_had_or_not(prompt, said, form, score):
  assert text.format(prompt, said, form) == score


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda: text.format('', '', 'lsit'), "'lsit'; choose from definition, riddle, word, sentence, number"),
    (lambda: text.format('', '', '/(/'), 'no regular expression'),
    (lambda: text.script('', '', 'tw'), "'tw'; choose from hans, hant"),
    (lambda: text.length('', '', 0, 0), 'high > 0'),
    (lambda: text.distinct('', '', 0), '1 character or more'),
  ],
)
def test_a_wrong_option_is_told(call, message):
  with pytest.raises(InputError, match=message):
    call()
