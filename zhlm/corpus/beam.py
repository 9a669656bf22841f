"""The same functions on Apache Beam: shards are its elements, and what meets by key meets in its shuffle.

The workdir must be a folder that all workers see. The runner is always named in `beam_options`: left to
itself, Beam's DirectRunner first downloads another one. Tested on the FnApiRunner (in memory, about 4.5 MB
a MB of text); options for Dataflow, Flink and Spark are passed on as they are, and were not run.
"""

import json
import os
import pickle
import shlex
import tempfile

import numpy as np

from zhlm.corpus import dedup, engine
from zhlm.errors import InputError


def options(text):
  """PipelineOptions of a command line. Raises InputError when it names no runner, or Beam is missing."""
  try:
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError:
    raise InputError("engine=beam needs Apache Beam: pip install 'zhlm[beam]'") from None
  words = shlex.split(text)
  if not any(word.startswith('--runner') for word in words):
    raise InputError(
      f'beam_options={text!r}: name a runner, as in --runner=FnApiRunner (or DataflowRunner, FlinkRunner, '
      'SparkRunner with their own options)'
    )
  return PipelineOptions(words)


def computed(element):
  """Runs one task and leaves the answer beside its files."""
  function, task = pickle.loads(element)
  answer = engine.measured((function, task))
  path = _answer(task)
  with open(f'{path}.part', 'w', encoding='utf-8') as file:
    json.dump(answer, file)
  os.replace(f'{path}.part', path)
  return path


def _answer(task):
  folder, name, _ = task
  return os.path.join(folder, f'{name}.answer')


def spread(text):
  """The map of an engine: one pipeline for all tasks, each an element."""
  import apache_beam as beam

  settings = options(text)

  def run(function, tasks):
    if not tasks:
      return
    elements = [pickle.dumps((function, task)) for task in tasks]
    with beam.Pipeline(options=settings) as pipeline:
      _ = pipeline | beam.Create(elements) | beam.Reshuffle() | beam.Map(computed)
    for index, task in enumerate(tasks):
      with open(_answer(task), encoding='utf-8') as file:
        yield index, json.load(file)

  return run


def _signed(x):
  """A hash of 64 bits as Beam's coder of integers takes it."""
  return x - (x >> 63 << 64)


def _unsigned(x):
  return x % 2**64


def _hashes(path):
  return np.load(path).view(np.int64).tolist()


def _sketches(path):
  for (why, bucket), (key, label) in dedup.buckets(np.load(path)):
    yield (why, _signed(bucket)), (_signed(key), label)


def _edges(element):
  (why, _), members = element
  edges = dedup.edges(why, [(_unsigned(key), label) for key, label in members])
  return [(_signed(int(e['key'])), _signed(int(e['least'])), int(e['why'])) for e in edges]


def _save(rows, path):
  with open(path, 'wb') as file:
    pickle.dump(rows, file)


def _collected(text, folder, steps):
  """The elements that `steps(pipeline)` ends with, as a list."""
  import apache_beam as beam

  with tempfile.TemporaryDirectory(dir=folder) as aside:
    path = os.path.join(aside, 'rows')
    with beam.Pipeline(options=options(text)) as pipeline:
      _ = steps(beam, pipeline) | beam.combiners.ToList() | beam.Map(_save, path)
    with open(path, 'rb') as file:
      return pickle.load(file)


def frequent(paths, at_least, text, folder):
  """`zhlm.corpus.lines.frequent` by a count per key."""

  def steps(beam, pipeline):
    lines = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.FlatMap(_hashes)
    counted = lines | beam.combiners.Count.PerElement()
    return counted | beam.Filter(lambda pair: pair[1] >= at_least) | beam.Keys()

  return np.array(sorted(map(_unsigned, _collected(text, folder, steps))), np.uint64)


def resolve(paths, before, text, folder):
  """`zhlm.corpus.dedup.resolve` by a group per bucket; what it joins is put together here."""

  def steps(beam, pipeline):
    sketches = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.FlatMap(_sketches)
    return sketches | beam.GroupByKey() | beam.FlatMap(_edges)

  found = [(_unsigned(k), _unsigned(least), why) for k, least, why in _collected(text, folder, steps)]
  joined = np.array(found, dedup.EDGE)
  docs = np.concatenate([np.load(path)[['key', 'near']] for path in paths])
  return dedup.finish(docs, joined, before)
