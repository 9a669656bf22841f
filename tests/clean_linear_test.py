"""A linear model of n-grams: it learns what can be learned, the same from any order, and scores alone."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zhlm.clean import fit, linear
from zhlm.errors import InputError

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)


def toy(n, words, seed):
  """`n` texts of common characters, each with some of `words` in it."""
  rng = np.random.default_rng(seed)
  return [
    ''.join(rng.choice(list('的一是在有人这中大来上国个到说们为子和你'), 12))
    + ''.join(rng.choice(words, 2))
    for _ in range(n)
  ]


GOOD, BAD = toy(300, ['研究', '表明', '因此'], 1), toy(300, ['点击', '免费', '加群'], 2)


@pytest.fixture(scope='module')
def model():
  return fit.train(GOOD, BAD)


def plain_features(text, settings):
  """{bucket: count} by a loop, in Python's integers."""
  text = '\n' + text[: settings['characters']].lower() + '\n'
  code = [ord('0') if '0' <= c <= '9' else ord(c) for c in text]
  counts = {}
  for n in range(settings['sizes'][0], settings['sizes'][1] + 1):
    for i in range(len(code) - n + 1):
      h = 0
      for c in code[i : i + n]:
        h = (h ^ c) * 0x9E3779B1 % 2**32
        h ^= h >> 15
      bucket = h * 0x9E3779B1 % 2**32 >> 32 - settings['bits']
      counts[bucket] = counts.get(bucket, 0) + 1
  return counts


TEXTS = ['你好，World 123', '', '一', '𠮷野家', '\ud800孤立', '重复' * 50, 'ab', '\n\n']


@pytest.mark.parametrize('sizes', [(1, 3), (2, 4), (3, 3)])
def test_scores_are_those_of_a_plain_loop(sizes):
  settings = {'bits': 10, 'sizes': list(sizes), 'characters': 30}
  weights = np.append(RNG.normal(size=1 << 10).astype(np.float16).astype(float), 0)
  net = linear.Model(weights, 0.25, settings, 0.5, {})
  for text, score in zip(TEXTS, linear.scores(TEXTS, net), strict=True):
    counts = plain_features(text, settings)
    z = sum(weights[b] * c for b, c in counts.items()) / math.sqrt(max(sum(counts.values()), 1)) + 0.25
    assert score == pytest.approx(1 / (1 + math.exp(-z)), abs=1e-12)


def test_the_gradient_is_that_of_the_loss():
  totals, sign = np.array([3, 2]), np.array([1, -1])
  parts = [(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])), (np.array([1]), np.array([2]))]
  weight, w, l2 = np.array([0.3, 0.7]), RNG.normal(size=4), 0.01
  counts = np.array([[1, 2, 0], [0, 1, 1]]) / np.sqrt([[3], [2]])

  def loss(w):
    terms = [
      p * math.log1p(math.exp(-s * (c @ w[:3] + w[3])))
      for p, s, c in zip(weight, sign, counts, strict=True)
    ]
    return sum(terms) + l2 / 2 * sum(w[:3] ** 2)

  value, slope = fit.objective(w, parts, totals, sign, weight, l2)
  assert value == pytest.approx(loss(w))
  for i in range(4):
    step = np.eye(4)[i] * 1e-6
    assert slope[i] == pytest.approx((loss(w + step) - loss(w - step)) / 2e-6, abs=1e-8)


def test_training_ends_where_the_loss_is_least():
  """On two made-up n-grams, against Newton's method."""
  totals, sign, weight = np.array([1, 1, 1]), np.array([1, -1, -1]), np.array([0.5, 0.25, 0.25])
  parts, l2 = [(np.array([0, 1, 2]), np.array([0, 0, 1]))], 0.1
  x, w = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1]]), np.zeros(3)
  for _ in range(30):
    p = 1 / (1 + np.exp(sign * (x @ w)))
    slope = -x.T @ (weight * sign * p) + l2 * w * [1, 1, 0]
    w -= np.linalg.solve(x.T @ (x * (weight * p * (1 - p))[:, None]) + l2 * np.diag([1, 1, 0]), slope)
  found = fit._descend(
    lambda w: fit.objective(w, parts, totals, sign, weight, l2), np.zeros(3), tolerance=1e-9
  )
  np.testing.assert_allclose(found, w, atol=1e-6)


def test_curvature_is_used():
  """A valley 10,000 times as steep one way as the other, in the 80 steps that scipy's L-BFGS-B takes."""
  steep = np.logspace(0, 4, 8)
  found = fit._descend(lambda w: ((steep * (w - 1) ** 2).sum() / 2, steep * (w - 1)), np.zeros(8), steps=80)
  np.testing.assert_allclose(found, 1, atol=1e-4)


