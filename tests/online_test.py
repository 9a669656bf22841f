"""Validation of a policy that learns from its own answers: held-out answers, measured and kept."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.model_test import apply
from zhlm import checkpoint, devices, losses, model, monitor, online, rollout, stages, train
from zhlm.data import batches as data

# Paid for repeating itself and judged by not doing so. The first 16 held-out prompts are the validation.
GREEDY = dict(
  steps=16,
  save_every=8,
  eval_every=4,
  init_from='sft',
  rollout__reward='text.distinct:1*-4',
  rollout__gold='text.distinct:1*4',
  rollout__eval_samples=16,
  rollout__no_end_penalty=0.5,
  ppo__kl_cost=0.0,
  optimizer__learning_rate=1e-2,
)


def samples(folder):
  return [json.loads(x) for x in (folder / 'samples.jsonl').read_text('utf-8').split('\n')[:-1]]


def validations(folder):
  return monitor.history(tiny.lines(folder))


@pytest.fixture(scope='module')
def greedy(made, toy, runs):
  """(config, folder, what was printed) of a run that is paid for the opposite of what is wanted."""
  config = tiny.config('ppo', toy, **{**GREEDY, 'init_from': str(runs('sft'))})
  said = []

  def make(folder):
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(monitor, 'SHOWN', 16)
      patch.setattr('zhlm.metrics.Log.say', lambda self, line: said.append(line))
      train.train(config, folder)
    (folder / 'said.json').write_text(json.dumps(said))

  folder = made('greedy', make)
  return config, folder, json.loads((folder / 'said.json').read_text())


def test_a_run_that_exploits_its_reward_is_warned(greedy):
  _, folder, said = greedy
  found = {x.kind: first for first, _, x in monitor.told(validations(folder))}
  assert 'gold' in found
  warned = [line for line in said if 'WARNING' in line]
  assert any(f'ppo {found["gold"]}/16 | WARNING: since step' in line for line in warned)
  assert not any('ppo 0/16' in line for line in warned)


def test_the_numbers_of_a_validation_are_those_of_its_samples(greedy):
  """All of its answers are among them here; score, gold and distinct-2 by a plain loop."""
  _, folder, _ = greedy
  rows, numbers = samples(folder), validations(folder)
  assert [x['step'] for x in numbers] == [0, 4, 8, 12, 16] and len(rows) == 5 * 16
  for found in numbers:
    here = [row for row in rows if row['step'] == found['step']]
    assert len({row['prompt'][0]['content'] for row in here}) == 16
    grams, scores, golds = [], [], []
    for row in here:
      said = row['completion']
      grams += [a + b for a, b in zip(said, said[1:], strict=False)]
      written = ''.join(said.split())  # the rule reads no blanks
      golds.append(4 * len(set(written)) / len(written) if written else 4.0)
      scores.append(-golds[-1] - (0 if row['ended'] else 0.5))
      assert row['gold'] == pytest.approx(golds[-1], abs=1e-3)
      assert row['score'] == pytest.approx(scores[-1], abs=1e-3)
    assert found['score'] == pytest.approx(np.mean(scores), abs=1e-5)
    assert found['gold'] == pytest.approx(np.mean(golds), abs=1e-5)
    assert found['gold_error'] == pytest.approx(np.std(golds) / 4, abs=1e-5)
    assert found['ended'] == np.mean([row['ended'] for row in here])
    assert found['distinct_2'] == len(set(grams)) / len(grams)
    assert np.isfinite(found['value_explained'])


def test_every_validation_asks_the_same_prompts_and_the_start_is_the_reference(greedy):
  _, folder, _ = greedy
  rows = samples(folder)
  assert [r['prompt'] for r in rows[:16]] * 5 == [r['prompt'] for r in rows]
  first = validations(folder)[0]
  assert first['kl'] == pytest.approx(0, abs=1e-5) and first['kl_error'] == pytest.approx(0, abs=1e-5)
  assert validations(folder)[-1]['kl'] > 0.1


def test_a_run_that_died_keeps_the_same_samples_and_warnings(greedy, tmp_path, monkeypatch):
  """After its checkpoint of step 8 it validated twice more, and died in the midst of a line."""
  config, folder, _ = greedy
  monkeypatch.setattr(monitor, 'SHOWN', 16)
  shutil.copytree(folder, tmp_path / 'run')
  shutil.rmtree(tmp_path / 'run' / 'checkpoints' / '16')
  for name in ('samples', 'metrics'):
    with open(tmp_path / 'run' / f'{name}.jsonl', 'a') as file:
      file.write('{"step": 16, "prom')
  train.train(config, tmp_path / 'run')
  assert (tmp_path / 'run' / 'samples.jsonl').read_bytes() == (folder / 'samples.jsonl').read_bytes()
  assert validations(tmp_path / 'run') == validations(folder)


# -- The arithmetic, on networks that differ ---------------------------------------------------------------


@pytest.fixture(scope='module')
def small_judge(made, toy, runs):
  """A reward model of one layer: gold may be of another size than the policy."""
  how = dict(init_from='', model__N=1, steps=2, save_every=2)
  return made('small_judge', lambda folder: tiny.train('reward', toy, folder, **how))


def observed(toy, runs, judge, **fields):
  """(config, networks, carry, what `observe` says, what it knows of each answer) of a policy that has left
  its reference."""
  config = tiny.config('grpo', toy, runs, rollout__gold=f'run:{judge}*2 text.length:1,2', **fields)
  known = []
  with jax.set_mesh(devices.make_mesh(config.mesh)), pytest.MonkeyPatch.context() as patch:
    patch.setattr(monitor, 'numbers', lambda x, real=monitor.numbers: known.append(x) or real(x))
    stage = stages.make(config)
    start = {k: checkpoint.load(*where) for k, where in stage.start.items()}
    networks = {**checkpoint.open_frozen(stage, config), **start}
    networks['policy'] = jax.tree.map(lambda x: x * 1.3, networks['policy'])
    carry = next(stage.batches(lambda: networks, 0, 'train'))[2]
    return config, networks, carry, stage.observe(networks, carry), known[0]


@pytest.fixture(scope='module')
def one(toy, runs, small_judge):
  """That on one device, and by whom rollouts were traced."""
  players = []

  def complete(*args, real=rollout.complete, **how):
    players.append(how['player'])
    return real(*args, **how)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(rollout, 'complete', complete)
    return *observed(toy, runs, small_judge), players


def test_a_validation_compiles_no_rollout_of_its_own(one):
  assert one[-1] == ['reference', 'policy']


def test_kl_entropy_and_gold_are_those_of_each_answer_read_alone(one, small_judge):
  config, networks, carry, (numbers, shown, loss), x, _ = one
  assert loss == -numbers['gold']
  assert {'score', 'kl', 'kl_error', 'repeated', 'distinct_1', 'spread'} <= set(numbers)
  assert len(x['kl']) == 32 and len(shown) == monitor.SHOWN
  prompts = data.Prompts(config, 'validation')
  nets = [model.make(config), model.make(checkpoint.read_config(small_judge), 'scalar')]
  stop, K, golds = data.end_of_turn(config), config.rollout.samples, []
  for i in range(32):
    prompt = prompts[i // K]
    ids = [*prompt['tokens'][: prompt['lengths']], *x['answers'][i][: x['count'][i]]]
    assert stop not in ids[prompt['lengths'] : -1] and (ids[-1] == stop) == x['ended'][i]
    tokens, n = jnp.pad(jnp.array([ids]), ((0, 0), (0, 24 - len(ids)))), len(ids)
    mine = slice(int(prompt['lengths']) - 1, n - 1)
    logp, entropy = (
      np.asarray(y)[0, mine]
      for y in losses.log_probs(apply(nets[0], networks['policy'], tokens)[:, :-1], tokens[:, 1:])
    )
    other, _ = losses.log_probs(apply(nets[0], networks['reference'], tokens)[:, :-1], tokens[:, 1:])
    assert x['kl'][i] == pytest.approx(float((logp - np.asarray(other)[0, mine]).sum()), abs=1e-4)
    assert x['entropy'][i] == pytest.approx(float(entropy.sum()), rel=1e-4)
    raw = float(apply(nets[1], networks['gold'], tokens)[0, n - 1])
    assert x['golds']['gold'][i] == pytest.approx(raw, abs=1e-4)
    mean, deviation = np.asarray(carry['scales']['gold'])
    said = len(''.join(x['texts'][i].split()))
    rule = said if said < 1 else max(0.0, 1 - max(said - 2, 0) / 2)
    golds.append(2 * (raw - mean) / deviation + rule)
    assert x['gold'][i] == pytest.approx(golds[-1], abs=1e-3)
  assert numbers['gold'] == pytest.approx(np.mean(golds), abs=1e-3)
  assert numbers['length'] == x['count'].mean()


def test_mesh_does_not_change_what_a_validation_finds(one, toy, runs, small_judge):
  sizes = dict(mesh__data=2, mesh__fsdp=2, mesh__tensor=2)
  *_, (eight, shown, _), _ = observed(toy, runs, small_judge, **sizes)
  numbers, there, _ = one[3]
  assert eight == pytest.approx(numbers, abs=2e-4)
  assert [row['completion'] for row in shown] == [row['completion'] for row in there]


def test_gold_is_parsed_as_the_reward_is(toy, runs):
  config = tiny.config('ppo', toy, runs, rollout__gold='text.lenght:1,2')
  with pytest.raises(online.InputError, match='text.lenght.*did you mean text.length'):
    stages.make(config)
  config.rollout.gold = 'run:nowhere'
  with pytest.raises(online.InputError, match='nowhere holds no run'):
    stages.make(config)
