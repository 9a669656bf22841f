"""PPO's details: what is charged, what is replaced, whose units, whose trunk, and text beside."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import ppo as ppo_config
from configs import recipes, reward, sft
from tests import tiny
from zhlm import checkpoint, devices, judging, lora, losses, stages
from zhlm.data import batches as data
from zhlm.errors import InputError


def opened(config):
  """(stage, all its networks at the start)."""
  stage = stages.make(config)
  params = checkpoint.unbox(stage.init(jax.random.key(3)))
  shapes = jax.eval_shape(stage.init, jax.random.key(3))
  for k, at in stage.start.items():
    params[k] = lora.join(params[k], checkpoint.load(*at, shapes[k]))
  return stage, params, checkpoint.open_frozen(stage, config)


@pytest.fixture(scope='module')
def first(toy, runs):
  """first(**fields) -> (stage, params, the first batch, its info, config); the same fields, made once."""

  @functools.cache
  def make(**fields):
    config = tiny.config('ppo', toy, runs, **{'ppo__kl_loss': 0.0, 'ppo__pretrain_cost': 0.0, **fields})
    with jax.set_mesh(devices.make_mesh(config.mesh)):
      stage, params, frozen = opened(config)
      batch, info, _ = next(stage.batches(lambda: {**frozen, **params}, 0, 'train'))
      return stage, params, batch, info, config

  return make


def numbers(stage, params, batch):
  out = jax.jit(stage.loss)(params, losses.weights_sum_to_one(batch), None)
  return out[0], jax.tree.map(float, out[1])


@pytest.mark.parametrize(
  'fields',
  [
    {'rollout__temperature': 0.7},
    {'ppo__value_from': 'shared'},
    {'model__lora_rank': 2},
  ],
  ids=str,
)
def test_before_the_first_update_it_is_the_reference(first, fields):
  stage, params, batch, info, _ = first(**fields)
  _, found = numbers(stage, params, batch)
  for name in ('ratio', 'min_ratio', 'max_ratio'):
    assert found[name] == pytest.approx(1, abs=1e-5), name
  assert found['approximate_kl'] <= 1e-6 and found['clipped'] == 0
  assert float(info['kl']) == pytest.approx(0, abs=1e-5)
  assert found['value_loss'] >= 0 and (np.abs(batch['logp_ref'] - batch['logp']) < 1e-5).all()


def test_a_value_network_of_the_reward_model_speaks_in_its_deviations(first):
  """At the last token, where it reads what the reward model read but the last token, it is near the score's
  scale; raw, the toy's rewards are several times that."""
  _, _, batch, info, _ = first()
  _, _, raw, _, _ = first(ppo__value_from='policy')
  assert np.abs(batch['value'][np.asarray(batch['mask']) > 0]).mean() < 3
  np.testing.assert_array_equal(raw['scale'], np.broadcast_to([0, 1], raw['scale'].shape))
  assert not np.allclose(batch['scale'], raw['scale'])


def test_a_shared_trunk_begins_with_values_of_zero_and_is_moved_by_them(first):
  stage, params, batch, _, config = first(ppo__value_from='shared')
  assert set(params['value']) == {'score', 'score_bias'}
  assert (np.asarray(batch['value']) == 0).all()
  no_policy = {**batch, 'advantage': jnp.zeros_like(batch['advantage']), 'value': batch['value'] + 1}
  moved = {**params, 'value': jax.tree.map(lambda x: x + 0.1, params['value'])}
  grads = jax.jit(jax.grad(lambda p: stage.loss(p, no_policy, None)[0]))(moved)
  assert float(optax.global_norm(grads['policy'])) > 1e-3


def test_a_run_on_a_shared_trunk_is_opened_again(toy, runs, tmp_path):
  """With all the switches of OpenAI's recipe of 2019."""
  switches = {
    k.replace('.', '__'): v
    for k, v in recipes.RECIPES['openai2019']['ppo'].items()
    if k.startswith(('ppo.', 'optimizer.', 'rollout.no', 'rollout.temp'))
  }
  how = dict(switches, steps=3, save_every=2, ppo__pretrain_cost=0.0)
  state = tiny.train('ppo', toy, tmp_path / 'run', runs, **how)
  assert all(np.isfinite(x['loss']) for x in tiny.lines(tmp_path / 'run'))
  with jax.set_mesh(devices.make_mesh({})):
    for name in ('policy', 'value'):
      jax.tree.map(
        np.testing.assert_array_equal, checkpoint.load(tmp_path / 'run', name), state.params[name]
      )
  again = tiny.train('ppo', toy, tmp_path / 'run', runs, **how)
  jax.tree.map(np.testing.assert_array_equal, again.params, state.params)


def sums(batch):
  """Σ of the whole rewards of each answer, from returns: with γ = λ = 1 the first return is it."""
  mask = np.asarray(batch['mask'])
  where = mask.argmax(1)[:, None]
  return np.take_along_axis(np.asarray(batch['return']), where, 1)[:, 0]


