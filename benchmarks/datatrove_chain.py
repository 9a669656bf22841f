"""datatrove's Chinese blocks over documents, by the python of its own virtual environment.

  .venv/datatrove/bin/python benchmarks/datatrove_chain.py ITEMS.jsonl BOUNDS.json

Reads one mode a line from standard input and answers with a line of JSON: the CPU-seconds of every block
and how many documents passed them all. Mode `fineweb2`: the bounds of BOUNDS.json (that preset of
configs/rules.py), and a document that a block drops goes no further. Mode `every`: none is dropped, so that
every check looks at every document. Documents go through the blocks one by one, as in a datatrove
pipeline, whose filters then share one segmentation (datatrove keeps the last five). Nothing is read or
written by datatrove itself, and models are loaded before the clock runs.
"""

import contextlib
import json
import os
import sys
import tempfile
import time

LANGUAGE = 'cmn_Hani'  # with 'zho', datatrove 0.10 splits at blanks
_NEVER = 1e9
STOP_WORDS = list('的年在月是和日了於·為有被人中为他與後也而由')  # FineWeb-2 cmn_Hani


def blocks(bounds, folder):
  """[(name, function of a Document that tells whether it stays)], set up as FineWeb-2 does."""
  from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
  from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

  repetition = GopherRepetitionFilter(
    dup_line_frac=bounds['max_dup_lines'],
    dup_para_frac=0,
    dup_line_char_frac=0,
    dup_para_char_frac=0,
    top_n_grams=tuple((n, bounds[f'max_top_{n}gram']) for n in (2, 3, 4)),
    dup_n_grams=tuple((n, bounds[f'max_dup_{n}gram']) for n in range(5, 11)),
    language=LANGUAGE,
  )
  gopher = GopherQualityFilter(
    min_doc_words=bounds['min_words'],
    max_doc_words=bounds['max_words'],
    min_avg_word_length=bounds['min_mean_word'],
    max_avg_word_length=bounds['max_mean_word'],
    max_symbol_word_ratio=bounds['max_hashes'],
    max_bullet_lines_ratio=bounds['max_bullet_lines'],
    max_ellipsis_lines_ratio=bounds['max_ellipsis_lines'],
    max_non_alpha_words_ratio=bounds['min_alpha_words'],
    min_stop_words=bounds['min_stop_words'],
    stop_words=STOP_WORDS,
    language=LANGUAGE,
  )
  fineweb = FineWebQualityFilter(
    line_punct_thr=bounds['min_line_ends'],
    short_line_thr=999,
    char_duplicates_ratio=bounds['max_dup_line_characters'],
    new_line_ratio=bounds['max_new_lines'],
    language=LANGUAGE,
  )
  config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)  # 64-bit xxhash by default
  minhash = MinhashDedupSignature(folder, config=config, language=LANGUAGE)

  def signed(document):
    shingles = minhash.get_shingles(document.text)
    if shingles.size:
      minhash.get_signature(shingles)
    return True

  def holds(one):
    def kept(document):
      answer = one.filter(document)
      return answer if isinstance(answer, bool) else answer[0]

    return kept

  filters = {
    'GopherRepetitionFilter': repetition,
    'FineWebQualityFilter': fineweb,
    'GopherQualityFilter': gopher,
  }
  return [*((name, holds(one)) for name, one in filters.items()), ('MinhashDedupSignature', signed)]


def loose(bounds):
  """Bounds that nothing breaks, and that are not 0, which would switch a check off."""
  return {k: _NEVER if k.startswith('max_') else -_NEVER for k in bounds}


def run(documents, chain):
  """{'seconds': {block: CPU-seconds}, 'kept': documents that passed all}."""
  seconds, kept = dict.fromkeys((name for name, _ in chain), 0.0), 0
  for document in documents:
    for name, holds in chain:
      start = time.process_time()
      passed = holds(document)
      seconds[name] += time.process_time() - start
      if not passed:
        break
    else:
      kept += 1
  return {'seconds': seconds, 'kept': kept}


def main(items, bounds):
  """Answers modes from standard input until it ends."""
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what the libraries print is no answer
  from datatrove.data import Document
  from datatrove.utils.word_tokenizers import load_word_tokenizer

  with open(bounds, encoding='utf-8') as file:
    bounds = json.load(file)
  with open(items, encoding='utf-8') as file:
    texts = [json.loads(line)['text'] for line in file]
  segmenter = type(load_word_tokenizer(LANGUAGE)).__name__
  if segmenter != 'SpaCyTokenizer':
    raise SystemExit(f'datatrove splits {LANGUAGE} with {segmenter}, not into words')
  with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BrokenPipeError):
    chains = {'fineweb2': blocks(bounds, folder), 'every': blocks(loose(bounds), folder)}
    run([Document(text='先读一篇，词典就在内存里了。' * 20, id='warm')], chains['every'])
    print(json.dumps({'ready': True}), file=answers, flush=True)
    for line in sys.stdin:
      documents = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]
      print(json.dumps(run(documents, chains[line.strip()])), file=answers, flush=True)


if __name__ == '__main__':
  main(*sys.argv[1:])
