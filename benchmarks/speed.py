"""Megabytes, documents and tokens in a second of one core: each step alone, then the chains.

A section yields (name in `benchmarks.data.BARS`, number, note). CPU-seconds count all threads of this
process; the best of three, in which what is loaded once (tables, models, dictionaries) is not counted.
"""

import concurrent.futures
import multiprocessing
import os
import re
import resource
import time
from pathlib import Path

import numpy as np

from benchmarks import material
from configs import pretrain
from configs import rules as configured
from zhlm.clean import annotate, document, lists, normalise, private, rules, script, words
from zhlm.collect import pages
from zhlm.corpus import dedup, encode, gather, lines, minhash, protect

_PAGE_CHARACTERS = 2_000


def cpu(function, times=3):
  """The CPU-seconds that `function()` takes, the best of so many times."""
  best = float('inf')
  for _ in range(times):
    start = time.process_time()
    function()
    best = min(best, time.process_time() - start)
  return best


def presets():
  """The rules as plain dicts, and two more: `characters`, the web's without those of words; `every`, as the
  web's, but with bounds that nothing breaks, so that every measure is taken of every text."""
  all_of_them = {name: preset.to_dict() for name, preset in configured.presets().items()}
  web = all_of_them['web']
  of_words = {*words.count('', [], []), *words.repeats('', [], [])}
  off = ' '.join(rule for rule in web if rule[4:] in of_words)
  every = {k: -1.0 if k[:4] == 'min_' else 1e9 if k[:4] == 'max_' else v for k, v in web.items()}
  return {**all_of_them, 'characters': {**web, 'off': off}, 'every': every}


def extraction(found, folder):
  """Main text out of pages made of the documents."""
  import trafilatura
  from resiliparse.extract.html2text import extract_plain_text
  from resiliparse.parse.html import HTMLTree

  chosen = material.some(found.items, 2)
  html = [material.page(item['text'][:20].strip(), item['text'][:_PAGE_CHARACTERS]) for item in chosen]
  megabytes = material.size(html)
  note = f'{len(html)} pages of {megabytes / len(html) * 1e3:.1f} KB'

  def resiliparse():
    return [extract_plain_text(HTMLTree.parse(page), main_content=True) for page in html]

  yield 'resiliparse', megabytes / cpu(resiliparse), note
  wanted = {'fast': True, 'include_comments': False, 'include_tables': False}
  pages.extract(html[0])  # loads
  yield 'trafilatura', megabytes / cpu(lambda: [trafilatura.extract(p, **wanted) for p in html], 2), ''
  yield 'vote', megabytes / cpu(lambda: [pages.extract(p) for p in html], 2), ''
  quick = cpu(lambda: [pages.extract(p, thorough=False) for p in html])
  yield 'vote_quick', megabytes / quick, 'thorough=False'


def cleaning(found, folder):
  """What is done with one text, each step over the same documents as they came."""
  items, preset = material.some(found.items, 5), presets()
  texts = [item['text'] for item in items]
  plain = [normalise.normalise(text) for text in texts]
  megabytes = material.size(texts)

  def speed(function, given, times=3):
    function(given[0])
    return megabytes / cpu(lambda: [function(one) for one in given], times)

  def of_words(text):
    index = words.index(text)
    words.count(text, *index)
    words.repeats(text, *index)

  yield 'normalise', speed(normalise.normalise, texts), f'{len(items)} documents, {megabytes:.1f} MB'
  yield 'script', speed(script.script, plain), ''
  yield 'private', speed(private.mask, plain), ''
  yield 'characters', speed(lambda text: rules.all_broken(text, preset['characters']), plain), ''
  yield 'words', speed(of_words, plain), ''
  yield 'cut', speed(words.index, plain), ''
  lists.labels(['先读一遍'])
  yield (
    'labels',
    megabytes / cpu(lambda: lists.labels(plain), 1),
    'once: a second time it knows the clauses',
  )
  yield 't2s', speed(lambda text: script.convert(text, 't2s'), plain), ''
  yield 'pos', speed(lambda text: annotate.annotate(text, frozenset()), plain, 1), ''
  yield 'lines', speed(lambda text: lines.hashes(text, 6), plain), ''
  yield 'ngrams', speed(protect.ngrams, plain), ''


def chains(found, folder):
  """Clean and sketch, as the steps `clean` and `sketch` do it: what a rule drops is not sketched."""
  preset, items = presets(), material.some(found.items, 5)
  megabytes = material.size(item['text'] for item in items)
  for name, rule in (('chain', 'web'), ('chain_every', 'every'), ('chain_characters', 'characters')):
    kept = chain(items, preset[rule])
    seconds = cpu(lambda rule=rule: chain(items, preset[rule]), 5)
    yield name, megabytes / seconds, f'{kept} of {len(items)} kept'
  short = material.pieces(item['text'] for item in items[:40])
  short = [{**items[0], 'id': str(i), 'text': text} for i, text in enumerate(short)]
  kept, seconds = chain(short, preset['poem']), cpu(lambda: chain(short, preset['poem']))
  note = f'{kept} of {len(short)} kept, {seconds / len(short) * 1e6:.0f} µs each'
  yield 'chain_short', material.size(item['text'] for item in short) / seconds, note


