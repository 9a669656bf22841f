"""Words, parts of speech and stop words of the prepared documents: a sidecar in Parquet, and counts.

workdir/data/words/{split}-{number}.parquet   id, word, pos, is_stop of every document of a shard
workdir/data/words.json                       most frequent words, shares of parts of speech and stop words
"""

import os
import pickle
import shutil

from zhlm import disk
from zhlm.clean import annotate, lists
from zhlm.corpus import shards

STOP = os.path.join(lists.SHIPPED, 'stop.txt')


def write(call):
  """The sidecar of one shard of documents, and the counts of its words."""
  folder, name, task = call
  stop, counted = frozenset(lists.words(STOP)), []
  path = os.path.join(folder, f'{name}.parquet')

  def rows():
    for row in shards.read(task['lines']):
      annotated = annotate.annotate(row['text'], stop)
      counted.append(annotate.statistics([annotated]))
      yield (row['id'], *annotated)
      if len(counted) == 1_000:
        counted[:] = [annotate.merge(counted)]

  count = annotate.write_sidecar(path, rows())
  counts = os.path.join(folder, f'{name}.pickle')
  with open(f'{counts}.part', 'wb') as file:
    pickle.dump(annotate.merge(counted), file)
  os.replace(f'{counts}.part', counts)
  result = {'path': path, 'counts': counts, 'split': task['split'], 'in': count, 'kept': count}
  return {**result, 'bytes_in': task['bytes'], 'dropped': {}}, [path, counts]


def finish(folder, results):
  """Puts the sidecars of all shards into `folder`/words, and writes words.json; returns what that says."""
  aside = os.path.join(folder, 'words')
  shutil.rmtree(aside, ignore_errors=True)
  if not results:
    return {}
  os.makedirs(aside)
  many = []
  for number, result in enumerate(results):
    shutil.copyfile(result['path'], os.path.join(aside, f'{result["split"]}-{number:05}.parquet'))
    with open(result['counts'], 'rb') as file:
      many.append(pickle.load(file))
  told = annotate.summary(annotate.merge(many), frozenset(lists.words(STOP)))
  disk.write_json(os.path.join(folder, 'words.json'), told)
  return told