def test_two_kinds_are_told_apart(model):
  good, bad = toy(100, ['研究', '因此'], 3), toy(100, ['点击', '加群'], 4)
  assert (linear.scores(good, model) > 0.5).mean() > 0.97 and (
    linear.scores(bad, model) < 0.5
  ).mean() > 0.97
  assert model.report['auc'] > 0.99 and model.report['precision'] > 0.95
  assert model.report['held_out']['positive'] + model.report['learned_from']['positive'] == 300
  assert {'研究', '表明', '因此'} & set(model.report['telling']['positive'])
  assert {'点击', '免费', '加群'} & set(model.report['telling']['negative'])
  assert not set(model.report['telling']['positive']) & set(model.report['telling']['negative'])


def test_nothing_is_learned_from_one_kind():
  """Labels by chance: held-out texts are told apart no better than by chance."""
  texts = toy(2000, ['研究'], 5)
  report = fit.train(texts[::2], texts[1::2], held_out=0.5).report
  assert 0.42 < report['auc'] < 0.58


def same(a, b):
  return np.array_equal(a.weights, b.weights) and a[1:] == b[1:]


def test_order_and_repeats_do_not_matter(model):
  assert same(fit.train(GOOD[::-1] + GOOD, iter(BAD[100:] + BAD)), model)


def test_what_stands_on_both_sides_is_left_out(model):
  assert same(fit.train([*GOOD, '两边都有'], [*BAD, '两边都有', '  ']), model)


def test_what_is_drawn_does_not_depend_on_the_order():
  one, two = (fit._draw(texts, 100, 500) for texts in (GOOD, GOOD[::-1]))
  assert one == two == dict(sorted(one.items())) and 500 <= sum(map(len, one.values())) < 600
  assert set(one) == set(sorted(fit._draw(GOOD, 100, 10**9))[: len(one)])


def test_what_is_drawn_is_held_out_in_part():
  texts = toy(4000, ['研究', '点击', '因此', '加群'], 6)
  report = fit.train(texts[::2], texts[1::2], most=5000, held_out=0.3).report
  for side in ('positive', 'negative'):
    out, learned = report['held_out'][side], report['learned_from'][side]
    assert 250 < out + learned < 400 and 0.2 < out / (out + learned) < 0.4


def test_a_score_does_not_depend_on_the_batch(model, monkeypatch):
  texts = [*TEXTS, *GOOD[:40]]
  whole = linear.scores(texts, model)
  assert [linear.scores([text], model)[0] for text in texts] == whole.tolist()
  monkeypatch.setattr(linear, '_BATCH', 20)
  assert linear.scores(iter(texts), model).tolist() == whole.tolist()
  items = [{'text': text} for text in texts]
  assert list(linear.scored(items, model, most=7)) == list(zip(items, whole.tolist(), strict=True))
  assert linear.scores([], model).shape == (0,)


def test_a_prior_moves_the_odds():
  rare, even = (fit.train(GOOD, BAD, prior=p, l2=1e6, held_out=0) for p in (0.1, 0.5))
  assert linear.scores(['中国'], rare)[0] == pytest.approx(0.1, abs=1e-4)
  assert linear.scores(['中国'], even)[0] == pytest.approx(0.5, abs=1e-4)


def test_auc_is_the_share_of_pairs_in_order():
  score, truth = RNG.integers(0, 6, 80) / 5, RNG.random(80) < 0.4
  pairs = [(p > n) + (p == n) / 2 for p in score[truth] for n in score[~truth]]
  assert fit.auc(score, truth) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize('precision', [None, 0.5, 0.8, 1.0])
def test_the_threshold_is_the_best_there_is(precision):
  for seed in range(20):
    rng = np.random.default_rng(seed)
    truth = rng.random(40) < 0.5
    score = np.round(rng.random(40) + 0.4 * truth, 1)
    threshold = fit.choose(score, truth, precision)
    every = {t: fit.measure(score, truth, t) for t in score}
    called = [
      (score >= threshold) & truth,
      (score >= threshold).sum() - ((score >= threshold) & truth).sum(),
    ]
    assert every[threshold]['precision'] == pytest.approx(called[0].sum() / (called[0].sum() + called[1]))
    if precision is None:
      assert every[threshold]['f1'] == max(m['f1'] for m in every.values())
    else:
      enough = [t for t, m in every.items() if m['precision'] >= precision]
      assert threshold == (min(enough) if enough else max(score))


