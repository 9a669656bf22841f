"""A prepared folder of a few hundred synthetic texts of our own, for the tests of all stages.

  make_toy(folder) -> folder, holding data/{pretrain,sft,reward,ppo} and tokenizer/tokenizer.model

It can be learned: a thing always has the same colour, and the good answer is always the kind one.
"""

import json
import os
import random

from configs.data import get_config
from zhlm.corpus.prepare import prepare

THINGS = '山水月日云花草木石雨风雪灯门书'
COLOURS = '红白黑青黄'
GOOD, BAD = '好美', '坏丑'


def coloured(things):
  """The colour of each thing, always the same one."""
  return ''.join(COLOURS[THINGS.index(thing) % len(COLOURS)] for thing in things)


def rows(count, seed=0):
  """JSONL rows of every kind, `count` of each: documents, conversations, preferences."""
  draw = random.Random(seed)
  for _ in range(count):
    things = draw.choices(THINGS, k=10)
    yield {'text': ''.join(thing + coloured(thing) for thing in things) + '。'}
    things = ''.join(draw.choices(THINGS, k=4))
    answer = {'role': 'assistant', 'content': coloured(things)}
    yield {'messages': [{'role': 'user', 'content': f'{things}？'}, answer]}
    things = ''.join(draw.choices(THINGS, k=4))
    good, bad = things + draw.choice(GOOD), things + draw.choice(BAD)
    yield {'prompt': f'说{things}', 'chosen': good, 'rejected': bad}


def write_jsonl(path, rows):
  """One object a line."""
  with open(path, 'w', encoding='utf-8') as file:
    file.writelines(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)


def toy_config(source):
  """The data config at toy size: a vocabulary of bytes and single characters."""
  with get_config().unlocked() as config:
    config.source, config.vocab_size, config.max_tokens = str(source), 340, 64
    config.preset, config.processes = 'plain', 1
    config.character_coverage, config.test_share, config.validation_share = 1.0, 0.2, 0.1
  return config


def make_toy(folder, count=300, say=lambda _: None):
  """Writes `count` texts of each kind under `folder` and prepares it; returns `folder`."""
  os.makedirs(folder, exist_ok=True)
  source = os.path.join(folder, 'toy.jsonl')
  write_jsonl(source, rows(count))
  prepare(toy_config(source), str(folder), say)
  return folder
