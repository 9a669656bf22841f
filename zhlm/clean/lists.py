"""What a folder of word lists and example sentences says of a text: {'gambling': 0.93, 'abuse': 0.0, …}.

A folder holds LABEL.txt files (a word a line, # begins a comment) and, if it likes, examples.tsv (label,
tab, sentence) from which a linear model is trained on first use. Any folder does, with any labels;
zhlm/lists is the one that is shipped. Labels are evidence, no verdicts: a report of a crackdown says the
words as well.
"""

import functools
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zhlm.clean import fit, linear
from zhlm.errors import InputError

SHIPPED = str(Path(__file__).parent.parent / 'lists')
_NOT_LABELS = ('stop', 'harmless')  # words for annotation; sentences of no label
_JOINED = {'conspiracy': 'falsehood', 'rumour': 'falsehood'}  # two lists to write, one label to read
_SURE = 4  # characters from which a word is not met by accident across other words' borders
_WINDOW = 24  # characters on each side that decide where words begin and end
_PASSAGE = re.compile('(?s).{1,127}[。！？!?\n]|.{1,128}')  # whole sentences, as far as they fit
_PRIOR = 0.05  # the share of passages that a label fits, before a word is read
# More decay than usual: a few hundred sentences must not be learned by heart.
_TRAIN = dict(bits=16, sizes=(1, 2), characters=128, l2=1e-4, prior=_PRIOR, held_out=0)
_WORD = 2.5  # log-odds that one listed word adds to its passage
_ALNUM = re.compile('[0-9a-z]')
_TABLE = 1 << 16
_MULTIPLIER = np.uint32(40_503)


class Matcher(NamedTuple):
  """Word lists made ready: a table that rules most positions out, the words of the others, a segmenter."""

  table: np.ndarray  # [65536] bool: two characters with this hash begin a word
  heads: dict  # first two characters -> [(word, labels)], longest first; one character: itself
  single: Any  # pattern of the words of one character, or None
  labels: tuple
  borders: Any  # clause -> frozenset of the places where words begin or end


def read(path):
  """The lines of a UTF-8 file, without comments, as [(number, line)]. Raises InputError with the line."""
  try:
    data = Path(path).read_bytes()
  except OSError as error:
    raise InputError(f'{path}: cannot be read: {error.strerror}') from None
  try:
    lines = data.decode('utf-8-sig').splitlines()
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise InputError(f'{path}:{line}: not UTF-8; convert it, e.g. iconv -f gb18030 -t utf-8') from None
  numbered = ((i, line.strip()) for i, line in enumerate(lines, 1))
  return [(i, line) for i, line in numbered if line and not line.startswith('#')]


def words(path):
  """The distinct words of one list, lower case, in the file's order."""
  return tuple(dict.fromkeys(line.partition('#')[0].strip().lower() for _, line in read(path)))


def load(folder=SHIPPED):
  """{label: words} of a folder's LABEL.txt files; an empty list is a label that no word speaks for."""
  if not os.path.isdir(folder):
    raise InputError(f'{folder}: no such folder of word lists (LABEL.txt, a word a line)')
  files = sorted(Path(folder).glob('*.txt'))
  return {file.stem: words(file) for file in files if file.stem not in _NOT_LABELS}


def matcher(lists):
  """What `hits` needs, from {label: words}."""
  import rjieba

  of = {}
  for label, listed in sorted(lists.items()):
    for word in listed:
      of.setdefault(word, {})[label] = None
  table, heads, jieba = np.zeros(_TABLE, bool), {}, rjieba.Jieba()
  for word, labels in sorted(of.items(), key=lambda entry: (-len(entry[0]), entry[0])):
    heads.setdefault(word[:2], []).append((word, tuple(labels)))
    if len(word) > 1:
      table[_pairs(word[:2])] = True
    if len(word) < _SURE and not jieba.has_word(word):
      jieba.add_word(word, None, None)  # else it is glued to its neighbours, as unknown words are
  single = ''.join(re.escape(word) for word in of if len(word) == 1)

  @functools.lru_cache(maxsize=4096)
  def borders(clause):
    ends = np.cumsum([0, *map(len, jieba.cut(clause))])
    return frozenset(ends.tolist())

  return Matcher(table, heads, re.compile(f'[{single}]') if single else None, tuple(sorted(lists)), borders)


def _pairs(text):
  """A 16-bit hash of each two neighbouring characters."""
  code = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), '<u4')
  return (code[:-1] * _MULTIPLIER + code[1:]) & np.uint32(_TABLE - 1)


def hits(text, matcher):
  """Listed words in a text, as (start, word, labels); `text` is in lower case.

  A Latin word stands alone. A Chinese one of up to three characters begins and ends where words do when its
  surroundings are segmented: not across a border (特[色情]怀), not inside a longer word. Of words of one
  label that lie in each other the longest counts.
  """
  at = np.flatnonzero(matcher.table[_pairs(text)]).tolist()
  found = [(i, entry) for i in at for entry in matcher.heads.get(text[i : i + 2], ())]
  if matcher.single:
    found += [(m.start(), matcher.heads[m[0]][0]) for m in matcher.single.finditer(text)]
    found.sort(key=lambda hit: (hit[0], -len(hit[1][0])))
  covered = dict.fromkeys(matcher.labels, 0)
  for start, (word, labels) in found:
    end = start + len(word)
    labels = [label for label in labels if covered[label] < end]
    if labels and text.startswith(word, start) and _stands_alone(text, start, end, matcher):
      covered.update(dict.fromkeys(labels, end))
      yield start, word, tuple(labels)


