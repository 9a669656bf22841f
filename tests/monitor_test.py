"""Made-up histories: each warning where it is described and nowhere else."""

import json
import math
import re

import numpy as np
import pytest

from zhlm import monitor

CALM = {
  'score': 0.0,
  'score_error': 0.05,
  'gold': 0.0,
  'gold_error': 0.05,
  'kl': 0.0,
  'kl_error': 0.0,
  'entropy': 2.0,
  'length': 20.0,
  'ended': 1.0,
}


def history(*changes):
  """Validations at steps 0, 10, 20, …, each CALM but for these numbers."""
  return [{'step': 10 * i, **CALM, **change} for i, change in enumerate(changes)]


def kinds(*changes):
  return [found.kind for found in monitor.warnings(history(*changes))]


def test_a_calm_run_is_warned_of_nothing():
  assert monitor.warnings([]) == [] and kinds({}) == []
  rising = [
    {'score': i / 3, 'gold': i / 4, 'kl': i, 'kl_error': 0.1, 'entropy': 2 - i / 10} for i in range(9)
  ]
  assert monitor.told(history(*rising)) == []


# Three standard errors of a difference of two means: 3·√(0.05² + 0.05²) = 0.212.
@pytest.mark.parametrize(
  'last, warns',
  [
    ({'gold': -0.22, 'score': 0.22}, True),
    ({'gold': -0.20, 'score': 0.22}, False),  # gold may have stayed
    ({'gold': -0.22, 'score': 0.20}, False),  # the score may have stayed: no proxy is exploited
    ({'gold': -0.22, 'score': -0.5}, False),
    ({'gold': 0.5, 'score': 0.5}, False),
    ({'gold': math.nan, 'score': 0.5}, False),
  ],
)
def test_gold_that_falls_while_the_score_rises_is_told(last, warns):
  assert kinds({'gold': -1.0, 'score': -1.0}, {}, last) == ['gold'] * warns


def test_gold_is_held_against_its_best_not_against_the_start():
  rows = [{'gold': x, 'score': y} for x, y in ((0.0, 0.0), (1.0, 1.0), (0.4, 2.0))]
  (found,) = monitor.warnings(history(*rows))
  for sentence in (found.zh, found.en):  # since when, from where to where
    assert {'10', '1', '0.4', '2'} <= set(re.findall(r'[\d.]*\d', sentence))
  assert kinds(*rows, {'gold': 1.1, 'score': 2.0}) == []


def test_without_gold_nothing_is_said_of_it():
  rows = [{k: x for k, x in row.items() if 'gold' not in k} for row in history({}, {'score': 9.0})]
  assert monitor.warnings(rows) == []
  assert monitor.warnings([*history({'gold': 5.0}), *rows[1:]]) == []


def test_one_flat_curve_in_fifty_is_called_a_fall():
  """The best of twenty validations is chosen by its luck; the score, too, seems to rise without end."""
  rng = np.random.default_rng(0)
  called = sum(
    kinds(*({'gold': x, 'score': i} for i, x in enumerate(0.05 * rng.normal(size=20)))) == ['gold']
    for _ in range(2_000)
  )
  assert called / 2_000 < 0.03
  # and a true fall by half a deviation nearly always.
  fell = [
    kinds({'gold': 0.05 * rng.normal()}, {'gold': 0.05 * rng.normal() - 0.5, 'score': 1.0})
    for _ in range(500)
  ]
  assert fell.count(['gold']) > 490


@pytest.mark.parametrize(
  'kl, error, warns',
  [
    (-0.02, 0.005, True),
    (-0.02, 0.0, True),
    (-0.02, 0.007, False),  # by chance
    (-0.009, 0.001, False),  # rounding
    (0.0, 0.0, False),
    (5.0, 0.1, False),
    (math.nan, 0.1, False),
  ],
)
def test_a_mean_kl_below_zero_is_told(kl, error, warns):
  assert kinds({'kl': kl, 'kl_error': error}) == ['kl'] * warns


@pytest.mark.parametrize('entropy, warns', [(0.39, True), (0.41, False), (3.0, False), (math.nan, False)])
def test_an_entropy_under_a_fifth_of_the_first_is_told(entropy, warns):
  assert kinds({}, {'entropy': 1.0}, {'entropy': entropy}) == ['entropy'] * warns
  assert kinds({'entropy': 0.0}, {'entropy': 0.0}) == []  # it was never there


