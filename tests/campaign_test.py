"""Rounds of RLHF with a rule as the judge, and what people meet who rank."""

import json
import math
import os

import pytest

from configs.data import get_config as data_config
from tests import tiny
from tests.toy import write_jsonl
from zhlm import campaign, checkpoint, train
from zhlm.data import batches as data
from zhlm.data import records
from zhlm.errors import InputError

RED = 'tests.campaign_test.reds'


def reds(prompt, completion):
  """The judge: how many characters are red, of eight."""
  return completion.count('红') / 8


@pytest.fixture(scope='module')
def story(made, toy, runs):
  """A folder as launch/everything.sh makes it, up to SFT."""

  def make(folder):
    folder.mkdir()
    for name, path in (('data', toy / 'data'), ('tokenizer', toy / 'tokenizer'), ('sft', runs('sft'))):
      os.symlink(path, folder / name)

  return made('story', make)


@pytest.fixture
def plan(story):
  def make(**fields):
    own = dict(steps=20, eval_every=0, save_every=10)
    policy = tiny.config('ppo', story, evals=(), **{**own, 'ppo__kl_cost': 0.02, 'batch__B': 16})
    default = dict(start=str(story), judge=RED, samples=3, prompts=48, fresh=0.5, seed=0)
    configs = dict(
      data=data_config('processes=1'), reward=tiny.config('reward', story, **own), policy=policy
    )
    return campaign.Plan(**{**default, **configs, **fields})

  return make


def everything(folder):
  """{file: (size, time of change)}"""
  files = [p for p in folder.rglob('*') if p.is_file() and p.name != 'campaign.json']
  return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def test_two_rounds_with_a_rule_as_judge(plan, story, tmp_path, monkeypatch):
  """Killed in between it goes on; run again it does nothing; the rounds teach what the judge wants."""
  folder, read, killed = tmp_path / 'campaign', {}, []
  init, row = data.Ranked.__init__, data.Ranked.__getitem__

  def opened(self, config, split, **how):
    init(self, config, split, **how)
    self.seen = read.setdefault((split, config.data), set())

  def one(self, index):
    self.seen.add(int(index))
    return row(self, index)

  monkeypatch.setattr(data.Ranked, '__init__', opened)
  monkeypatch.setattr(data.Ranked, '__getitem__', one)
  loop = train.train

  def kill(config, workdir):
    if not killed and config.stage == 'ppo':
      killed.append(workdir)
      raise KeyboardInterrupt
    return loop(config, workdir)

  monkeypatch.setattr(train, 'train', kill)
  with pytest.raises(KeyboardInterrupt):
    campaign.run(folder, plan(), 2, say=lambda _: None)
  before = everything(folder / 'round_1')
  results = campaign.run(folder, plan(), 2, say=lambda _: None)
  assert [x['round'] for x in results] == [0, 1, 2]
  after = everything(folder / 'round_1' / 'data')
  assert after and all(before[p] == x for p, x in after.items())  # what was done was not done again
  # The second reward model read all comparisons of both rounds, and only those.
  story_rows = len(records.open_split(str(story / 'data' / 'reward'), 'train'))
  rounds = [
    len(records.open_split(str(folder / f'round_{n}' / 'data' / 'reward'), 'train')) for n in (1, 2)
  ]
  asked = [len((folder / f'round_{n}' / 'answers.jsonl').read_text().splitlines()) for n in (1, 2)]
  assert rounds == asked and min(rounds) > 20
  assert results[2]['comparisons'] == story_rows + sum(rounds)
  assert [len(read['train', str(folder / f'round_{n}')]) for n in (1, 2)] == rounds
  mixture = checkpoint.read_config(folder / 'round_2' / 'reward').mixture
  assert mixture.split()[0] == f'{story}:0.5' and len(mixture.split()) == 3
  # Reward model and policy begin at SFT, the policy with this round's reward model.
  for n in (1, 2):
    ppo = checkpoint.read_config(folder / f'round_{n}' / 'ppo')
    assert ppo.init_from == str(story / 'sft') and ppo.rollout.reward == f'run:{folder}/round_{n}/reward'
  assert results[2]['score'] > results[0]['score'] + 2 * results[2]['score_error']
  assert 0.5 < results[2]['agreement'] <= 1 and 'agreement' not in results[0]
  assert results[0]['kl'] == pytest.approx(0, abs=1e-4) and results[2]['kl'] > 0.1
  # Run again, nothing is touched; with another plan it is refused.
  before = everything(folder)
  assert campaign.run(folder, plan(), 2, say=lambda _: None) == results
  assert everything(folder) == before
  with pytest.raises(InputError, match=r'another campaign, with samples=3 \(now 4\)'):
    campaign.run(folder, plan(samples=4), 2)
  table = (folder / 'results.md').read_text().splitlines()
  assert len(table) == 5 and table[0].startswith('| round | comparisons | accuracy | agreement | score')


def rank(path, ranks):
  """Adds ranks(row) to every line of a file."""
  rows = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
  write_jsonl(path, [{**row, 'ranks': ranks(row)} for row in rows])
  return len(rows)


def test_people_are_told_what_to_rank_and_the_campaign_goes_on(plan, tmp_path, monkeypatch):
  folder, reached = tmp_path / 'campaign', []
  monkeypatch.setattr(train, 'train', lambda config, workdir: reached.append(config) or 1 / 0)
  path = folder / 'round_1' / 'answers.jsonl'

  def go():
    campaign.run(folder, plan(judge='people', prompts=8, fresh=0.0), 1, say=lambda _: None)

  with pytest.raises(
    campaign.Waiting, match=r'\d rows have no ranks yet, the first at \S+/answers.jsonl:1: add'
  ):
    go()
  asked = path.read_bytes()
  with pytest.raises(campaign.Waiting):
    go()
  assert path.read_bytes() == asked  # asked again, it asks for the same
  count = rank(path, lambda row: [1])
  with pytest.raises(InputError, match=r'answers.jsonl:1: ranks: must be \d whole numbers from 1'):
    go()
  # Some rows tie: they are no comparison, and no mistake.
  ties = iter([True] + [False] * count)
  rank(path, lambda row: [1 if t else k + 1 for t in [next(ties)] for k in range(len(row['completions']))])
  with pytest.raises(ZeroDivisionError):
    go()
  story, round_1 = (word.rpartition(':') for word in reached[0].mixture.split())
  made = len(records.open_split(str(folder / 'round_1' / 'data' / 'reward'), 'train'))
  there = len(records.open_split(f'{story[0]}/data/reward', 'train'))
  assert made == count - 1 and round_1[0] == str(folder / 'round_1')
  assert float(round_1[2]) == pytest.approx(made / (made + there), abs=1e-9)  # as many as they are
  assert reached[0].steps == math.ceil(20 * (made + there) / there) and reached[0].reward.C == 4


@pytest.mark.parametrize(
  'fields, said',
  [
    ({'judge': 'lenght:1,3'}, 'no rule is named lenght'),
    ({'start': '/nowhere'}, '/nowhere/sft holds no run'),
    ({'fresh': 1.0}, 'fresh=1.0: a share'),
    ({'policy': tiny.plain('dpo')}, "'dpo' asks no reward model; take configs/ppo.py"),
    ({'reward': tiny.plain('sft')}, "'sft' trains no reward model"),
  ],
)
def test_a_campaign_that_cannot_be_is_told_before_it_begins(fields, said, plan, tmp_path):
  with pytest.raises(InputError, match=said):
    campaign.run(tmp_path / 'campaign', plan(**fields), 1)
  assert not (tmp_path / 'campaign').exists()
