"""Examples on disk: ArrayRecord shards with TFDS metadata, written and read without TensorFlow.

Shards are written one by one, by any process; a dataset is a folder of them, made beside its place and
renamed into it when its metadata stand, so a folder that is there is whole. `lengths-{split}.npy`: the
token count of every record in order. (TFDS' own builders need TensorFlow once a split passes 1,000 MiB,
and its parquet loses rows.)
"""

import hashlib
import json
import os
import shutil

import numpy as np

from zhlm.errors import InputError

_TEMPLATE = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
FEATURES = {  # dtype of a flat array, of a number ('scalar'), or text
  'pretrain': {'tokens': 'int32', 'characters': 'scalar', 'bytes': 'scalar'},
  'sft': {'tokens': 'int32', 'mask': 'uint8', 'source': 'text'},
  'reward': {
    'tokens': 'int32',
    'lengths': 'int32',
    'prompt_length': 'scalar',
    'ranks': 'int32',
    'source': 'text',
  },
  'ppo': {'tokens': 'int32'},
}


def _tfds():
  import tensorflow_datasets  # 1 s to import, and most of zhlm never needs it

  return tensorflow_datasets


def _features(stage):
  features = _tfds().features
  make = {
    'text': features.Text,
    'scalar': lambda: features.Scalar(np.int32),
    'int32': lambda: features.Tensor(shape=(None,), dtype=np.int32),
    'uint8': lambda: features.Tensor(shape=(None,), dtype=np.uint8),
  }
  return features.FeaturesDict({name: make[kind]() for name, kind in FEATURES[stage].items()})


def _arrays(stage, example):
  cast = {'text': str, 'scalar': np.int32}
  return {
    name: cast.get(kind, lambda x, d=kind: np.asarray(x, d))(example[name])
    for name, kind in FEATURES[stage].items()
  }


def write_shard(path, stage, examples):
  """Writes an iterable of examples as one ArrayRecord file, and beside it what the dataset must know.

  Returns {'path', 'records', 'tokens', 'longest', 'bytes'}; `path` + '.npz' holds `lengths` (tokens a
  record) and `digests` (sha256 a record, decoded: file bytes differ between processes, contents do not).
  """
  from array_record.python.array_record_module import ArrayRecordWriter

  features, lengths, digests, size = _features(stage), [], [], 0
  writer = ArrayRecordWriter(f'{path}.part', 'group_size:1')
  for example in examples:
    example = _arrays(stage, example)
    record = features.serialize_example(features.encode_example(example))
    writer.write(record)
    size += len(record)
    lengths.append(len(example['tokens']))
    digests.append(_digest(example))
  writer.close()
  with open(f'{path}.npz.part', 'wb') as file:
    digests = np.frombuffer(b''.join(digests), np.uint8).reshape(-1, 32)
    np.savez(file, lengths=np.array(lengths, np.int32), digests=digests)
  os.replace(f'{path}.npz.part', f'{path}.npz')
  os.replace(f'{path}.part', path)
  total = {'tokens': sum(lengths), 'longest': max(lengths, default=0)}
  return {'path': path, 'records': len(lengths), 'bytes': size, **total}


def write_dataset(folder, stage, splits):
  """Makes the dataset `folder` of {split: [what write_shard returned]}, and returns {split: {records,
  tokens, longest, sha256}}; the sha256 does not depend on where the shards end.

  The shards are linked, not copied, where the file system can. Splits without records are left out.
  """
  tfds = _tfds()
  temporary = f'{folder}.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  os.makedirs(temporary)
  infos, report = [], {}
  for split, shards in splits.items():
    shards = [shard for shard in shards if shard['records']]
    if not shards:
      continue
    template = tfds.core.ShardedFileTemplate(
      dataset_name=stage,
      data_dir=temporary,
      split=split,
      filetype_suffix='array_record',
      template=_TEMPLATE,
    )
    lengths, digest = [], hashlib.sha256()
    for i, shard in enumerate(shards):
      _link(shard['path'], str(template.sharded_filepath(shard_index=i, num_shards=len(shards))))
      with np.load(f'{shard["path"]}.npz') as beside:
        lengths.append(beside['lengths'])
        digest.update(beside['digests'].tobytes())
    infos.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[shard['records'] for shard in shards],
        num_bytes=sum(shard['bytes'] for shard in shards),
        filename_template=template,
      )
    )
    np.save(os.path.join(temporary, f'lengths-{split}.npy'), np.concatenate(lengths))
    report[split] = {
      'records': sum(shard['records'] for shard in shards),
      'tokens': sum(shard['tokens'] for shard in shards),
      'longest': max(shard['longest'] for shard in shards),
      'sha256': digest.hexdigest(),
    }
  tfds.folder_dataset.write_metadata(
    data_dir=temporary,
    features=_features(stage),
    split_infos=infos,
    filename_template=_TEMPLATE,
    check_data=False,
  )
  shutil.rmtree(folder, ignore_errors=True)
  os.rename(temporary, folder)
  return report


def _link(source, target):
  try:
    os.link(source, target)
  except OSError:  # another file system, or one without links
    shutil.copyfile(source, target)


def _digest(example):
  digest = hashlib.sha256()
  for name, value in sorted(example.items()):
    value = value.encode() if isinstance(value, str) else np.asarray(value).tobytes()
    digest.update(f'{name} {len(value)} '.encode() + value)
  return digest.digest()


def finished(folder):
  """Whether `folder` holds a whole dataset (its metadata are written last)."""
  return all(os.path.isfile(os.path.join(folder, name)) for name in ('dataset_info.json', 'features.json'))


class Records:
  """Random access to the examples of a split, as Grain and PyTorch expect it; picklable."""

  def __init__(self, source):
    self._source = source

  def __len__(self):
    return len(self._source)

  def __iter__(self):
    return (self[i] for i in range(len(self)))

  def __getitem__(self, index):
    return _plain(self._source[index])

  def __getitems__(self, indices):
    return [_plain(example) for example in self._source.__getitems__(indices)]


def _plain(example):
  return {k: _value(v) for k, v in example.items()}


def _value(v):
  if isinstance(v, bytes):
    return v.decode()
  return v if isinstance(v, np.ndarray) else np.int32(v)  # TFDS hands scalars out as int


def open_split(folder, split):
  """The examples of one split (TFDS syntax, `train[:10%]` too): dicts of numpy arrays and str.

  Raises InputError when the folder is not a finished dataset, or has no such split.
  """
  if not finished(folder):
    raise InputError(f'{folder}: no finished dataset here; make it with: python -m launch.prepare')
  with open(os.path.join(folder, 'dataset_info.json'), encoding='utf-8') as file:
    names = [s['name'] for s in json.load(file)['splits']]
  if split.split('[')[0] not in names:
    raise InputError(f'{folder}: no split {split!r}; there are {", ".join(names)}')
  builder = _tfds().builder_from_directory(folder)
  return Records(builder.as_data_source(split=split))


def lengths(folder, split):
  """int32[records]: the token count of every record of a whole split, in order."""
  return np.load(os.path.join(folder, f'lengths-{split}.npy'))
