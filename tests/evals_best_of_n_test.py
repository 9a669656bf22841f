"""Best of n, and what a reward says of answers as text."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zhlm import devices, evals, model, rollout
from zhlm.data import batches as data
from zhlm.data import chat
from zhlm.errors import InputError
from zhlm.evals import best_of_n, scores
from zhlm.evals.answers import answer


@pytest.fixture
def one():
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    yield


@pytest.fixture
def asked(runs):
  return [row['prompt'] for row in evals.open_run(runs('sft')).texts('prompts')[:5]]


def test_samples_depend_on_their_prompt_and_number_alone(one, runs, asked):
  run = evals.open_run(runs('sft'))
  params, prompts = run.load('policy'), [chat.encode_prompt(run.tokenizer, m) for m in asked]
  two, four = (answer(run, params, prompts, samples=n, new=8) for n in (2, 4))
  by_prompt = [four[4 * i : 4 * i + 4] for i in range(len(prompts))]
  assert sum([x[:2] for x in by_prompt], []) == two
  assert sum(len({tuple(ids) for ids, _ in x}) for x in by_prompt) > len(prompts)
  assert answer(run, params, prompts[:2], samples=4, new=8) == four[:8]
  assert answer(run, params, [prompts[0]] * 2, samples=4, new=8)[4:] != four[:4]  # another number


def test_a_sum_reads_rules_as_rules_and_runs_as_their_network_does(one, runs, asked):
  run, judge = evals.open_run(runs('sft')), evals.open_run(runs('reward'))
  prompts = [chat.encode_prompt(run.tokenizer, messages) for messages in asked]
  answers = answer(run, run.load('policy'), prompts, new=8)
  reward = scores.opened(f'text.length:1,3*2 run:{runs("reward")}*0.5 text.script:hans', run)
  raw = reward.raw(run, asked, answers)
  net, params, stop = model.make(judge.config, 'scalar'), judge.load('reward'), data.end_of_turn(run.config)
  assert {ended for _, ended in answers} == {True, False}
  alone = jax.jit(lambda row, length: rollout.score(net, params, row, length))
  for i, (ids, ended) in enumerate(answers):
    row = prompts[i] + ids + [stop] * ended
    want = alone(jnp.array([row + [0] * (64 - len(row))]), jnp.array([len(row)]))
    assert raw[1, i] == pytest.approx(float(want[0]), abs=1e-4)
    said = chat.decode(run.tokenizer, ids)
    n = len(said.strip())
    assert raw[0, i] - 1 == pytest.approx(2 * min(1, n / 1, max(0, 2 - n / 3)), abs=1e-5), said
  total = reward.total(raw, raw)
  np.testing.assert_allclose(total, raw[0] + 0.5 * (raw[1] - raw[1].mean()) / raw[1].std(), rtol=1e-4)
  np.testing.assert_allclose(reward.total(raw, raw - 3)[0] - total[0], 1.5 / raw[1].std(), rtol=1e-3)


def test_more_samples_score_higher_and_the_start_sets_the_scale(one, runs):
  run = evals.open_run(runs('ppo'))
  run.config.rollout.no_end_penalty = 0.0
  values = dict(best_of_n.evaluate(run))
  assert values['best_of_1_start'] == pytest.approx(0, abs=1e-5)
  for name in ('', '_start'):
    curve = [values[f'best_of_{n}{name}'] for n in best_of_n.NS]
    assert curve == sorted(curve) and curve[-1] > curve[0] + 0.1
  assert values['best_of_4_kl'] == pytest.approx(math.log(4) - 3 / 4, abs=1e-6)
  run.config.rollout.no_end_penalty, run.config.rollout.gold = 100.0, 'text.length:1,3'
  values = dict(best_of_n.evaluate(run))
  assert values['best_of_1_start'] < -1  # some answers of the start do not end
  gold = [values[f'gold_best_of_{n}_start'] for n in best_of_n.NS]
  assert 0 < gold[0] < gold[-1] <= 1  # short answers end, and gold likes them short


@pytest.mark.parametrize(
  'spec, said',
  [('', 'no reward is named; give run:FOLDER'), ('verse.rhime', 'did you mean verse.rhyme'),
   ('run:/nowhere', '/nowhere holds no run')],
)  # fmt: skip
def test_what_is_no_reward_is_told(spec, said, runs):
  with pytest.raises(InputError, match=said):
    scores.opened(spec, evals.open_run(runs('sft')))