def test_a_saved_model_scores_the_same(model, tmp_path):
  path = tmp_path / 'new' / 'quality.npz'
  linear.save(model, str(path))
  assert same(linear.load(str(path)), model)
  assert path.stat().st_size < 500_000 and [p.name for p in path.parent.iterdir()] == ['quality.npz']
  full = model._replace(weights=np.append(RNG.normal(size=1 << 17), 0))
  linear.save(full, str(path))
  assert path.stat().st_size < 500_000


def test_an_unfinished_model_leaves_the_old_one(model, tmp_path, monkeypatch):
  path = str(tmp_path / 'm.npz')
  linear.save(model, path)
  monkeypatch.setattr(np, 'savez_compressed', lambda file, **_: file.write(b'PK') and 1 / 0)
  with pytest.raises(ZeroDivisionError):
    linear.save(model._replace(bias=9.0), path)
  assert linear.load(path).bias == model.bias


def test_no_model_is_an_error(model, tmp_path):
  whole = tmp_path / 'whole.npz'
  linear.save(model, str(whole))
  data = whole.read_bytes()
  files = {'cut': data[: len(data) // 2], 'empty': b'', 'text': b'hello', 'flip': bytearray(data)}
  files['flip'][len(data) // 2] ^= 255
  for name, content in files.items():
    (tmp_path / name).write_bytes(content)
  np.savez(tmp_path / 'other.npz', a=np.zeros(3))
  np.save(tmp_path / 'array.npy', np.zeros(3))
  for name in [*files, 'other.npz', 'array.npy', 'nowhere']:
    with pytest.raises(InputError, match=f'{name}: no model'):
      linear.load(str(tmp_path / name))
  about = {'version': 99, **{name: getattr(model, name) for name in linear.Model._fields[1:]}}
  np.savez(tmp_path / 'late.npz', weights=model.weights[:-1], about=np.array(json.dumps(about)))
  with pytest.raises(InputError, match='version 99'):
    linear.load(str(tmp_path / 'late.npz'))


def test_a_flipped_byte_is_an_error_or_no_harm(model, tmp_path):
  linear.save(model, str(tmp_path / 'whole'))
  data = (tmp_path / 'whole').read_bytes()
  bad = 0
  for i in range(0, len(data), len(data) // 150):
    (tmp_path / 'm').write_bytes(data[:i] + bytes([data[i] ^ 255]) + data[i + 1 :])
    try:
      linear.load(str(tmp_path / 'm'))
    except InputError:
      bad += 1
  assert bad > 100


def test_an_empty_side_is_an_error():
  with pytest.raises(InputError, match=r'no positive \(good\) text'):
    fit.train(['', ' '], BAD)
  with pytest.raises(InputError, match=r'no negative \(bad\) text'):
    fit.train(GOOD, ['  '])
  with pytest.raises(InputError, match='not the same on both sides'):
    fit.train(GOOD, GOOD)


def test_few_texts_train_without_a_threshold():
  model = fit.train(['好文章'], ['坏广告'], held_out=0)
  assert model.threshold == 0.5 and 'auc' not in model.report
  assert '无法评估' in fit.describe(model)


def classify(*args):
  done = subprocess.run(
    [sys.executable, '-m', 'launch.classify', *map(str, args)], cwd=ROOT, capture_output=True, text=True
  )
  return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_the_command_trains_and_scores(tmp_path):
  for name, texts in (('good', GOOD), ('bad', BAD)):
    (tmp_path / name).mkdir()
    rows = [json.dumps({'text': text}, ensure_ascii=False) for text in texts]
    (tmp_path / name / 'a.jsonl').write_text('\n'.join(rows), 'utf-8')
  rows = [json.dumps({'text': text}) for text in (GOOD[0], BAD[0])]
  (tmp_path / 'new.jsonl').write_text('\n'.join([*rows, 'not json']), 'utf-8')
  model = f'--model={tmp_path / "m.npz"}'
  status, out, said = classify(
    f'--good={tmp_path / "good"}', f'--bad={tmp_path / "bad"}', model, f'--score={tmp_path / "new.jsonl"}'
  )
  assert status == 0 and [float(line.split('\t')[0]) > 0.5 for line in out] == [True, False]
  assert any('auc' in line for line in said) and any('new.jsonl:3' in line for line in said)
  assert '1 / 2' in said[-1]
  assert same(linear.load(str(tmp_path / 'm.npz')), fit.train(GOOD, BAD))


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
  status, _, said = classify(f'--model={tmp_path / "m.npz"}', f'--good={tmp_path}')
  assert status == 2 and len(said) == 1 and 'give --good and --bad' in said[0]
