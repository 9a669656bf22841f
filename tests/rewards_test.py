"""A reward is a weighted sum of named parts, and whatever is wrong with one is told by name."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zhlm import rewards
from zhlm.errors import InputError
from zhlm.rewards import Part, verse

POEM = '白日依山尽，黄河入海流。欲穷千里目，更上一层楼。'
PROBLEM = '小红有17本书，又得到25本书。小红现在有多少本书？'
# Any text may be scored: nothing, marks only, another alphabet, half a surrogate pair, a long numeral.
ODD = ('', '。', '\n \n', 'abc', '𠀀\ud800🀄️，〇', '１／０')
TEXTS = (*ODD, '9' * 9_000, '一' * 9_000, '山' * 9_000, POEM)
OPTIONS = {'arithmetic.answer': ':0', 'text.length': ':20,60', 'text.format': ':sentence'}


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """A module of the user's: mine_for_rewards."""
  (tmp_path / 'mine_for_rewards.py').write_text(
    'from __future__ import annotations\n'
    'def share(prompt, completion, character, times: float = 1.0):\n'
    '  return times * completion.count(character) / max(len(completion), 1)\n'
    'def nothing(prompt, completion): pass\n'
    'def undefined(prompt, completion): return float("nan")\n'
    'def huge(prompt, completion): return 1e39\n'
    'def alone(completion): return 1.0\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  yield 'mine_for_rewards'
  sys.modules.pop('mine_for_rewards', None)
  rewards.rule.cache_clear()


def test_a_text_of_parts_is_read_as_names_options_and_weights():
  spec = 'run:runs/a*b/reward*1.5 verse.rhyme\ttext.length:20,60*.2 verse.tones:五绝'
  spec += ' text.format:/\\d+[,*]3/*-1e-1'
  assert rewards.parse(spec) == [
    Part('run', ('runs/a*b/reward',), 1.5),
    Part('verse.rhyme', (), 1.0),
    Part('text.length', (20, 60), 0.2),
    Part('verse.tones', ('五绝',), 1.0),
    Part('text.format', ('/\\d+[,*]3/',), -0.1),
  ]
  assert rewards.parse('') == []


@pytest.mark.parametrize(
  ('spec', 'message'),
  [
    ('verse.rime*0.5', r'^verse\.rime\*0\.5: no rule is named verse\.rime; did you mean verse\.rhyme\?'),
    ('beauty', 'no rule is named beauty; choose from arithmetic.answer, .*verse.tones, run:FOLDER'),
    ('verse._read', 'no rule is named verse._read'),
    ('rewards_of_nobody.score', r"no rule .*No module named 'rewards_of_nobody'.*PYTHONPATH"),
    ('os.path', 'no rule is named os.path'),
    ('verse.rhyme*half', r'^verse\.rhyme\*half: .*WEIGHT'),
    ('verse.rhyme*1e999', 'WEIGHT'),
    ('verse.rhyme + verse.form', r'^\+: '),
    ('verse.rhyme:3', "verse.rhyme takes no option, not '3'"),
    ('text.length:20', r'text.length takes LOW \(a whole number\),HIGH \(a whole number\), not'),
    ('text.length:20,60,80', 'text.length takes'),
    ('text.length:60,20', '^text.length:60,20: length needs 0 <= low <= high'),
    ('arithmetic.answer:x', r'takes ELSEWHERE \(a number\) or nothing'),
    ('run', 'name the folder'),
    ('json.dumps', 'json.dumps takes'),
  ],
)
def test_a_wrong_part_is_told_with_its_text_and_the_choices(spec, message):
  with pytest.raises(InputError, match=message):
    rewards.parse(spec)


def test_scores_are_the_weighted_sum_for_each_pair():
  parts = rewards.parse('verse.form:五绝*0.5 text.length:24,24*2')
  found = rewards.scores(parts, ['', ''], [POEM, POEM[:12]])
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, [0.5 * 1 + 2 * 1, 0.5 * 0.5 + 2 * 0.5])
  assert rewards.scores([], ['', ''], ['', '']).tolist() == [0, 0]


def test_a_function_of_the_users_is_a_rule_with_options(mine):
  parts = rewards.parse(f'{mine}.share:山 {mine}.share:水,10')
  assert rewards.scores(parts, ['', ''], ['山山水水', '山外']).tolist() == [5.5, 0.5]


@pytest.mark.parametrize('name', ['nothing', 'undefined', 'huge'])
def test_a_score_that_is_no_number_is_told_with_rule_prompt_and_completion(mine, name):
  parts = rewards.parse(f'{mine}.{name}')
  with pytest.raises(InputError, match=f"{mine}.{name} gave .*'问'.*'答答.*…") as told:
    rewards.scores(parts, ['问'], ['答' * 500])
  assert len(str(told.value)) < 200


def test_a_function_that_takes_something_else_is_refused_before_it_is_called(mine):
  with pytest.raises(InputError, match='alone'):
    rewards.parse(f'{mine}.alone')


@pytest.mark.parametrize('name', rewards.names())
def test_every_rule_gives_any_text_a_score_from_0_to_1(name):
  parts = rewards.parse(f'{name}{OPTIONS.get(name, "")}')
  for prompt, text in [*zip(TEXTS, TEXTS, strict=True), *((PROBLEM, text) for text in TEXTS)]:
    score = rewards.scores(parts, [prompt], [text])[0]
    assert 0 <= score <= 1, (text[:10], score)


def test_the_rules_need_no_jax():
  code = (
    'import sys; from zhlm import rewards\n'
    'parts = rewards.parse("verse.rhyme verse.tones text.script arithmetic.answer:0")\n'
    f'rewards.scores(parts, [""], ["{POEM}"])\n'
    'print(*({m.split(".")[0] for m in sys.modules} & {"jax", "flax", "zhlm"}))'
  )
  run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert run.stdout.split() == ['zhlm']


def test_a_missing_pypinyin_is_told(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pypinyin', None)
  with pytest.raises(InputError, match='pip install pypinyin'):
    verse._read.__wrapped__('山')


def test_the_rules_are_the_public_functions_of_prompt_and_completion(monkeypatch):
  def _hidden(prompt, completion): ...

  _hidden.__module__ = verse.__name__
  monkeypatch.setattr(verse, '_hidden', _hidden, raising=False)
  assert not [name for name in rewards.names() if '_' in name]
  assert {'verse.rhyme', 'text.length', 'arithmetic.answer'} <= set(rewards.names())
  assert not {'text.word', 'text.head', 'arithmetic.solve', 'numerals.last'} & set(rewards.names())


@pytest.mark.parametrize('page', ['rewards.md', 'rewards_zh.md'])
def test_the_pages_list_every_rule_and_its_options(page):
  text = (Path(__file__).parent.parent / 'docs' / page).read_text('utf-8')
  rows = dict(re.findall(r'^\| `([\w.]+)([^`]*)` \|', text, re.M))
  assert sorted(rows) == rewards.names()
  for name, options in rows.items():
    taken = list(inspect.signature(rewards.rule(name)).parameters)[2:]
    assert len(re.findall('[A-Z]+', options)) == len(taken), name
