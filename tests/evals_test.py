"""Evals on models of which the answer is known."""

import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, devices, disk, evals, rollout
from zhlm.data import batches as data
from zhlm.data import chat
from zhlm.errors import InputError
from zhlm.evals import answers, bits, loss, preference, samples


@pytest.fixture
def one():
  with jax.set_mesh(devices.make_mesh({'data': 1, 'fsdp': 1, 'tensor': 1})):
    yield


def test_bits_of_a_uniform_model_are_log2_of_the_vocabulary(one, runs, toy):
  """A token costs log2 V, whatever it is; a document's tokens count but for its first mark."""
  run = evals.open_run(runs('pretrain'))
  params = jax.tree.map(jnp.zeros_like, run.load('policy'))

  class Uniform(type(run)):
    def load(self, network):
      return params

  values = dict(bits.evaluate(Uniform(*run)))
  texts = [row['text'] for row in run.texts('documents')]
  lengths = data.records.lengths(toy / 'data' / 'pretrain', 'test')
  want = (lengths - 1).sum() * math.log2(352)
  assert values['test_characters'] == sum(map(len, texts))
  assert values['bits_per_character'] == pytest.approx(want / sum(map(len, texts)), rel=1e-5)
  assert values['bits_per_byte'] == pytest.approx(want / sum(len(t.encode()) for t in texts), rel=1e-5)


@pytest.mark.parametrize('sign, rate', [(1, 1.0), (-1, 0.0)])
def test_an_oracle_prefers_as_people_do(sign, rate, one, runs, monkeypatch):
  run = evals.open_run(runs('reward'))
  ranked = data.Ranked(run.config, 'test', whole=True)
  rank = {}
  for record in ranked.source:
    said = np.split(record['tokens'], np.cumsum(record['lengths'])[:-1])
    rank.update({tuple(map(int, ids)): int(r) for ids, r in zip(said, record['ranks'], strict=True)})

  def score(net, params, tokens, lengths):
    def look(tokens, lengths):
      said = [tuple(map(int, row[:n])) for row, n in zip(tokens, lengths, strict=True)]
      return np.array([-sign * rank[ids] if ids else 0 for ids in said], np.float32)

    return jax.pure_callback(look, jax.ShapeDtypeStruct(lengths.shape, jnp.float32), tokens, lengths)

  monkeypatch.setattr(rollout, 'score', score)
  values = dict(preference.evaluate(run))
  prompts = sum(len({*map(int, r['ranks'])}) > 1 for r in ranked.source)
  assert values['accuracy'] == rate and values['prompts'] == prompts
  assert values['accuracy_low'] <= rate <= values['accuracy_high']
  # Ranks 1 and 2 are a gap of one: the oracle is as sure of itself as σ(1) = 0.731, right or wrong.
  pairs = sum((np.subtract.outer(r['ranks'], r['ranks']) < 0).sum() for r in ranked.source)
  sure = 1 / (1 + math.exp(-1))
  assert values['calibration_error'] == pytest.approx(abs(rate - sure), abs=1e-6)
  found = {k.removeprefix('calibration/'): v for k, v in values.items() if k.startswith('calibration/')}
  assert found == {f'{0.5 + i / 10:.1f}-{0.6 + i / 10:.1f}/pairs': 0 for i in (0, 1, 3, 4)} | {
    '0.7-0.8/pairs': pairs,
    '0.7-0.8/accuracy': rate,
    '0.7-0.8/confidence': pytest.approx(sure, abs=1e-6),
  }


def test_the_reward_model_of_the_toy_learnt_what_is_good(one, runs):
  assert dict(preference.evaluate(evals.open_run(runs('reward'))))['accuracy'] > 0.9


def test_loss_is_read_over_the_whole_test_split(one, runs):
  values = dict(loss.evaluate(evals.open_run(runs('sft'))))
  assert set(values) == {'test/loss'} and 0 < values['test/loss'] < math.log(352)


def test_answers_do_not_depend_on_what_else_is_asked(one, runs):
  run = evals.open_run(runs('sft'))
  params = run.load('policy')
  asked = [chat.encode_prompt(run.tokenizer, r['messages'][:-1]) for r in run.texts('conversations')]
  prompts = [(asked * 2)[i][: 5 + i % 20] if i % 2 else (asked * 2)[i] for i in range(70)]
  every = answers.answer(run, params, prompts, new=8)
  assert len(every) == 70 and answers.answer(run, params, prompts[:3], new=8) == every[:3]
  stop = data.end_of_turn(run.config)
  assert all(stop not in ids and len(ids) + ended <= 8 for ids, ended in every)
  assert {ended for _, ended in every} == {True, False}
  assert answers.answer(run, params, prompts[:3], new=8, seed=1) != every[:3]


def test_results_are_written_and_not_made_twice(runs, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(runs('reward'), folder)
  said = []
  results = evals.evaluate(folder, say=said.append)
  assert json.loads((folder / 'results.json').read_text()) == results
  assert results['step'] == tiny.STEPS['reward'] and 'accuracy' in results
  assert any(line.startswith('reward | accuracy ') for line in said)
  said.clear()
  assert evals.evaluate(folder, say=said.append) == results and 'evaluated before' in said[0]
  # An eval that is not there is told with those that are.
  about = checkpoint.read_about(folder)
  about['config']['evals'] = ['accurcy']
  disk.write_json(folder / 'config.json', about)
  with pytest.raises(InputError, match="unknown eval 'accurcy'; choose from .*bits.*preference"):
    evals.evaluate(folder, again=True, say=said.append)


def test_samples_stand_beside_those_of_the_validations(one, runs, tmp_path, monkeypatch):
  run = evals.open_run(runs('sft'))._replace(folder=tmp_path)
  monkeypatch.setattr(type(run), 'load', lambda *_: None)
  monkeypatch.setattr(samples, 'answer', lambda run, params, prompts, **_: [([], True)] * len(prompts))
  kept = {'step': 4, 'prompt': [{'role': 'user', 'content': '上\u2028下'}], 'completion': ''}
  (tmp_path / 'samples.jsonl').write_text(
    json.dumps(kept, ensure_ascii=False) + '\n{"step": 8, "pr', 'utf-8'
  )
  for _ in range(2):  # the second time in place of the first
    count = dict(samples.evaluate(run))['samples']
    rows = [json.loads(x) for x in (tmp_path / 'samples.jsonl').read_text('utf-8').split('\n')[:-1]]
    assert rows[0] == kept and len(rows) == 1 + count and not any('step' in row for row in rows[1:])


def test_a_folder_without_a_run_is_told(tmp_path):
  with pytest.raises(InputError, match='holds no run'):
    evals.evaluate(tmp_path)
