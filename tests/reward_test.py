"""The reward model's batches of two to nine answers, and one pass over the data as its length."""

import itertools
import json
import math

import jax
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, devices, losses, model, rollout, stages, train
from zhlm.data import batches as data
from zhlm.errors import InputError


class Source(list):
  """Records that are made up."""

  def __getitems__(self, indices):
    return [self[i] for i in indices]


@pytest.fixture
def nine(monkeypatch):
  """Prompts of nine and of three answers, some of which tie: what every split holds."""
  rng = np.random.default_rng(0)
  source = Source()
  for ranks in ([1, 2, 2, 3, 4, 5, 5, 5, 6], [2, 1, 2]):
    lengths = rng.integers(4, 12, len(ranks)).astype(np.int32)
    tokens = rng.integers(5, 300, lengths.sum()).astype(np.int32)
    source.append({'tokens': tokens, 'lengths': lengths, 'ranks': np.int32(ranks), 'source': 'made up'})
  monkeypatch.setattr(data.records, 'open_split', lambda *_: source)
  return source


def test_nine_answers_are_one_batch_element_and_their_loss_is_that_of_plain_pairs(nine, toy):
  config = tiny.config('reward', toy, reward__C=9, batch__B=2, batch__T=16)
  with jax.set_mesh(devices.make_mesh(config.mesh)):
    stage = stages.make(config)
    params = checkpoint.unbox(stage.init(jax.random.key(0)))
    batch, _, _ = next(stage.batches(None, 0, 'validation'))
    assert {k: (x.shape, x.dtype) for k, x in batch.items()} == {
      k: (x.shape, x.dtype) for k, x in stage.shapes().items()
    }
    loss, info = jax.jit(stage.loss)(params, losses.weights_sum_to_one(batch), None)
    score = jax.jit(
      lambda tokens, n: rollout.score(model.make(config, 'scalar'), params['reward'], tokens, n)
    )
    means, right = [], []
    for record in nine:
      rows = np.split(record['tokens'], np.cumsum(record['lengths'])[:-1])
      each = [float(score(np.pad(row, (0, 12 - len(row)))[None], np.array([len(row)]))[0]) for row in rows]
      pairs = [
        (each[i], each[j])
        for i, j in itertools.permutations(range(len(each)), 2)
        if record['ranks'][i] < record['ranks'][j]
      ]
      means.append(np.mean([math.log(1 + math.exp(b - a)) for a, b in pairs]))
      right.append(np.mean([a > b for a, b in pairs]))
  assert float(loss) == pytest.approx(np.mean(means), abs=1e-5)
  assert float(info['accuracy']) == pytest.approx(np.mean(right), abs=1e-6) and 0 < np.mean(right) < 1


def test_answers_that_are_left_out_are_told_once_and_only_of_what_is_trained_on(nine, toy, capsys):
  config = tiny.config('reward', toy, reward__C=8, batch__B=2, batch__T=16)
  data.fitting(config, 'train', data.Ranked)
  data.fitting(config, 'validation', data.Ranked)
  assert capsys.readouterr().err == (
    'reward: of 12 completions of the first 2 prompts 1 beyond reward.C=8 and 0 longer than batch.T=16 are '
    'left out\n'
  )
  longest = max(int(n) for record in nine for n in record['lengths'])
  config.reward.C, config.batch.T = 9, longest - 1
  data.fitting(config, 'train', data.Ranked)
  assert f' 0 beyond reward.C=9 and 1 longer than batch.T={longest - 1} ' in capsys.readouterr().err
  config.batch.T = longest
  data.fitting(config, 'train', data.Ranked)
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize('stage', ['pretrain', 'sft', 'reward'])
def test_one_pass_reads_no_row_twice_and_leaves_less_than_a_batch(stage, toy):
  config = tiny.config(stage, toy, steps=0)
  with jax.set_mesh(devices.make_mesh(config.mesh)):
    steps = stages.resolved(config).steps
    batches = stages.make(config).batches(None, 0, 'train')
    rows = [bytes(row) for batch, _, _ in itertools.islice(batches, steps) for row in batch['tokens']]
    more = [bytes(row) for batch, _, _ in itertools.islice(batches, 2) for row in batch['tokens']]
  assert len(rows) == len(set(rows)) == steps * 8 > 0
  assert set(more) & set(rows)  # the second pass
  assert config.steps == 0 and stages.resolved(tiny.config(stage, toy, steps=3)).steps == 3


def test_dpo_reads_what_the_reward_model_reads(toy):
  one, other = (stages.resolved(tiny.config(stage, toy, steps=0)).steps for stage in ('reward', 'dpo'))
  assert one == other == len(data.Ranked(tiny.config('dpo', toy), 'train')) // 8


def test_a_run_of_one_pass_says_how_long_it_is_and_goes_on(toy, tmp_path):
  config = tiny.config('reward', toy, steps=0, save_every=99)
  steps = len(data.Ranked(config, 'train')) // 8
  assert steps > 1
  state = train.train(config, tmp_path / 'run')
  about = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert about['config']['steps'] == int(state.step) == steps
  again = train.train(config, tmp_path / 'run')  # finished: what is asked for is the same run
  assert int(again.step) == steps
  with pytest.raises(InputError, match=rf'holds another run, with steps={steps} \(now 7\)'):
    train.train(tiny.config('reward', toy, steps=7), tmp_path / 'run')


@pytest.mark.parametrize('stage', ['ppo', 'grpo', 'rloo'])
def test_what_makes_its_own_data_has_no_pass(stage, toy, runs, tmp_path):
  with pytest.raises(InputError, match=f"config.steps=0, .*'{stage}', which makes .* --config.steps=N"):
    train.train(tiny.config(stage, toy, runs, steps=0), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_mixture_has_no_pass(toy, tmp_path):
  config = tiny.config('reward', toy, steps=0, mixture=f'{toy}:1')
  with pytest.raises(InputError, match='config.steps=0, .* config.mixture; give'):
    train.train(config, tmp_path / 'run')


def test_the_reward_model_trains_one_pass_where_it_is_no_demo():
  assert tiny.plain('reward').steps == 0
