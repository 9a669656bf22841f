"""No training text repeats an evaluation item or our own test split; common phrases condemn nobody."""

import json
import random
import re

import numpy as np
import pytest

from zhlm.corpus import protect
from zhlm.errors import InputError

RULES = {'ngrams': 10, 'share': 0.3}
NONE = np.zeros(0, np.uint64)


def han(count, seed):
  draw = random.Random(seed)
  return ''.join(chr(draw.randrange(0x4E00, 0x9FA6)) for _ in range(count))


def saved(path, texts):
  hashes = [protect.sampled(protect.ngrams(text)) for text in texts]
  np.save(path, np.sort(np.concatenate(hashes)))
  return str(path)


def verdict(text, items=(), own=NONE, rules=RULES):
  evaluation, _ = protect.build(items, [])
  return protect.contaminated(text, protect.lookup(evaluation), own, rules)


def units(text):
  """Han characters, and runs of Latin letters or digits, by another way than the module's."""
  return re.findall('[\u4e00-\u9fff]|[a-z0-9]+', text.lower())


def test_a_window_is_thirteen_characters_or_words():
  draw = random.Random(0)
  text = ''.join(draw.choice(['中', '文', 'Ab', '12', 'x1y', '，', ' ', '\n', '好']) for _ in range(400))
  parts = units(text)
  wanted = [' '.join(parts[i : i + 13]) for i in range(len(parts) - 12)]
  found = protect.ngrams(text).tolist()
  assert len(found) == len(wanted) and len(set(found)) == len(set(wanted))
  assert [protect.ngrams(window).tolist() for window in wanted] == [[hash] for hash in found]
  assert protect.ngrams(' '.join(parts[:12])).tolist() == protect.ngrams('').tolist() == []


def test_case_width_spaces_and_punctuation_do_not_matter():
  a, b = han(20, 0), han(20, 1)
  same = [f'{a}Gpt{b}', f'  {a}，“ＧＰＴ”\n\n{b}。', f'{a}-gpt-{b}', '、'.join([*a, 'gPt', *b])]
  assert len({protect.ngrams(text).tobytes() for text in same}) == 1
  assert protect.ngrams(f'{a}G pt{b}').tobytes() != protect.ngrams(same[0]).tobytes()


def test_a_long_text_has_all_its_windows(monkeypatch):
  draw = random.Random(2)
  text = ''.join(draw.choice([*han(50, 3), 'abc', 'Window', '7', ' ', '。']) for _ in range(3_000))
  text += 'a' * 700 + han(30, 4)
  wanted = protect.ngrams(text).tolist()
  for block in (128, 1_000, 1_024):
    monkeypatch.setattr(protect, '_BLOCK', block)
    assert protect.ngrams(text).tolist() == wanted


def test_twenty_two_characters_on_end_of_an_item_are_too_many():
  item, before, after = han(60, 0), han(500, 1), han(500, 2)
  assert verdict(before + item[10:31] + after, [[item]]) is None
  assert verdict(before + item[10:32] + after, [[item]]) == ('evaluation_ngrams', 10)
  assert verdict(before + item + after, [[item]]) == ('evaluation_ngrams', 48)
  assert verdict(before + item[10:31] + after, [[item]], rules={**RULES, 'ngrams': 9})[1] == 9
  assert verdict(han(1_000, 3), [[item]]) is verdict('', [[item]]) is verdict(item, []) is None


def test_the_strings_of_an_item_are_one_text():
  question, choices = han(8, 0), [han(4, i) for i in range(1, 5)]
  page = f'{question}？\n' + '、'.join(choices)
  assert verdict(page, [[question, *choices]]) == ('evaluation_ngrams', 12)


def test_all_of_a_short_question_is_enough_and_less_is_not():
  for size in (13, 14, 17, 21):
    question, around = han(size, size), han(300, 99)
    item = [question, 'A', han(5, 1), 'B', han(5, 2)]
    assert verdict(f'{around}1. {question}？{around}', [item]) == ('evaluation_ngrams', 10)
    assert verdict(f'{around}{question[1:]}{around}', [item]) is None
    assert (
      verdict(f'{around}{han(13, 7)}{around}', [[question + '题' * 20, han(13, 7)]]) is None
    )  # a choice


def test_phrases_far_apart_do_not_add_up():
  items = [[han(60, i)] for i in range(20)]
  phrases = [item[0][:15] for item in items]
  assert verdict(''.join(phrase + han(400, 50 + i) for i, phrase in enumerate(phrases)), items) is None
  assert verdict(''.join(phrase + han(10, 50 + i) for i, phrase in enumerate(phrases)), items) is not None


def test_a_window_that_comes_again_counts_once():
  item = han(60, 0)
  assert verdict((item[:13] + '。' + han(5, 1)) * 20, [[item]]) is None