def _stands_alone(text, start, end, matcher):
  before, after = text[start - 1 : start], text[end : end + 1]
  if (
    _ALNUM.match(text[start])
    and _ALNUM.match(before)
    or _ALNUM.match(text[end - 1])
    and _ALNUM.match(after)
  ):
    return False
  if end - start >= _SURE or text[start:end].isascii():
    return True
  left = re.split(r'\W+', text[max(0, start - _WINDOW) : start])[-1]
  right = re.split(r'\W+', text[end : end + _WINDOW], maxsplit=1)[0]
  clause = left + text[start:end] + right
  return {len(left), len(left) + end - start} <= matcher.borders(clause)


def density(text, matcher):
  """{label: distinct listed words per 1000 characters}; a shorter text counts as one of 1000.

  Lines, as ChineseWebText counts (at most 0.5 distinct words a line), are the work of whoever extracted the
  page; with its usual lines of 30 to 40 characters that bound is about 14 here.
  """
  found = {label: set() for label in matcher.labels}
  for _, word, labels in hits(text.lower(), matcher):
    for label in labels:
      found[label].add(word)
  return {label: len(some) / max(1, len(text) / 1000) for label, some in found.items()}


def examples(folder=SHIPPED):
  """{label: sentences} of a folder's examples.tsv; {} without one. Raises InputError with file and line."""
  path, found = os.path.join(folder, 'examples.tsv'), {}
  for number, line in read(path) if os.path.exists(path) else ():
    labels, tab, sentence = line.partition('\t')
    if not tab or not labels.strip() or not sentence.strip():
      raise InputError(f'{path}:{number}: a line is LABEL<TAB>SENTENCE (labels joined by +, or harmless)')
    for label in labels.split('+'):
      found.setdefault(label.strip(), []).append(sentence.strip())
  return found


@functools.lru_cache(maxsize=4)
def judge(folder=SHIPPED):
  """(matcher, {label: model}) of a folder: read and trained once a process, in about a second."""
  lists, told = {}, examples(folder)
  for name, listed in load(folder).items():
    label = _JOINED.get(name, name)
    lists[label] = lists.get(label, ()) + listed
  models = {}
  for label in sorted(set(told) - set(_NOT_LABELS)):
    others = {sentence for sentences in told.values() for sentence in sentences} - set(told[label])
    if not others:
      raise InputError(f'{folder}: examples.tsv holds no sentence that is not {label}: add harmless ones')
    models[label] = fit.train(told[label], others, **_TRAIN)
  return matcher({**dict.fromkeys(models, ()), **lists}), models


def labels(texts, folder=SHIPPED):
  """For each text {label: share of it, by characters, that is of this kind}, shares in [0, 1].

  A text is read in passages (whole sentences, up to 128 characters). A passage's probability is the linear
  model's, trained for a world where one passage in twenty is of the kind, with log-odds + 2.5 for each
  distinct listed word in it; the text's is their mean. A sentence is one passage: its share is its
  probability. Many texts in one call are quicker than many calls, and get the same numbers.
  """
  words, models = judge(folder)
  texts = [text.lower() for text in texts]
  cut = [_PASSAGE.findall(text) for text in texts]
  passages = [passage for parts in cut for passage in parts]
  of = np.repeat(np.arange(len(texts)), [len(parts) for parts in cut])  # the text of each passage
  sizes = np.array([len(passage) for passage in passages], np.int64)
  ends = np.cumsum(sizes)
  odds = {label: np.full(len(sizes), math.log(_PRIOR / (1 - _PRIOR))) for label in words.labels}
  if models and passages:
    # Not the ends of lines: the model knows these as the ends of short sentences, and verse as abuse.
    flat = [passage.replace('\n', ' ') for passage in passages]
    made = linear.batches(flat, next(iter(models.values())).settings)
    told = np.concatenate([list(linear.log_odds(batch, *models.values())) for batch in made], axis=1)
    odds |= dict(zip(models, told, strict=True))
  begins = np.cumsum([0, *map(len, texts)])
  found = [
    (int(begins[i]) + at, word, to) for i, text in enumerate(texts) for at, word, to in hits(text, words)
  ]
  for place, _, to in {(int(np.searchsorted(ends, at, 'right')), word, to) for at, word, to in found}:
    for label in to:
      odds[label][place] += _WORD
  whole = np.maximum(np.diff(begins), 1)
  share = {
    label: np.bincount(of, linear.sigmoid(odds[label]) * sizes, len(texts)) / whole
    for label in words.labels
  }
  return [{label: float(share[label][i]) for label in words.labels} for i in range(len(texts))]
