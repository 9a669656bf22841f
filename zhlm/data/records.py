"""Examples on disk: ArrayRecord shards with TFDS metadata, written and read without TensorFlow.

Shards are written one by one, by any process; a dataset is a folder of them, made beside its place and
renamed into it when its metadata stand, so a folder that is there is whole. `lengths-{split}.npy`: the
token count of every record in order. (TFDS' own builders need TensorFlow once a split passes 1,000 MiB,
and its parquet loses rows.) A little over 250 lines: what is written here is read here.
"""

import contextlib
import hashlib
import os
import shutil

import numpy as np

from zhlm.data import whole
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
  'ppo': {'tokens': 'int32', 'text': 'text'},
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
  # Half a surrogate pair is no text; the tokenizer makes the same of it.
  cast = {'text': lambda x: x.encode('utf-8', 'replace').decode(), 'scalar': np.int32}
  return {
    name: cast.get(kind, lambda x, d=kind: np.asarray(x, d))(example[name])
    for name, kind in FEATURES[stage].items()
  }


def write_shard(path, stage, examples):
  """Writes an iterable of examples as one ArrayRecord file, and beside it what the dataset must know.

  Returns {'path', 'records', 'tokens', 'longest', 'bytes'}; `path` + '.npz' holds `lengths` (tokens a
  record) and `digests` (sha256 a record, decoded: file bytes differ between processes, contents do not).
  An error leaves nothing behind. Raises InputError when the disk is full.
  """
  from array_record.python.array_record_module import ArrayRecordWriter

  features, lengths, digests, size = _features(stage), [], [], 0
  parts = {f'{path}.npz.part': f'{path}.npz', f'{path}.part': path}  # the shard itself comes last
  try:
    writer = ArrayRecordWriter(f'{path}.part', 'group_size:1')
    for example in examples:
      example = _arrays(stage, example)
      record = features.serialize_example(features.encode_example(example))
      _stored(path, writer.write, record)
      size += len(record)
      lengths.append(len(example['tokens']))
      digests.append(_digest(example))
    _stored(path, writer.close)
    with open(f'{path}.npz.part', 'wb') as file:
      digests = np.frombuffer(b''.join(digests), np.uint8).reshape(-1, 32)
      np.savez(file, lengths=np.array(lengths, np.int32), digests=digests)
    for part, target in parts.items():
      os.replace(part, target)
  finally:
    for part in parts:
      with contextlib.suppress(FileNotFoundError):
        os.remove(part)
  total = {'tokens': sum(lengths), 'longest': max(lengths, default=0)}
  return {'path': path, 'records': len(lengths), 'bytes': size, **total}


def _stored(path, act, *args):
  try:
    act(*args)
  except RuntimeError as error:
    raise InputError(f'{path}: cannot be written ({error}); make room on its disk and run again') from None


def write_dataset(folder, stage, splits):
  """Makes the dataset `folder` of {split: [what write_shard returned]}, and returns {split: {records,
  tokens, longest, sha256}}; the sha256 does not depend on where the shards end.

  The shards are linked, not copied, where the file system can. Splits without records are left out.
  Raises InputError when no split has any.
  """
  if not any(shard['records'] for shards in splits.values() for shard in shards):
    raise InputError(f'{folder}: a dataset needs records; there are none in {", ".join(splits) or "it"}')
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
      beside = whole.beside(f'{shard["path"]}.npz')
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


class Records:
  """Random access to the examples of a split, as Grain and PyTorch expect it; picklable.

  `shards`: [(path, first record, records)] of the source, to say where a damaged record lies.
  """

  def __init__(self, source, shards):
    self._source, self._shards = source, shards

  def __len__(self):
    return len(self._source)

  def __iter__(self):
    return (self[i] for i in range(len(self)))

  def __getitem__(self, index):
    try:
      return _plain(self._source[index])
    except RuntimeError as error:
      raise self._damaged(index, error) from None

  def __getitems__(self, indices):
    try:
      return [_plain(example) for example in self._source.__getitems__(indices)]
    except RuntimeError:
      return [self[i] for i in indices]  # one of these says which it is

  def _damaged(self, index, error):
    for path, first, records in self._shards:
      if index < records:
        return InputError(f'{path}: record {first + index} is damaged ({error}); {whole.AGAIN}')
      index -= records
    return error


def _plain(example):
  return {k: _value(v) for k, v in example.items()}


def _value(v):
  if isinstance(v, bytes):
    return v.decode()
  return v if isinstance(v, np.ndarray) else np.int32(v)  # TFDS hands scalars out as int


def open_split(folder, split):
  """The examples of one split (TFDS syntax, `train[:10%]` too): dicts of numpy arrays and str.

  Raises InputError when the folder is not a finished dataset, has no such split, or misses a shard, or one
  is cut or of another length, or their records lack a field; a record whose bytes have changed is an
  InputError when it is read.
  """
  shards, name = whole.shards(folder), split.split('[')[0]
  if name not in shards:
    raise InputError(f'{folder}: no split {split!r}; there are {", ".join(shards)}')
  whole.check(shards[name])
  builder = _tfds().builder_from_directory(folder)
  if missing := sorted(set(FEATURES.get(builder.name, ())) - set(builder.info.features)):
    raise InputError(
      f'{folder}: its records lack {", ".join(missing)}, for an older zhlm wrote them; prepare again with '
      f'the same command and --config.finished=False'
    )
  parts = [(part.filename, part.skip, part.take) for part in builder.info.splits[split].file_instructions]
  return Records(builder.as_data_source(split=split), parts)


def lengths(folder, split):
  """int32[records]: the token count of every record of a whole split, in order.

  Raises InputError when the file that says so is missing, damaged or of another dataset.
  """
  path, shards = os.path.join(folder, f'lengths-{split}.npy'), whole.shards(folder)
  if split not in shards:
    raise InputError(f'{folder}: no split {split!r}; there are {", ".join(shards)}')
  try:
    found = np.load(path)
  except (OSError, ValueError, EOFError) as error:
    raise InputError(f'{path}: missing or damaged ({error}); {whole.AGAIN}') from None
  if len(found) != sum(records for _, records in shards[split]):
    raise InputError(f'{path}: tells of {len(found):,} records, other than its shards hold; {whole.AGAIN}')
  return found
