"""The last step: shards become datasets, lines become tables, the report is written, then the manifest."""

import os
import shutil

from zhlm import disk
from zhlm.corpus import encode, report, words, write
from zhlm.data import manifest, records, tokenizer
from zhlm.data import whole as dataset
from zhlm.errors import InputError

TABLES = ('documents', 'conversations', 'preferences', 'prompts', 'judge')


def whole(workdir, found):
  """Whether all that the manifest `found` tells of is there."""
  made = [os.path.join(workdir, 'data', stage) for stage, splits in found['datasets'].items() if splits]
  same = tokenizer.fingerprint(os.path.join(workdir, 'tokenizer')) == found['tokenizer_sha256']
  return same and all(map(dataset.finished, made))


def finish(workdir, plain, inputs, results, told, seconds, say):
  """Makes what training reads of what the steps left; returns the manifest, which is written last."""
  folder, kept_in = os.path.join(workdir, 'data'), os.path.join(workdir, 'tokenizer')
  os.makedirs(folder, exist_ok=True)
  if os.path.isfile(manifest.path(workdir)):
    os.remove(manifest.path(workdir))  # from here on what was prepared before is overwritten
  learned = results['tokenizer'][0]
  if tokenizer.fingerprint(learned['path']) != learned['sha256']:
    raise InputError(f'{learned["path"]}: damaged; remove this file and run again')
  tokenizer.copy(learned['path'], kept_in)
  disk.write_json(os.path.join(kept_in, 'report.json'), learned['about'])

  datasets, tables, parts = {stage: {} for stage in encode.STAGES}, {name: {} for name in TABLES}, {}
  shards = {stage: {} for stage in encode.STAGES}
  for result in results['write']:
    table, split, stage = (result[k] for k in ('table', 'split', 'stage'))
    split = split.removeprefix('judge-')
    tables[table][split] = tables[table].get(split, 0) + result['rows']
    parts.setdefault((table, split), []).append(result['lines'])
    if stage:
      shards[stage].setdefault(split, []).append(result['shard'])
  for stage, splits in shards.items():
    target = os.path.join(folder, stage)
    if any(shard['records'] for found in splits.values() for shard in found):
      ordered = {split: splits[split] for split in write.SPLITS if split in splits}
      datasets[stage] = records.write_dataset(target, stage, ordered)
    else:
      shutil.rmtree(target, ignore_errors=True)
      if why := next((r['why'] for r in results['write'] if r['stage'] == stage and r['why']), ''):
        raise InputError(f'{stage}: not one example is left: {why}')
  write.write_tables(folder, parts)
  lexical = words.finish(folder, results['annotate'])

  summary = {
    'config': plain,
    'tokenizer_sha256': learned['sha256'],
    'inputs': inputs,
    'datasets': datasets,
    'tables': tables,
    'versions': manifest.versions(),
  }
  report.write(folder, summary, results, lexical, told, seconds)
  disk.write_json(manifest.path(workdir), summary)
  say(f'{workdir}: prepared in {seconds:.1f} s; have a look at {folder}/report.html')
  return summary
