"""A Hugging Face folder to a run's folder and back: weights, config and tokenizer.

An imported run is one like any other, at step 0: other stages open it with --config.init_from.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from zhlm import checkpoint, disk, lora
from zhlm.convert import fields, names, read, write
from zhlm.errors import InputError

T = 4_096  # tokens in a row of an imported run, where its model was trained on more
# What belongs to the tokenizer, as it is: also in a run's folder.
TOKENIZER = (
  *('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'),
  *('chat_template.jinja', 'generation_config.json', 'tokenizer.model', 'vocab.json', 'merges.txt'),
)


def kind(folder):
  """'hub' or 'run', by what config.json there says. Raises InputError for anything else."""
  about = read.read_json(Path(folder) / 'config.json')
  if {'model_type', 'architectures'} & about.keys():
    return 'hub'
  if 'config' in about:
    return 'run'
  raise InputError(
    f'{folder}/config.json is neither of a Hugging Face folder (model_type) nor of a run (config)'
  )


def stage(folder):
  """The stage whose run a Hugging Face folder is most like: one with a score is a reward model, one with a
  chat template answers, others go on with a text."""
  folder = Path(folder)
  if fields.is_scalar(read.read_json(folder / 'config.json')):
    return 'reward'
  config = folder / 'tokenizer_config.json'
  told = config.exists() and 'chat_template' in read.read_json(config)
  return 'sft' if told or (folder / 'chat_template.jinja').exists() else 'pretrain'


def import_folder(source, target, config, say=print):
  """Writes the model in the folder `source` as the run `target`, cut over the current mesh as it is read.

  config: of the stage that the run shall seem to be of (a ConfigDict); its model, T, data and dtype are
  set here. Raises InputError when the decoder cannot express the model, or `target` holds a run.
  """
  folder = read.Folder(source)
  model, notes = fields.read(folder.config)
  scalar = fields.is_scalar(folder.config)
  entries = names.present(model, fields.family(folder.config)[1].table, scalar)
  folder.check(entries, names.sizes(model), model['tied'] or scalar)
  if any(Path(target).glob('checkpoints/[0-9]*')):
    raise InputError(f'{target} holds a run; choose another --to, or remove it')
  config = _config(config, model, folder.config, target)
  shapes = checkpoint.transformer_shapes(config, 'scalar' if scalar else 'lm')
  shardings = write.leaves(checkpoint.shardings(shapes))
  found = read.arrays(folder, entries, names.sizes(model), shardings)
  if scalar:
    bias = np.array([folder.config.get('zhlm_score_bias', 0.0)], np.float32)
    found['score_bias'] = jax.make_array_from_callback(
      (1,), shardings['score_bias'], lambda index: bias[index]
    )
  params = jax.tree.map_with_path(
    lambda path, _: found['/'.join(k.key for k in path)], checkpoint.unbox(shapes)
  )
  if jax.process_index() == 0:
    _copy(source, Path(target) / 'tokenizer')
  with checkpoint.Run(target, config) as run:
    run.save(0, {'reward' if scalar else 'policy': params}, {}, {})
  for note in notes:
    say(f'note: {note}')
  return config


def _config(config, model, hf, target):
  """The stage's config with this model in it."""
  config = ConfigDict(json.loads(config.to_json()))
  config.model.update(model)
  config.model.dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  config.batch.T = min(hf['max_position_embeddings'], T)
  config.data, config.init_from = str(target), ''
  return config


def _copy(source, target):
  target.mkdir(parents=True, exist_ok=True)
  for name in TOKENIZER:
    if (Path(source) / name).is_file():
      shutil.copyfile(Path(source) / name, target / name)


def export_run(source, target, network='', dtype='bfloat16', limit=2 * 2**30, say=print):
  """Writes a run's network as the Hugging Face folder `target`, whole or not at all; adapters are merged.

  network: '' is the policy, or the reward model of a run that has only one. limit: bytes of a file. Raises
  InputError when there is no such network, no architecture for it, or `target` is there.
  """
  if jax.process_count() > 1:
    raise InputError('a run is exported by one process: its host must hold one float32 copy of the network')
  params, model, config = open_merged(source, network)
  scalar = 'score' in params
  plain, factors, head = write.fold(model)
  with _whole(target) as part:
    tokenizer = _tokenizer_folder(source, config, part)
    ids = special_ids(part)
    if scalar and 'pad_token_id' not in ids:
      raise InputError(
        f'{tokenizer}: no pad_token in tokenizer_config.json; transformers finds the end of an answer by it'
      )
    family, hf = fields.write(plain, scalar, config.batch.T, dtype, ids)
    if bias := write.score_bias(params):
      hf['zhlm_score_bias'] = bias
      say(f"note: zhlm_score_bias={bias:.6g} is not in transformers' scores: its class has no bias")
    pieces = write.pieces(plain, fields.FAMILIES[family].table, scalar, factors, head)
    write.tensors(part, pieces, write.leaves(params), dtype, limit)
    disk.write_json(part / 'config.json', hf)
  return hf


def open_merged(source, network=''):
  """(params without adapters, the fields of the model without them, the run's config)."""
  config = checkpoint.read_config(source)
  there = checkpoint.networks(source)
  network = network or ('policy' if 'policy' in there else there[0])
  with jax.default_matmul_precision('highest'):
    params = lora.merge(checkpoint.load(source, network), config.model)
  return params, {**config.model, 'lora_rank': 0}, config


def merge_run(source, target, network=''):
  """Writes a run's network, adapters merged, as a run of its own at step 0."""
  params, model, config = open_merged(source, network)
  if any(Path(target).glob('checkpoints/[0-9]*')):
    raise InputError(f'{target} holds a run; choose another --to, or remove it')
  config.model.update(model)
  with checkpoint.Run(target, config) as run:
    run.save(0, {'reward' if 'score' in params else 'policy': params}, {}, {})


@contextlib.contextmanager
def _whole(target):
  """A folder beside `target` that takes its name when all went well."""
  target = Path(target)
  if target.exists() and (not target.is_dir() or any(target.iterdir())):
    raise InputError(f'{target} is there already; choose another --to, or remove it')
  part = target.with_name(f'{target.name}.part-{os.getpid()}')
  part.mkdir(parents=True)
  try:
    yield part
    os.replace(part, target)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _tokenizer_folder(source, config, target):
  """Copies the run's tokenizer files into `target`; returns where they came from."""
  own, prepared = Path(source) / 'tokenizer', Path(config.data) / 'tokenizer'
  found = own if own.is_dir() else prepared
  _copy(found, target)
  return found


def special_ids(folder):
  """{'pad_token_id': 0, …}: the ids of the special tokens that a folder's tokenizer_config.json names."""
  import tokenizers

  config = Path(folder) / 'tokenizer_config.json'
  if not config.exists() or not (Path(folder) / 'tokenizer.json').exists():
    return {}
  about, tokenizer = (
    read.read_json(config),
    tokenizers.Tokenizer.from_file(str(Path(folder) / 'tokenizer.json')),
  )
  ids = {}
  for name in ('bos_token', 'eos_token', 'pad_token'):
    token = about.get(name)
    token = token['content'] if isinstance(token, dict) else token
    if token is not None and (number := tokenizer.token_to_id(token)) is not None:
      ids[f'{name}_id'] = number
  return ids
