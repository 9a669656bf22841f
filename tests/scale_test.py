"""A reward model's scale: measured on the policy's own answers, stored beside the weights, used so."""

import importlib
import json
import shutil

import jax
import numpy as np
import pytest

from configs import recipes
from tests import tiny
from zhlm import checkpoint, devices, evals, generate, model, rollout, scale, stages
from zhlm.data import batches as data
from zhlm.errors import InputError
from zhlm.evals import scale as measured

SIZES = ('size=tiny', 'size=demo')
ROWS = 64  # answers of the eval drawn at once


@pytest.fixture(scope='module')
def reward(runs, tmp_path_factory):
  """A folder with a reward run and its scale, of 128 answers."""
  folder = tmp_path_factory.mktemp('scale') / 'reward'
  shutil.copytree(runs('reward'), folder)
  about = checkpoint.read_about(folder)
  about['config']['evals'] = ['scale']
  (folder / 'config.json').write_text(json.dumps(about))
  assert measured.SAMPLES >= 256
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(measured, 'SAMPLES', 2 * ROWS)
    evals.evaluate(folder, again=True, say=lambda _: None)
  return folder


@pytest.fixture
def copy(reward, tmp_path):
  """Another such folder, to spoil."""
  return shutil.copytree(reward, tmp_path / 'reward')


def stored(folder):
  return json.loads((folder / scale.NAME).read_text())


def change(folder, **fields):
  """Writes other fields into scale.json."""
  (folder / scale.NAME).write_text(json.dumps({**stored(folder), **fields}))


@pytest.fixture
def player(toy, runs):
  """player(folder of a reward run) -> (PPO as it begins, its networks); the mesh is set."""

  def make(folder):
    config = tiny.config('ppo', toy, runs, rollout__reward=f'run:{folder}')
    stage = stages.make(config)
    trained = {k: checkpoint.load(*start) for k, start in stage.start.items()}
    return stage, {**checkpoint.open_frozen(stage, config), **trained}

  with jax.set_mesh(devices.make_mesh({})):
    yield make


@pytest.mark.parametrize('how', [*SIZES, *(f'size=tiny,recipe={name}' for name in recipes.RECIPES)])
def test_what_is_measured_is_how_ppo_samples(how):
  """Else the scale that every reward run ends with would not be used by default."""
  of = {k: importlib.import_module(f'configs.{k}') for k in ('reward', 'ppo', 'grpo', 'rloo')}
  found = {k: c.get_config(how).rollout for k, c in of.items() if k in ('reward', 'ppo') or how in SIZES}
  sampling = [[rollout[name] for name in scale.SAMPLING] for rollout in found.values()]
  assert len(sampling) > 1 and all(x == sampling[0] for x in sampling)


def test_mean_and_deviation_are_those_of_a_computation_of_its_own(reward, runs):
  """Every answer alone: sampled row by row, scored at its last token, moments in float64."""
  run, every = evals.open_run(reward), []
  c = run.config
  with jax.set_mesh(devices.make_mesh({})):
    lm, scalar = model.make(c), model.make(c, 'scalar')
    policy, weights = checkpoint.load(runs('sft'), 'policy'), run.load('reward')
    stop = data.end_of_turn(c)

    @jax.jit
    def one(tokens_T, length, i, row):
      key = jax.random.fold_in(jax.random.fold_in(jax.random.key(c.seed), i), row)
      how = dict(new=c.rollout.new_tokens, stop=stop, temperature=c.rollout.temperature)
      said, count = generate.sample(lm, policy, tokens_T[None], length[None], key[None], **how)
      row = rollout.join(tokens_T[None], length[None], said, count)
      values, _ = scalar.apply({'params': weights}, row)
      return values[0, length + count[0] - 1]

    for i, (x, _, _) in zip(range(2), data.stream(data.Prompts(c, 'train'), c, 0, 'train', ROWS)):  # noqa: B905
      every += [float(one(x['tokens'][row], x['lengths'][row], i, row)) for row in range(ROWS)]
  found = stored(reward)
  assert found['samples'] == len(every) == 2 * ROWS
  assert found['mean'] == pytest.approx(np.mean(every), abs=1e-3)
  assert found['std'] == pytest.approx(np.std(every), rel=1e-3) and found['std'] > 0.1
  assert found['step'] == tiny.STEPS['reward'] and found['answers_of'] == str(runs('sft'))


