"""The last number of an answer, however it is written, is compared with what the problem comes to."""

import random
from fractions import Fraction

import pytest

from zhlm.errors import InputError
from zhlm.rewards import arithmetic, numerals

KINDS = len(arithmetic.TEMPLATES)
CANDY = '小明有12颗糖，送给同学5颗糖，妈妈又给了30颗糖。小明现在有多少颗糖？'  # 37


def chinese(n):
  """The numeral of 0 ≤ n < 10¹², four digits at a time."""
  if n == 0:
    return '零'
  out, gap = '', False
  for power, name in ((2, '亿'), (1, '万'), (0, '')):
    part = n // 10_000**power % 10_000
    for i, unit in zip(range(3, -1, -1), '千百十 ', strict=True):
      digit = part // 10**i % 10
      if digit:
        out += ('零' if gap and out else '') + '零一二三四五六七八九'[digit] + unit.strip()
      gap = not digit
    out += name if part else ''
  return out


@pytest.mark.parametrize(
  ('text', 'value'),
  [
    ('答：一共37个。', 37),
    ('12 + 5 = 17，17 × 2 = 34', 34),
    ('1,234.5', Fraction(2469, 2)),
    ('1,234,567元', 1_234_567),
    ('１２３，４５６', 123_456),
    ('1,2345', 2345),
    ('１，２３４５', 2345),
    ('１２．５', Fraction(25, 2)),
    ('有3，400两个数', 2),
    ('得到3，400', 400),  # a pause between two numbers
    ('十', 10),
    ('一百零五', 105),
    ('二〇二四年', 2024),
    ('三千五', 3500),
    ('兩萬', 20_000),
    ('壹佰贰拾', 120),
    ('一万亿', 10**12),
    ('三点一四', Fraction(314, 100)),
    ('3.5万人', 35_000),
    ('3万5千', 35_000),
    ('3/4', Fraction(3, 4)),
    ('四分之三', Fraction(3, 4)),
    ('1又1/2', Fraction(3, 2)),
    ('一又二分之一', Fraction(3, 2)),
    ('25%', Fraction(1, 4)),
    ('百分之二十五', Fraction(1, 4)),
    ('百分之百', 1),
    ('负三', -3),
    ('等于-2', -2),
    ('5-3', 3),
    ('5千克', 5),
    ('共五千米', 5),
    ('12个，够大家一起吃，一样多', 12),
    ('1/0', 0),
    ('24/4', 4),  # a task, not its answer
    ('没有', None),
    ('', None),
    ('9' * 9_000, None),
  ],
)
def test_the_last_number_is_read(text, value):
  assert numerals.last(text) == value


def test_every_whole_number_is_read_as_it_is_written():
  rng = random.Random(0)
  numbers = [*range(2_000), *(rng.randrange(10 ** rng.randint(4, 12)) for _ in range(2_000))]
  for n in numbers:
    assert numerals.last(chinese(n)) == numerals.last(f'{n:,}') == numerals.last(str(n)) == n, chinese(n)


@pytest.mark.parametrize(
  ('prompt', 'value'),
  [
    ('小红有17本书，又得到25本书。小红现在有多少本书？', 17 + 25),
    ('小红有17本书，送给同学9本书。小红还剩多少本书？', 17 - 9),
    ('每个盒子里有13个苹果，6个盒子里一共有多少个苹果？', 13 * 6),
    ('把84朵花平均分给7个小朋友，每个小朋友分到多少朵花？', 84 / 7),
    (CANDY, 12 - 5 + 30),
    ('小芳比同桌多6本书，同桌有59本书。两个人一共有多少本书？', (59 + 6) + 59),
    ('小华有17颗糖，哥哥的是小华的3倍。哥哥比小华多多少颗糖？', 17 * 3 - 17),
    ('小红每天看25页书，看了11天，还剩83页没有看。这本书一共有多少页？', 25 * 11 + 83),
    ('一本书有193页，小军每天看8页，看了14天。还剩多少页没有看？', 193 - 8 * 14),
    ('每支钢笔5元，小芳买了8支，付了100元，应该找回多少元？', 100 - 5 * 8),
    ('一辆汽车6小时行驶312千米，照这样的速度，7小时行驶多少千米？', 312 / 6 * 7),
    ('学校有159本书，自己留下30本书，其余的平均分给3个班。每个班分到多少本书？', (159 - 30) / 3),
    ('用户：' + CANDY + '\n', 37),
    ('小红有17本书，又得到25颗糖。小红现在有多少本书？', None),
    ('你好', None),
  ],
)
def test_a_problem_is_solved_from_its_text(prompt, value):
  assert arithmetic.solve(prompt) == value


def test_problems_of_all_kinds_have_one_positive_whole_answer():
  found = list(arithmetic.problems(0, 100 * KINDS))
  for i, row in enumerate(found):
    fitting = [template for pattern, template in arithmetic._patterns() if pattern.search(row['prompt'])]
    assert fitting == [arithmetic.TEMPLATES[i % KINDS]], row
    assert str(arithmetic.solve(row['prompt'])) == row['answer'] and int(row['answer']) > 0, row
    assert arithmetic.answer(row['prompt'], f'答：{row["answer"]}。') == 1
    assert arithmetic.answer(row['prompt'], f'答：{int(row["answer"]) + 1}。') == 0
  for i in range(KINDS):
    assert len({row['prompt'] for row in found[i::KINDS]}) > 50


def test_a_seed_gives_the_same_problems_and_another_others():
  assert list(arithmetic.problems(1, 30)) == list(arithmetic.problems(1, 60))[:30]
  assert list(arithmetic.problems(1, 30)) != list(arithmetic.problems(2, 30))


@pytest.mark.parametrize(
  ('said', 'score'),
  [
    ('37', 1),
    ('12－5＋30＝37颗', 1),
    ('一共有三十七颗糖。', 1),
    ('37，不对，是38', 0),
    ('不知道', 0),
    ('', 0),
    ('74/2', 0),
  ],
)
def test_an_answer_is_right_or_wrong_by_its_last_number(said, score):
  assert arithmetic.answer(CANDY, said) == score


def test_a_prompt_without_a_problem_stops_unless_a_score_for_it_is_given():
  with pytest.raises(InputError, match='你好.*arithmetic.answer:0'):
    arithmetic.answer('你好', '37')
  assert arithmetic.answer('你好', '37', 0.5) == 0.5
  assert arithmetic.answer(CANDY, '37', 0.5) == 1
