"""What was done to the data, put together from what the steps found: report.json, report.md, rejected/."""

import json
import os
import shutil
from collections import Counter, defaultdict

from zhlm import disk
from zhlm.corpus import markdown, rejected, shards
from zhlm.data.draw import fraction

SHOWN = 3  # samples a rule and a table in the report; rejected/ holds up to `rejected.SAMPLES`


def write(folder, summary, results, lexical, told, seconds):
  """Writes report.json, report.md and rejected/{rule}.jsonl of a preparation into `folder`."""
  samples = _rejected(results)
  whole = {
    **summary,
    'tokenizer': results['tokenizer'][0]['about'],
    'sources': _sources(results),
    'histograms': _histograms(results['clean']),
    'clusters': results['dedup'][0]['clusters'],
    'rejected': {rule: rows[:SHOWN] for rule, rows in samples.items()},
    'notes': _notes(results),
    'words': lexical,
    'steps': told.steps,
    'seconds': round(seconds, 1),
  }
  aside = os.path.join(folder, 'rejected')
  shutil.rmtree(aside, ignore_errors=True)
  for rule, rows in samples.items():
    text = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
    disk.write_text(os.path.join(aside, f'{rule}.jsonl'), text)
  disk.write_json(os.path.join(folder, 'report.json'), whole)
  disk.write_text(os.path.join(folder, 'report.md'), markdown.render(whole, _samples(results['write'])))


def _sources(results):
  """{source: {'in', 'kept', 'characters_in', 'characters', 'dropped': {rule: count}, splits …}}."""
  out = defaultdict(lambda: {'in': 0, 'kept': 0, 'characters_in': 0, 'characters': 0, 'dropped': Counter()})
  for shard in results['clean']:
    for source, about in shard['sources'].items():
      for name in ('in', 'characters_in'):
        out[source][name] += about[name]
  for shard in (*results['clean'], *results['place']):
    for source, dropped in shard['dropped_by_source'].items():
      out[source]['dropped'].update(dropped)
  for shard in results['place']:
    for source, count in shard['characters'].items():
      out[source]['characters'] += count
    for source, splits in shard['splits'].items():
      out[source]['kept'] += sum(splits.values())
      for split, count in splits.items():
        out[source][split] = out[source].get(split, 0) + count
  return {
    source: {**about, 'dropped': dict(about['dropped'].most_common())} for source, about in out.items()
  }


def _histograms(cleaned):
  out = defaultdict(Counter)
  for shard in cleaned:
    for name, counts in shard['histograms'].items():
      out[name].update(counts)
  number = lambda key: (0, float(key)) if key.replace('.', '').isdigit() else (1, key)  # noqa: E731
  return {name: {k: counts[k] for k in sorted(counts, key=number)} for name, counts in out.items()}


def _rejected(results):
  """{rule: samples}, the most frequent rule first; bad records as samples of `bad_record`."""
  rows = defaultdict(list)
  for shard in (*results['clean'], *results['place']):
    for row in shards.read(shard['rejected']):
      rows[row['rule']].append(row)
  count = Counter()
  for shard in (*results['clean'], *results['place']):
    count.update(shard['dropped'])
  out = {}
  bad = [{'where': where, 'why': why} for result in results['read'] for where, why in result['bad_samples']]
  if bad:
    out['bad_record'] = bad
  for rule, _ in count.most_common():
    out[rule] = sorted(rows[rule], key=lambda row: fraction('sample', row['id']))[: rejected.SAMPLES]
  return out


def _notes(results):
  notes = {'bad_record': sum(result['bad'] for result in results['read'])}
  for result in results['write']:
    if result['stage']:
      name = f'{result["stage"]}: above max_tokens'
      notes[name] = notes.get(name, 0) + result['too_long']
      name = f'{result["stage"]}: refused by the chat template'
      notes[name] = notes.get(name, 0) + result['refused']
  for result in results['tasks']:
    notes |= result['notes']
  evaluation, own = results['protect'][0]['ngrams']
  learnt = results['tokenizer'][0]['share']
  return {
    **{name: count for name, count in notes.items() if count},
    'protected n-grams of evaluation sets': evaluation,
    'protected n-grams of the test split (sampled)': own,
    'share of the training text the tokenizer learnt from': round(learnt, 4),
  }


def _samples(written):
  """{table: rows}: the first training rows of each source."""
  out = {}
  for result in written:
    if result['split'] != 'train' or result['table'] in out:
      continue
    seen, rows = Counter(), []
    for row in shards.read(result['lines']):
      seen[row['source']] += 1
      if seen[row['source']] <= SHOWN:
        rows.append(row)
    out[result['table']] = rows
  return out
