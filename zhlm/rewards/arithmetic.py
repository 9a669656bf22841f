"""Word problems whose answer is known: made from templates, and solved again from their text alone.

So a problem needs no field beside its prompt: the rule reads the numbers back out of the question and
computes. Numbers are exact; an answer is right or wrong.
"""

import functools
import random
import re
import string
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from zhlm.errors import InputError
from zhlm.rewards import numerals

_WHO = ('小明', '小红', '小华', '小丽', '小军', '小芳')
_THINGS = ('个苹果', '支铅笔', '本书', '颗糖', '张卡片', '朵花', '个气球')


class Template(NamedTuple):
  """A text with {who}, {thing} and numbers {a} {b} {c}; ranges of these, first and last; steps(a, b, …) ->
  all results in order, the answer last. Only numbers are used that make every result positive and whole."""

  text: str
  ranges: tuple
  steps: Callable


TEMPLATES = (
  Template(
    '{who}有{a}{thing}，又得到{b}{thing}。{who}现在有多少{thing}？',
    ((2, 99), (2, 99)),
    lambda a, b: (a + b,),
  ),
  Template(
    '{who}有{a}{thing}，送给同学{b}{thing}。{who}还剩多少{thing}？',
    ((5, 99), (2, 90)),
    lambda a, b: (a - b,),
  ),
  Template(
    '每个盒子里有{a}{thing}，{b}个盒子里一共有多少{thing}？', ((2, 30), (2, 20)), lambda a, b: (a * b,)
  ),
  Template(
    '把{a}{thing}平均分给{b}个小朋友，每个小朋友分到多少{thing}？',
    ((6, 144), (2, 12)),
    lambda a, b: (Fraction(a, b),),
  ),
  Template(
    '{who}有{a}{thing}，送给同学{b}{thing}，妈妈又给了{c}{thing}。{who}现在有多少{thing}？',
    ((10, 99), (2, 60), (2, 60)),
    lambda a, b, c: (a - b, a - b + c),
  ),
  Template(
    '{who}比同桌多{a}{thing}，同桌有{b}{thing}。两个人一共有多少{thing}？',
    ((2, 40), (2, 60)),
    lambda a, b: (a + b, a + b + b),
  ),
  Template(
    '{who}有{a}{thing}，哥哥的是{who}的{b}倍。哥哥比{who}多多少{thing}？',
    ((2, 30), (2, 9)),
    lambda a, b: (a * b, a * b - a),
  ),
  Template(
    '{who}每天看{a}页书，看了{b}天，还剩{c}页没有看。这本书一共有多少页？',
    ((5, 40), (2, 14), (2, 99)),
    lambda a, b, c: (a * b, a * b + c),
  ),
  Template(
    '一本书有{a}页，{who}每天看{b}页，看了{c}天。还剩多少页没有看？',
    ((60, 400), (5, 40), (2, 14)),
    lambda a, b, c: (b * c, a - b * c),
  ),
  Template(
    '每支钢笔{a}元，{who}买了{b}支，付了{c}元，应该找回多少元？',
    ((3, 20), (2, 9), (20, 200)),
    lambda a, b, c: (a * b, c - a * b),
  ),
  Template(
    '一辆汽车{a}小时行驶{b}千米，照这样的速度，{c}小时行驶多少千米？',
    ((2, 6), (60, 480), (2, 12)),
    lambda a, b, c: (Fraction(b, a), Fraction(b, a) * c),
  ),
  Template(
    '学校有{a}{thing}，自己留下{b}{thing}，其余的平均分给{c}个班。每个班分到多少{thing}？',
    ((20, 200), (2, 60), (2, 12)),
    lambda a, b, c: (a - b, Fraction(a - b, c)),
  ),
)


def problems(seed, count):
  """Yields `count` problems {'prompt', 'answer'}, both text, the templates in turn; a seed gives the same.

  Numbers are drawn evenly among those that a template allows; a long list repeats problems.
  """
  rng = random.Random(seed)
  for i in range(count):
    template = TEMPLATES[i % len(TEMPLATES)]
    while True:
      numbers = [rng.randint(*bounds) for bounds in template.ranges]
      steps = template.steps(*numbers)
      if all(step > 0 and step == int(step) for step in steps):
        break
    words = dict(zip('abc', numbers, strict=False), who=rng.choice(_WHO), thing=rng.choice(_THINGS))
    yield {'prompt': template.text.format(**words), 'answer': str(int(steps[-1]))}


def solve(prompt):
  """The answer to the problem that a prompt holds, a Fraction; None where it holds none of `problems`."""
  for pattern, template in _patterns():
    if found := pattern.search(prompt):
      return Fraction(template.steps(*(int(found[name]) for name in 'abc'[: len(template.ranges)]))[-1])
  return None


def answer(prompt, completion, elsewhere: float = None):
  """1.0 when the last number in the completion is the answer to the prompt's problem, else 0.0.

  It may be written in any way of zhlm/rewards/numerals.py; units are not read. A prompt that holds none of
  `problems` gets `elsewhere`; raises InputError where that is not given.
  """
  right = solve(prompt)
  if right is not None:
    return float(numerals.last(completion) == right)
  if elsewhere is None:
    raise InputError(
      f'arithmetic.answer: the prompt {prompt[:40]!r} holds none of arithmetic.problems; '
      'arithmetic.answer:0 gives 0 to such prompts'
    )
  return elsewhere


@functools.cache
def _patterns():
  """[(regular expression, template)]; a name that stands twice must be the same twice."""
  choices = {'who': '|'.join(_WHO), 'thing': '|'.join(_THINGS), **dict.fromkeys('abc', r'(?<!\d)\d{1,9}')}
  found = []
  for template in TEMPLATES:
    parts, seen = [], set()
    for literal, name, _, _ in string.Formatter().parse(template.text):
      parts.append(re.escape(literal))
      if name:
        parts.append(f'(?P={name})' if name in seen else f'(?P<{name}>{choices[name]})')
        seen.add(name)
    found.append((re.compile(''.join(parts)), template))
  return found
