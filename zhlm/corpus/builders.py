"""The prepared tables as TFDS builders, for those who share data by `tfds build`; no TensorFlow needed.

  tfds build zhlm/corpus/zhlm_documents.py --file_format=array_record --data_dir=tfds --manual_dir=runs/demo
  tfds build zhlm/corpus/zhlm_documents_beam.py …   --beam_pipeline_options=runner=FnApiRunner

`--manual_dir` is a prepared workdir. The command line of TFDS needs TensorFlow and mlcroissant; `build`
below does not, until a split passes 1,000 MiB (on Beam, never).
(Training reads the datasets that launch.prepare writes, which are made of tokens; these hold text.)
"""

import json
import os

import tensorflow_datasets as tfds

from zhlm.errors import InputError

SPLITS = ('train', 'validation', 'test')
_FIELDS = ('id', 'source', 'licence', 'cluster', 'text')


def info(builder):
  features = tfds.features.FeaturesDict({name: tfds.features.Text() for name in _FIELDS})
  about = 'Chinese documents, cleaned, deduplicated and split by zhlm.'
  return tfds.core.DatasetInfo(builder=builder, description=about, features=features)


def files(manager):
  """{split: path} of the documents in `--manual_dir`. Raises InputError when it is not prepared."""
  folder = os.path.join(str(manager.manual_dir), 'data')
  paths = {split: os.path.join(folder, f'documents.{split}.jsonl') for split in SPLITS}
  found = {split: path for split, path in paths.items() if os.path.isfile(path)}
  if not found or not os.path.isfile(os.path.join(folder, 'manifest.json')):
    raise InputError(f'--manual_dir={manager.manual_dir}: holds no prepared documents (launch.prepare)')
  return found


def example(line):
  row = json.loads(line)
  return row['id'], {name: row.get(name, '') for name in _FIELDS}


def build(workdir, data_dir, beam_options=''):
  """Builds the documents of a workdir under `data_dir`, on Beam when its options are given, and returns the
  builder. What `tfds build` does, whose command line needs TensorFlow.

  Raises InputError for a workdir that is not prepared, and without Beam for a split above 1,000 MiB."""
  settings = {'manual_dir': workdir, 'register_checksums': False}
  if beam_options:
    from zhlm.corpus import beam

    settings['beam_options'] = beam.options(beam_options)
    from zhlm.corpus.zhlm_documents_beam import ZhlmDocumentsBeam as kind
  else:
    from zhlm.corpus.zhlm_documents import ZhlmDocuments as kind
  builder = kind(data_dir=data_dir, file_format='array_record')
  try:
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**settings))
  except ModuleNotFoundError as error:
    if error.name != 'tensorflow':
      raise
    raise InputError('a split above 1,000 MiB: give beam_options=--runner=FnApiRunner') from None
  return builder