@pytest.mark.parametrize(
  'numbers, warns',
  [
    ({'ended': 0.0}, True),
    ({'ended': 1 / 256}, False),
    ({'ended': 0.0, 'length': 1.0}, False),  # a bandit's answer is one token, and its end is none
    ({'ended': 0.0, 'length': 1.01}, True),
  ],
)
def test_answers_that_never_end_are_told(numbers, warns):
  assert kinds(numbers) == ['ended'] * warns


def test_each_warning_says_in_both_languages_what_is_seen_and_what_to_do():
  worst = {'gold': -1.0, 'score': 3.0, 'kl': -2.5, 'kl_error': 0.125, 'entropy': 0.1, 'ended': 0.0}
  found = monitor.warnings(history({}, worst))
  assert [x.kind for x in found] == ['gold', 'kl', 'entropy', 'ended']
  for x, seen in zip(found, (('-1', '3'), ('-2.5', '0.12'), ('2', '0.1'), ('20',)), strict=True):
    for sentence in (x.zh, x.en):
      assert all(number in sentence for number in seen) and sentence[-1] in '。.'
    assert re.search('[\u4e00-\u9fff]', x.zh) and not re.search('[\u4e00-\u9fff]', x.en)


def test_a_story_of_warnings_has_its_first_and_last_step():
  rows = history({}, {'ended': 0.0}, {'ended': 0.0, 'length': 30.0}, {'entropy': 0.1}, {'ended': 0.0})
  told = {found.kind: (first, last, found.en) for first, last, found in monitor.told(rows)}
  assert {kind: x[:2] for kind, x in told.items()} == {'ended': (10, 40), 'entropy': (30, 30)}
  assert '20' in told['ended'][2]  # as it was said last


def test_history_is_what_metrics_say_of_validations():
  lines = [
    {'step': 1, 'time': 1.5, 'kl': -9.0, 'ended': 0.0},
    {'step': 4, 'time': 2.5, 'validation/kl': 0.5, 'validation/ended': 1.0},
    {'step': 5, 'time': 3.5, 'score': 2.0},
  ]
  found = monitor.history(json.loads(json.dumps(lines)))
  assert found == [{'step': 4, 'kl': 0.5, 'ended': 1.0}]
  assert monitor.warnings(monitor.history([{'step': 8, 'validation/loss': 1.0}])) == []  # of another stage


def test_numbers_are_those_of_a_plain_loop():
  texts = ['天地天地', '哈哈哈哈哈哈', '']
  x = {
    'score': np.array([1.0, 2.0, 6.0], np.float32),
    'gold': np.array([0.0, 0.0, 3.0], np.float32),
    'kl': np.array([-1.0, 1.0, 3.0], np.float32),
    'entropy': np.array([4.0, 9.0, 2.0], np.float32),
    'count': np.array([4, 6, 2], np.int32),
    'ended': np.array([True, False, True]),
    'scores': {'reward': np.array([1.0, 1.0, 4.0], np.float32)},
    'golds': {'gold': np.array([7.0, 7.0, 7.0], np.float32)},
    'texts': texts,
  }
  found = monitor.numbers(x)
  assert found['score'] == 3 and found['gold'] == 1 and found['kl'] == 1
  assert found['score_error'] == pytest.approx((14 / 9) ** 0.5)  # √(variance 14/3 ÷ 3 answers)
  assert found['raw_reward'] == 2 and found['raw_gold'] == 7
  assert found['entropy'] == 1.25 and found['length'] == 4 and found['ended'] == pytest.approx(2 / 3)
  assert found['repeated'] == pytest.approx(1 / 3)
  assert found['distinct_1'] == 3 / 10 and found['distinct_2'] == 3 / 8
  shown = monitor.samples(x, ['甲', '甲', '乙'])
  assert [(row['prompt'][0]['content'], row['completion']) for row in shown] == [
    ('甲', texts[0]),
    ('乙', ''),
  ]
  assert shown[1] == {'prompt': shown[1]['prompt'], 'completion': ''} | {
    'score': 6.0,
    'gold': 3.0,
    'ended': True,
  }