def test_what_many_items_say_is_no_item():
  phrase = '根据以下材料从四个选项中选择唯一一个正确的答案'
  items = [[phrase + han(40, i)] for i in range(protect.COMMON + 1)]
  assert verdict(han(100, 99) + phrase + han(100, 98), items) is None
  assert verdict(han(100, 99) + phrase + han(100, 98), items[:-1]) is not None
  assert verdict(items[5][0], items) is not None


def test_an_item_below_thirteen_characters_is_not_protected():
  assert verdict('一加一等于几？', [['一加一等于几？'], ['']]) is None


def test_latin_words_are_not_taken_letter_by_letter():
  r"""\overrightarrow alone is fifteen letters, and in every book on vectors."""
  item = r'已知向量$\overrightarrow{AB}=\boldsymbol{a}$'
  assert verdict(r'设\overrightarrow{AB}=\boldsymbol{a}，' * 3, [[item + han(30, 0)]]) is None


def test_a_copy_in_a_long_text_is_found_wherever_it_stands():
  items = [[han(22, 0)]]
  evaluation = protect.lookup(protect.build(items, [])[0])
  long = han(70_000, 1)
  for at in (0, 65_520, 65_536, 70_000):
    text = long[:at] + items[0][0] + long[at:]
    assert protect.contaminated(text, evaluation, NONE, RULES) == ('evaluation_ngrams', 10)


def test_a_text_that_shares_too_much_with_our_test_split_goes(tmp_path):
  tests = [han(1_000, i) for i in range(5)]
  evaluation, own = protect.build([], [saved(tmp_path / 'a.npy', tests)])
  assert 0.08 < len(own) / (5 * 988) < 0.17
  evaluation = protect.lookup(evaluation)
  for share in (0.0, 0.15, 0.6, 1.0):
    text = tests[0][: int(1_000 * share)] + han(1_000 - int(1_000 * share), 9)
    found = protect.contaminated(text, evaluation, own, RULES)
    assert found is None if share < 0.3 else found[0] == 'own_test_share' and abs(found[1] - share) < 0.1
  repeated = han(900, 9) + ('。' + tests[0][:100]) * 10  # a tenth of what it says
  assert protect.contaminated(repeated, evaluation, own, RULES) is None
  quotations = [tests[0][i : i + 20] for i in range(0, 900, 10)]
  found = [protect.contaminated(text, evaluation, own, RULES) is not None for text in quotations]
  assert found == [len(protect.sampled(protect.ngrams(text))) >= 3 for text in quotations]
  assert 0 < sum(found) < 30


def test_what_many_test_documents_say_is_not_theirs(tmp_path):
  notice, own = han(200, 0), [han(200, i) for i in range(1, 13)]
  paths = [saved(tmp_path / f'{i}.npy', [notice + t for t in own[i::3]]) for i in range(3)]
  evaluation, own_test = protect.build([], paths)
  evaluation = protect.lookup(evaluation)
  assert protect.contaminated(notice, evaluation, own_test, RULES) is None
  assert protect.contaminated(own[4], evaluation, own_test, RULES)[0] == 'own_test_share'
  assert np.array_equal(protect.build([], paths, memory=1_000)[1], own_test)


def test_evaluation_files_of_any_form_give_all_their_strings(tmp_path):
  rows = [
    {'id': 3, 'question': '甲？', 'choices': ['乙', '丙'], 'more': {'why': '丁', 'none': None}},
    {'question': '戊'},
  ]
  (tmp_path / 'a.jsonl').write_text('\n'.join(json.dumps(row) for row in rows) + '\n')
  (tmp_path / 'b.json').write_text(json.dumps(rows))
  (tmp_path / 'c.csv').write_text('Question,A,Answer\n甲？,"乙\n丙",A\n戊,,B\n', 'utf-8')
  paths = [str(tmp_path / name) for name in ('a.jsonl', 'b.json', 'c.csv')]
  wanted = [['甲？', '乙', '丙', '丁'], ['戊']]
  assert list(protect.evaluation_texts(paths)) == [*wanted, *wanted, ['甲？', '乙\n丙', 'A'], ['戊', 'B']]


def test_an_evaluation_file_that_cannot_be_read_is_named(tmp_path):
  def failing(name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=match):
      list(protect.evaluation_texts([str(tmp_path / name)]))

  failing('a.jsonl', '{"question": "甲"}\n{"question": \n', r'a\.jsonl:2: .*not protected')
  failing('b.jsonl', '{"label": 1}\n', r'b\.jsonl: holds no text')
  failing('c.txt', '甲', r'c\.txt: evaluation items are read from jsonl')
  failing('d.jsonl', '', r'd\.jsonl: holds no text')