def test_a_stored_scale_is_used_exactly_and_kept_by_a_run_that_goes_on(copy, player, capsys):
  change(copy, mean=-3.0, std=7.0)  # doctored, to be known again
  stage, networks = player(copy)
  _, info, carry = next(stage.batches(lambda: networks, 0, 'train'))
  assert capsys.readouterr().out == f'ppo: scale of reward: {copy}/scale.json: -3 ± 7\n'
  np.testing.assert_array_equal(carry['scales']['reward'], np.float32([-3, 7]))
  penalty = 1 - float(info['ended'])  # a deviation off for each answer without an end
  want = (float(info['raw_reward']) + 3) / 7 - penalty
  assert float(info['score']) == pytest.approx(want, abs=1e-5)
  change(copy, mean=1e6)
  stage, _ = player(copy)
  _, _, later = next(stage.batches(lambda: networks, 1, 'train', carry))
  np.testing.assert_array_equal(later['scales']['reward'], np.float32([-3, 7]))
  assert abs(stage.observe(networks, later)[0]['score']) < 10  # in the same units as training


def test_a_scale_of_an_older_step_is_not_used_and_the_first_answers_give_it(
  copy, player, capsys, monkeypatch
):
  seen, of = [], scale.of
  monkeypatch.setattr(scale, 'of', lambda scores: seen.append(np.asarray(scores)) or of(scores))
  change(copy, mean=1e6, of={**stored(copy)['of'], 'reward': '0123456789abcdef'})
  stage, networks = player(copy)
  _, _, carry = next(stage.batches(lambda: networks, 0, 'train'))
  said, (mean, std) = capsys.readouterr().out, np.asarray(carry['scales']['reward'])
  assert f'scale.json is of another reward; measured on 16 answers: {mean:.4g} ± {std:.4g}' in said
  scores = (seen[0] - mean) / std
  assert scores.mean() == pytest.approx(0, abs=1e-5) and scores.std() == pytest.approx(1, abs=1e-5)


def test_what_a_scale_depends_on_is_told_where_it_differs(copy, player, toy, runs):
  config, (_, networks) = tiny.config('ppo', toy, runs), player(copy)
  reward, policy = networks['reward'], networks['reference']
  found, _ = scale.read(copy, config, reward, policy)
  np.testing.assert_array_equal(found, np.float32([stored(copy)['mean'], stored(copy)['std']]))
  moved = jax.tree.map(lambda x: x + 1e-3, reward)  # as a few updates would
  trunk = {k: x for k, x in moved.items() if not k.startswith('score')}
  for other, args in {
    'reward': (config, moved, policy),
    'policy': (config, reward, trunk),
    'temperature': (tiny.config('ppo', toy, rollout__temperature=0.7), reward, policy),
    'new_tokens': (tiny.config('ppo', toy, rollout__new_tokens=6), reward, policy),
    'prompt_tokens': (tiny.config('ppo', toy, rollout__prompt_tokens=14), reward, policy),
    'prompts': (tiny.config('ppo', toy, mixture=f'{toy}:0.5 {copy.parent}/more:0.5'), reward, policy),
  }.items():
    if other == 'prompts':
      (copy.parent / 'more' / 'data').mkdir(parents=True)
      shutil.copy(toy / 'data' / 'manifest.json', copy.parent / 'more' / 'data')
    assert scale.read(copy, *args) == (None, f'{copy}/scale.json is of another {other}')
  (copy / scale.NAME).write_text('{"mean": 1')
  with pytest.raises(InputError, match=r'scale.json: no scale of a reward model .*; remove it'):
    scale.read(copy, config, reward, policy)
  (copy / scale.NAME).unlink()
  assert scale.read(copy, config, reward, policy) == (None, f'there is no {copy}/scale.json')


def test_a_fresh_reward_model_and_data_without_prompts_have_no_scale(copy):
  run = evals.open_run(copy)
  (copy / scale.NAME).unlink()
  run.config.init_from = ''
  assert list(measured.evaluate(run)) == []
  run.config.init_from, run.config.data = 'somewhere', str(copy)
  assert list(measured.evaluate(run)) == [] and not (copy / scale.NAME).exists()