def chain(items, preset):
  """Cleans all and sketches what is kept; returns how many these are."""
  cleaned = [document.clean(item, preset) for item in items]
  kept = [item for item, broken in cleaned if broken is None]
  dedup.sketch(kept)
  return len(kept)


def duplicates(found, folder):
  """MinHash, and which of a million sketches are copies."""
  texts = [item['text'] for item in material.some(found.items, 5)]
  short = material.pieces(texts[:60])
  minhash.bands(minhash.signatures(texts[:1]))
  long = cpu(lambda: minhash.bands(minhash.signatures(texts)))
  yield 'minhash', material.size(texts) / long, f'{len(texts)} documents'
  one = cpu(lambda: minhash.bands(minhash.signatures(short))) / len(short)
  yield (
    'minhash_short',
    one * 1e6,
    f'{len(short)} texts of {material.size(short) / len(short) * 1e6:.0f} bytes',
  )
  rows, peaks = [1_000_000, 3_000_000], []
  for n in rows:
    seconds, peak = resolved(folder, n)
    peaks.append(peak)
    if n == rows[0]:
      yield 'lsh', n / seconds, f'{n:,} made-up sketches, a tenth of them near copies'
  each = (peaks[1] - peaks[0]) / (rows[1] - rows[0])
  yield (
    'lsh_memory',
    each,
    f'peak {peaks[0] / 1e6:.0f} MB at {rows[0]:,}, {peaks[1] / 1e6:.0f} at {rows[1]:,}',
  )


def resolved(folder, rows, files=4):
  """(CPU-seconds, peak bytes) of `dedup.resolve` over so many made-up sketches, in a process of its own."""
  rng, paths = np.random.default_rng(0), []
  for i in range(files):
    out = np.zeros(rows // files, dedup.SKETCH)
    for field in ('key', 'exact', 'group', 'bands'):
      out[field] = rng.integers(0, 2**64, out[field].shape, np.uint64)
    copies = rng.choice(len(out), len(out) // 10, replace=False)
    out['bands'][copies, 0] = out['bands'][copies - 1, 0]
    out['near'], out['label'] = True, -1
    paths.append(os.path.join(folder, f'sketches-{i}.npy'))
    np.save(paths[-1], out)
  del out
  with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
    seconds, peak = pool.submit(_resolve, paths).result()
  for path in paths:
    os.remove(path)
  return seconds, peak


def _resolve(paths):
  seconds = cpu(lambda: dedup.resolve(paths, gather.MEMORY), 1)
  status = Path('/proc/self/status')  # ru_maxrss would begin with what the parent held
  if status.exists():
    return seconds, int(re.search(r'VmHWM:\s*(\d+) kB', status.read_text())[1]) * 1024
  return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def tokens(found, folder):
  """A vocabulary learnt, text encoded with it, the tokens read again, and put into rows."""
  from zhlm.data import batches, packing, records, tokenizer

  learnt = [item['text'] for item in material.some(found.items, 20)]
  path = os.path.join(folder, 'bench.model')
  seconds = cpu(lambda: tokenizer.train(learnt, path, 32_000), 1)
  yield (
    'bpe',
    seconds / material.size(learnt) * 20,
    f'{material.size(learnt):.1f} MB, scaled to 20; 2 threads',
  )
  spm, some = tokenizer.load(path), material.some(found.items, 10)
  texts = [item['text'] for item in material.some(some, 5)]
  seconds = cpu(lambda: [tokenizer.encode(spm, text) for text in texts])
  count = sum(len(tokenizer.encode(spm, text)) for text in texts)
  yield 'tokenise', material.size(texts) / seconds, f'{count / seconds / 1e6:.2f} M tokens/CPU-s'
  examples = (example for item in some for example in encode.pretrain(spm, item, 2_048))
  shard = records.write_shard(os.path.join(folder, 'bench.array_record'), 'pretrain', examples)
  written = os.path.join(folder, 'pretrain')
  records.write_dataset(written, 'pretrain', {'train': [shard]})
  source = records.open_split(written, 'train')
  seconds = cpu(lambda: [len(example['tokens']) for example in source])
  yield 'read', shard['tokens'] / seconds / 1e6, f'{shard["tokens"]:,} tokens, {len(source)} records'
  config = pretrain.get_config('size=tiny')
  with config.unlocked():
    config.batch.B, config.batch.T = 16, 512
  lengths = records.lengths(written, 'train') - 1
  rows = packing.concat(lengths, config.batch.T, np.random.default_rng(0))
  packed = packing.Packed(source, rows, config.batch.T)
  count = len(rows) // config.batch.B

  def read():
    stream = batches.stream(packed, config, 0, 'train')
    for _ in range(count):
      next(stream)

  done = count * config.batch.B * config.batch.T
  yield (
    'packed',
    done / cpu(read) / 1e6,
    f'{count} batches of {config.batch.B} × {config.batch.T}, with Grain',
  )
