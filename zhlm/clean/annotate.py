"""分词、词性、停用词: words, parts of speech, stop-word flags beside a text, and their counts in a corpus.

This is for people who count words, and for rules and classifiers. It is never used to strip a language
model's text: 的, 了 and 不 are what grammar is made of, “不好” without its stop word says the contrary, and
a model that never read them could never write them. Cutting is the tokenizer's work, learned from all text.
"""

import os
import re
from collections import Counter

from zhlm.clean import words as cutter
from zhlm.errors import InputError

_SURROGATE = re.compile('([\ud800-\udfff]+)')  # what the segmenter, written in Rust, cannot take
_MOST = 100_000  # characters segmented at once: memory, on a text of one line of 20 MB


def annotate(text, stop):
  """(words, parts of speech, stop-word flags), lists of one length; ''.join(words) is the text.

  Parts of speech are jieba's (n noun, v verb, a adjective, …, x what is no word); `stop` is a set of words
  in lower case, as zhlm.clean.lists.words reads them from a file.
  """
  tag, pairs = cutter.segmenter().tag, []
  for part in _SURROGATE.split(text) if _SURROGATE.search(text) else [text]:
    if part and _SURROGATE.match(part):
      pairs.append((part, 'x'))
      continue
    for piece in _pieces(part):
      pairs += tag(piece)
  words = [word for word, _ in pairs]
  return words, [pos for _, pos in pairs], [word.lower() in stop for word in words]


def _pieces(text):
  """The text in pieces that end, where they can, with a line or a sentence."""
  start = 0
  while len(text) - start > _MOST:
    end = start + _MOST
    cut = max(text.rfind(mark, start, end) for mark in '\n。！？') + 1
    yield text[start : cut or end]
    start = cut or end
  yield text[start:]


def statistics(annotated):
  """Counts of (words, parts of speech, flags) triples, one a document, that `merge` adds up.

  `words` lists those that the segmenter's dictionary has, so no numbers and no punctuation: memory stays
  bounded however large the corpus.
  """
  known = cutter.segmenter().has_word
  total, lengths, tags, listed = Counter(), Counter(), Counter(), Counter()
  for words, pos, flags in annotated:
    total.update(documents=1, words=len(words), stop=sum(flags), characters=sum(map(len, words)))
    lengths[len(words).bit_length()] += 1
    tags.update(pos)
    listed.update(words)
  return {
    'total': total,
    'lengths': lengths,  # documents of 2^(k-1) to 2^k - 1 words, by k
    'pos': tags,
    'words': Counter({word: count for word, count in listed.items() if known(word)}),
  }


def merge(many):
  """The sum of statistics: the same for any order, and for any division into shards."""
  out = {'total': Counter(), 'lengths': Counter(), 'pos': Counter(), 'words': Counter()}
  for one in many:
    for name, counts in out.items():
      counts.update(one[name])
  return out


def summary(counted, stop, top=30):
  """What a report shows of statistics, for JSON; ties fall to the word that sorts first."""
  total, words = counted['total'], max(counted['total']['words'], 1)

  def first(counts, most):
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])

  return {
    **{name: total[name] for name in ('documents', 'characters', 'words')},
    'words_per_document': total['words'] / max(total['documents'], 1),
    'characters_per_word': total['characters'] / words,
    'stop_word_share': total['stop'] / words,
    'pos_shares': {tag: n / words for tag, n in first(counted['pos'], None).items()},
    'top_words': first(counted['words'], top),
    'top_content_words': first({w: n for w, n in counted['words'].items() if w not in stop}, top),
    'documents_by_words': {f'<{2**k}': n for k, n in sorted(counted['lengths'].items())},
  }


def write_sidecar(path, rows, group=1000):
  """Writes (id, words, parts of speech, flags) rows as Parquet, whole or not at all; returns their number.

  Columns: id string, word list<string>, pos list<string>, is_stop list<bool>; `group` rows a row group.
  """
  try:
    import pyarrow as pa
    from pyarrow import parquet
  except ImportError:
    raise InputError('the annotation sidecar needs pyarrow: pip install pyarrow') from None
  text = pa.list_(pa.string())
  schema = pa.schema({'id': pa.string(), 'word': text, 'pos': text, 'is_stop': pa.list_(pa.bool_())})
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  part, written = f'{path}.part-{os.getpid()}', 0
  try:
    with parquet.ParquetWriter(part, schema, compression='zstd') as file:
      for batch in _groups(rows, group):
        file.write_table(pa.table([list(column) for column in zip(*batch, strict=True)], schema=schema))
        written += len(batch)
    os.replace(part, path)
  finally:
    if os.path.exists(part):
      os.remove(part)
  return written


def _groups(rows, size):
  batch = []
  for name, words, pos, flags in rows:
    # Parquet's text is UTF-8, which has no lone surrogates.
    batch.append((name, [_SURROGATE.sub('\ufffd', word) for word in words], pos, flags))
    if len(batch) == size:
      yield batch
      batch = []
  if batch:
    yield batch