@pytest.mark.parametrize('instead', [False, True])
def test_an_answer_without_an_end_pays(first, instead):
  """Its penalty off its score, or in its place; an answer that ended keeps its score."""
  how = dict(ppo__lam=1.0, ppo__kl_cost=0.0, ppo__kl_target=0.0)
  free = first(**how, rollout__no_end_penalty=0.0)[2]
  paid = first(**how, rollout__no_end_penalty=2.0, rollout__no_end_instead=instead)[2]
  long = np.asarray(free['mask']).sum(1) == 8  # rollout.new_tokens: those may lack an end
  assert long.any() and not long.all()
  np.testing.assert_allclose(sums(paid)[~long], sums(free)[~long], atol=1e-5)
  cut = np.abs(sums(paid) - sums(free)) > 1e-4
  assert cut.any() and (cut <= long).all()
  want = -2.0 if instead else sums(free) - 2
  np.testing.assert_allclose(sums(paid)[cut], np.broadcast_to(want, cut.shape)[cut], atol=1e-5)


def test_the_price_of_kl_follows_its_target(runs):
  """By rollouts: β·(1 + clip(KL/target - 1, ±0.2)·answers/horizon), for the rollout after."""
  on, lines = tiny.ON['ppo'], tiny.lines(runs('ppo'))[::2]  # two updates a rollout
  beta = lines[0]['kl_cost']
  for line in lines:
    assert line['kl_cost'] == pytest.approx(beta, rel=1e-5)
    beta *= 1 + np.clip(line['kl'] / on['ppo__kl_target'] - 1, -0.2, 0.2) * 16 / on['ppo__kl_horizon']
  assert len({x['kl_cost'] for x in lines}) == 4


def test_text_beside_is_a_term_of_the_loss_with_a_gradient_of_its_own(first, runs):
  stage, params, batch, _, _ = first(ppo__pretrain_cost=0.5)
  terms, found = numbers(stage, params, batch)
  assert set(terms) == {'ppo', 'pretrain'}
  assert float(terms['pretrain']) == pytest.approx(0.5 * found['pretrain_loss'], rel=1e-6)
  assert 1 < found['pretrain_loss'] < 7  # nats a token of a vocabulary of 340
  for line in tiny.lines(runs('ppo')):
    assert line['grad_norm_pretrain'] > 0 and line['grad_norm_ppo'] > 0
    assert line['grad_norm'] <= line['grad_norm_pretrain'] + line['grad_norm_ppo'] + 1e-4


def test_text_beside_is_read_by_so_many_rows(toy, runs):
  config = tiny.config('ppo', toy, runs, ppo__pretrain_rows=3)
  with jax.set_mesh(devices.make_mesh(config.mesh)):
    stage = stages.make(config)
    assert stage.shapes()['pretrain']['tokens'].shape == (3 * config.batch.B, config.batch.T)


@pytest.mark.parametrize('recipe', recipes.RECIPES)
def test_a_recipe_changes_fields_that_there_are(recipe):
  for module in (ppo_config, sft, reward):
    module.get_config(f'size=tiny,recipe={recipe}')  # a field that is not there raises
  plain, changed = ppo_config.get_config('size=tiny'), ppo_config.get_config(f'size=tiny,recipe={recipe}')
  assert plain.to_json() != changed.to_json()


def test_a_recipe_that_is_not_there_is_told():
  with pytest.raises(ValueError, match="'tldf'.*openai2019, tldr, instructgpt"):
    ppo_config.get_config('recipe=tldf')


def test_an_unknown_choice_lists_the_choices(toy, runs):
  for field, wrong in (('ppo__value_from', 'rewards'), ('ppo__mean', 'tokens')):
    config = tiny.config('ppo', toy, runs, **{field: wrong})
    with jax.set_mesh(devices.make_mesh(config.mesh)), pytest.raises(InputError, match='choose from'):
      stage = stages.make(config)
      stage.carry_shapes()


def test_without_a_reward_the_rules_are_listed(toy, runs):
  config = tiny.config('ppo', toy, runs, rollout__reward='')
  with pytest.raises(InputError, match='rollout.reward=run:FOLDER.*verse.rhyme'):
    judging.parts(config)


def test_more_tokens_than_the_context_holds_are_refused(toy, runs):
  config = tiny.config('ppo', toy, runs, rollout__prompt_tokens=60)
  with pytest.raises(InputError, match='prompt_tokens=60 and rollout.new_tokens=8 .* batch.T=64; lower'):
    stages.make(config)


def test_prompts_that_are_left_out_are_counted(toy, runs, monkeypatch, capsys):
  config = tiny.config('ppo', toy, runs, rollout__prompt_tokens=64)
  found = data.fitting(config, 'train', data.Prompts)
  assert len(found) == len(found.source) and capsys.readouterr().err == ''
  lengths = np.full(len(found), 20)
  lengths[:3] = 90
  monkeypatch.setattr(data.records, 'lengths', lambda *_: lengths)
  data.fitting(config, 'train', data.Prompts)
  assert (
    f'ppo: 3 of {len(lengths)} prompts, longer than rollout.prompt_tokens=64' in capsys.readouterr().err
  )
  config.rollout.prompt_tokens = 19
  with pytest.raises(InputError, match=r'no train prompt within rollout.prompt_tokens=19 \(shortest 20\)'):
    data.fitting(config, 'train', data.Prompts)


def test_a_reward_model_of_another_tokenizer_is_refused(toy, runs, monkeypatch):
  config, about = tiny.config('ppo', toy, runs), checkpoint.read_about
  other = str(runs('reward'))
  monkeypatch.setattr(
    checkpoint,
    'read_about',
    lambda folder: about(folder) | ({'tokenizer_sha256': '0'} if str(folder) == other else {}),
  )
  with jax.set_mesh(devices.make_mesh(config.mesh)), pytest.raises(InputError, match='another tokenizer'):
    checkpoint.open_frozen(stages.make(config), config)
