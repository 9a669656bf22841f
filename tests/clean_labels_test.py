"""Only chosen documents are judged, in order; what is beyond a bound goes, and all keep their labels."""

import json

import pytest

from configs import data
from zhlm.clean import fit, labels, linear, lists
from zhlm.errors import InputError

SETTINGS = json.loads(data.get_config().to_json())['labels']
GOOD = '清晨的市场里，卖菜的老人把刚摘下的黄瓜摆得整整齐齐，几个孩子跑来买热豆浆。'
BAD = '百家乐、龙虎斗在线开户，注册送彩金，下注返水，提现秒到，加客服微信领取体验金。'


def document(text, preset='web', kind='document', broken=None):
  return {'id': text[:8], 'kind': kind, 'preset': preset, 'text': text}, broken


def judged(*pairs, **settings):
  return list(labels.judged(pairs, {**SETTINGS, **settings}))


@pytest.fixture
def quality(tmp_path):
  good, bad = ([f'{text}{i}' for i in range(20)] for text in ('好文章有句号。', '标题党惊呆了！'))
  path = str(tmp_path / 'quality.npz')
  linear.save(fit.train(good, bad), path)
  return path


def test_what_is_clearly_of_a_kind_goes_and_says_of_which():
  (good, kept), (bad, broken) = judged(document(GOOD), document(BAD))
  assert kept is None and broken == ('max_gambling', bad['labels']['gambling'])
  assert bad['labels']['gambling'] > 0.5 > 0.2 > max(good['labels'].values())


def test_labels_are_those_of_the_lists_without_the_smallest():
  ((item, _),) = judged(document(BAD))
  whole = lists.labels([BAD])[0]
  assert item['labels'] == {k: round(v, 3) for k, v in whole.items() if v >= 0.005}
  assert {k: v for k, v in item.items() if k != 'labels'} == document(BAD)[0]


def test_only_documents_of_the_presets_that_broke_no_rule_are_judged():
  pairs = [
    document(BAD, preset='book'),
    document(BAD, kind='conversation'),
    document(BAD, broken=('min_han', 0.1)),
    document(BAD, preset='news'),
  ]
  found = judged(*pairs)
  assert found[:3] == pairs[:3] and found[3][1][0] == 'max_gambling'
  assert judged(*pairs, presets='') == pairs
  assert [bool(broken) for _, broken in judged(*pairs, presets='book')] == [True, False, True, False]


def test_order_stays_and_batches_change_nothing(monkeypatch):
  texts = [f'{BAD if i % 3 == 0 else GOOD}{i}' for i in range(150)]
  pairs = [document(t, preset=('web', 'book')[i % 5 == 0]) for i, t in enumerate(texts)]
  found = judged(*pairs)
  assert [item['text'] for item, _ in found] == texts
  assert [bool(broken) for _, broken in found] == [i % 3 == 0 and i % 5 > 0 for i in range(150)]
  for size in (1, 7, 1000):
    monkeypatch.setattr(labels, 'BATCH', size)
    assert judged(*pairs) == found
  assert judged() == []


def test_each_label_has_its_bound_or_the_common_one():
  share = lists.labels([BAD])[0]['gambling']
  assert judged(document(BAD), max_harm=1.0, bounds='')[0][1] is None
  low = f'gambling={share - 0.01}'
  assert judged(document(BAD), max_harm=1.0, bounds=low)[0][1] == ('max_gambling', round(share, 3))
  high = f'gambling={share + 0.01} fraud=1 ad=1'
  assert judged(document(BAD), max_harm=0.5, bounds=high)[0][1] is None


@pytest.mark.parametrize(
  'settings, told',
  [
    ({'bounds': 'gambling'}, 'gambling is not LABEL=NUMBER'),
    ({'bounds': 'ad=viel'}, 'ad=viel is not LABEL=NUMBER'),
    ({'bounds': 'ads=0.3'}, 'no label ads; the labels are .*ad'),
    ({'min_quality': 0.5}, 'min_quality needs labels.quality_model'),
    ({'lists': '/nowhere/lists'}, '/nowhere/lists: no such folder'),
    ({'quality_model': '/nowhere/q.npz'}, '/nowhere/q.npz: no model'),
  ],
)
def test_a_wrong_setting_is_told(settings, told):
  with pytest.raises(InputError, match=told):
    judged(document(GOOD), **settings)


def test_lists_of_ones_own_take_the_place_of_the_shipped(tmp_path):
  (tmp_path / 'tea.txt').write_text('龙井\n普洱\n毛尖\n', 'utf-8')
  ((item, broken),) = judged(document('龙井和普洱，还有毛尖。'), lists=str(tmp_path))
  assert set(item['labels']) == {'tea'} and broken[0] == 'max_tea'


def test_quality_is_a_label_and_only_its_own_bound_concerns_it(quality):
  pairs = document('好文章有句号。'), document('标题党惊呆了！')
  (one, kept), (other, low) = judged(*pairs, quality_model=quality, min_quality=0.5, max_harm=1.0)
  assert one['labels']['quality'] > 0.5 > other['labels']['quality']
  assert kept is None and low == ('min_quality', other['labels']['quality'])
  assert [broken for _, broken in judged(*pairs, quality_model=quality, max_harm=1.0)] == [None, None]
  assert judged(document(GOOD), quality_model=quality, max_harm=-1.0)[0][1][0] != 'max_quality'
  assert judged(pairs[0], quality_model=quality, max_harm=0.5)[0][1] is None


def test_harm_is_told_before_quality(quality):
  settings = dict(quality_model=quality, min_quality=1.0)
  assert judged(document(BAD), **settings)[0][1][0] == 'max_gambling'
