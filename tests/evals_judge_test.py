"""The judge against a plain loop, the condition of a minimum, and sentences made on the spot."""

import random

import numpy as np
import pytest

from zhlm.errors import InputError
from zhlm.evals import judge

KIND = ['很好', '喜欢', '满意', '推荐', '精彩']
UNKIND = ['很差', '讨厌', '失望', '退货', '无聊']
THINGS = ['这本书', '这家店', '房间', '电脑', '服务', '内容', '包装', '屏幕']


def reviews(count, seed):
  rng = random.Random(seed)
  labels = [rng.randrange(2) for _ in range(count)]
  texts = [
    f'{rng.choice(THINGS)}{rng.choice(KIND if label else UNKIND)}，{rng.choice(THINGS)}也'
    f'{rng.choice(KIND if label else UNKIND)}。'
    for label in labels
  ]
  return texts, labels


@pytest.fixture(scope='module')
def weights():
  return judge.fit(*reviews(300, seed=0))


def test_unseen_sentences_are_judged_right(weights):
  assert judge.accuracy(weights, *reviews(200, seed=1)) == 1


def test_accuracy_counts_the_right_sides(weights):
  texts, labels = reviews(100, seed=2)
  labels[:30] = [1 - label for label in labels[:30]]
  assert judge.accuracy(weights, texts, labels) == pytest.approx(0.7)


def test_features_are_the_distinct_ngrams_of_each_text_alone():
  texts = ['天地天地', '', '地', '天地人\0']
  rows, columns, values = judge.features(texts)
  for i, text in enumerate(texts):
    text = text.replace('\0', ' ')
    grams = {text[j : j + n] for n in (1, 2, 3) for j in range(len(text) - n + 1)}
    mine, constant = (rows == i) & (columns < 1 << judge.BITS), (columns == 1 << judge.BITS)
    assert len(set(columns[mine])) == mine.sum() == len(grams)
    np.testing.assert_allclose(values[mine], max(len(grams), 1) ** -0.5)
    assert values[(rows == i) & constant].tolist() == [1]
  # The same n-gram has the same column wherever it stands.
  alone = {text: set(judge.features([text])[1]) for text in texts}
  assert alone['地'] < alone['天地天地'] and len(alone['天地天地'] & alone['天地人\0']) == 4


def test_weights_are_where_the_gradient_vanishes():
  texts, labels = reviews(60, seed=0)
  weights = judge.fit(texts, labels)
  rows, columns, values = judge.features(texts)
  x = np.zeros((len(texts), len(weights)), np.float32)
  x[rows, columns] = values
  logit = x @ weights
  gradient = x.T @ (1 / (1 + np.exp(-logit)) - labels) + judge.L2 * weights
  start = x.T @ (0.5 - np.array(labels))
  assert np.linalg.norm(gradient) < 2e-3 * np.linalg.norm(start)
  np.testing.assert_allclose(judge.probability(weights, texts), 1 / (1 + np.exp(-logit)), rtol=1e-3)


def test_fitting_twice_gives_the_same_bits(weights):
  assert (judge.fit(*reviews(300, seed=0)) == weights).all()


def test_a_rare_label_does_not_upset_newton():
  texts, labels = reviews(300, seed=3)
  kept = [i for i, label in enumerate(labels) if label == 0 or i == labels.index(1)]
  texts, labels = [texts[i] for i in kept], [labels[i] for i in kept]
  found = judge.fit(texts, labels)
  p = judge.probability(found, texts)
  assert np.isfinite(found).all() and np.argmax(p) == labels.index(1)
  # At the minimum the mean forecast is the share of kind texts, but for the pull of L2 on the bias.
  assert p.mean() == pytest.approx(1 / len(texts) + judge.L2 * -found[-1] / len(texts), rel=0.05)


@pytest.mark.parametrize(
  'texts, labels', [([], []), (['好'], [1]), (['好', '坏'], [1]), (['好'] * 3, [0, 1, 2])]
)
def test_labels_that_teach_nothing_are_refused(texts, labels):
  with pytest.raises(InputError, match='label 0 or 1'):
    judge.fit(texts, labels)
