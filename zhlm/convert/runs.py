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

from zhlm import checkpoint, disk
from zhlm.convert import fields, names, read, write
from zhlm.data import chat, tokenizer
from zhlm.errors import InputError

T = 4_096  # tokens in a row of an imported run whose model was trained on more


def kind(folder):
  """'hub' or 'run', by what config.json there says. Raises InputError for anything else."""
  about = read.read_json(Path(folder) / 'config.json')
  if {'model_type', 'architectures'} & about.keys():
    return 'hub'
  if 'config' in about:
    return 'run'
  raise InputError(f'{folder}/config.json is neither a model (model_type) nor a run (config)')


def stage(folder):
  """The stage whose run a Hugging Face folder is most like: one with a score is a reward model, one with a
  chat template answers, others go on with a text."""
  folder = Path(folder)
  if fields.is_scalar(read.read_json(folder / 'config.json')):
    return 'reward'
  config = folder / 'tokenizer_config.json'
  told = config.exists() and 'chat_template' in read.read_json(config)
  return 'sft' if told or (folder / 'chat_template.jinja').exists() else 'pretrain'


def _check_free(target):
  if any(Path(target).glob('checkpoints/[0-9]*')):
    raise InputError(f'{target} holds a run; choose another --to, or remove it')


def import_folder(source, target, config, say=print):
  """Writes the model in the folder `source` as the run `target`, cut over the current mesh as it is read.

  config: of the stage that the run shall seem to be of (a ConfigDict); its model, T, data and dtype are set
  here. Returns that config. Raises InputError when the decoder cannot express the model, the folder is not
  whole, or `target` holds a run.
  """
  _check_free(target)
  folder = read.Folder(source)
  model, notes = fields.read(folder.config)
  config = _config(config, model, folder.config, target)
  params = load(folder, config)
  if jax.process_index() == 0:
    notes += _import_tokenizer(source, target)
  with checkpoint.Run(target, config) as run:
    run.save(0, {'reward' if 'score' in params else 'policy': params}, {}, {})
  for note in notes:
    say(f'note: {note}')
  return config


def load(folder, config):
  """The network in a read.Folder, on the current mesh. config.model: what fields.read says of it."""
  hf = folder.config
  scalar = fields.is_scalar(hf)
  entries = names.present(config.model, fields.family(hf)[1].table, scalar)
  sizes = names.sizes(config.model)
  folder.check(entries, sizes, config.model.tied or scalar)
  shapes = checkpoint.transformer_shapes(config, 'scalar' if scalar else 'lm')
  shardings = write.leaves(checkpoint.shardings(shapes))
  leaves = read.arrays(folder, entries, sizes, shardings)
  if scalar:
    bias = np.array([hf.get('zhlm_score_bias', 0.0)], np.float32)
    leaves['score_bias'] = jax.make_array_from_callback((1,), shardings['score_bias'], lambda i: bias[i])
  return jax.tree.map_with_path(
    lambda path, _: leaves['/'.join(key.key for key in path)], checkpoint.unbox(shapes)
  )


def _config(config, model, hf, target):
  """The stage's config with this model in it."""
  config = ConfigDict(json.loads(config.to_json()))
  config.model.update(model)
  config.model.dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  config.batch.T = min(hf['max_position_embeddings'], T)
  config.data, config.init_from = str(target), ''
  return config


def _import_tokenizer(source, target):
  """Copies the tokenizer to where the run looks for it; returns what to say of it."""
  if not any((Path(source) / name).is_file() for name in ('tokenizer.json', 'tokenizer.model')):
    return [f'{source} has no tokenizer.json: the run can be trained on prepared tokens only']
  tokenizer.copy(str(source), str(Path(target) / 'tokenizer'))
  return []


def export_run(source, target, network='', dtype='bfloat16', limit=2 * 10**9, say=print):
  """Writes a run's network as the Hugging Face folder `target`, whole or not at all; adapters are merged.

  network: '' is the policy, or the only one of a run without. limit: bytes of a file. Returns config.json.
  Raises InputError when there is no such network, no architecture for it, or `target` is there.
  """
  if jax.process_count() > 1:
    raise InputError('one process exports a run: its host holds one float32 copy of the network')
  params, model, config = open_merged(source, network)
  with _whole(target) as part:
    words = Path(config.data) / 'tokenizer'
    if words.is_dir():
      chat.hub_files(str(words), str(part), config.batch.T)
    else:
      say(f'note: {words} is not there, so there is no tokenizer in {target}')
    hf = write_folder(part, params, model, config.batch.T, dtype, limit, special_ids(part))
  if 'zhlm_score_bias' in hf:
    bias = hf['zhlm_score_bias']
    say(f"note: transformers' scores lack zhlm_score_bias={bias:.6g}: its class has no bias")
  return hf


def write_folder(folder, params, model, T, dtype, limit, ids):
  """Writes weights and config.json of a network without adapters into a folder; returns config.json.

  model: its fields. T: max_position_embeddings, where the model does not say. ids: of special tokens.
  """
  scalar = 'score' in params
  if scalar and 'pad_token_id' not in ids:
    raise InputError('a reward model needs a tokenizer with a pad_token: by it transformers finds the end')
  plain, factors, head = write.fold(model)
  family, hf = fields.write(plain, scalar, T, dtype, ids)
  if scalar and (bias := float(params['score_bias'][0])):
    hf['zhlm_score_bias'] = bias
  pieces = write.pieces(plain, fields.FAMILIES[family].table, scalar, factors, head)
  write.tensors(folder, pieces, write.leaves(params), dtype, limit)
  disk.write_json(Path(folder) / 'config.json', hf)
  return hf


def open_merged(source, network=''):
  """(a network's params, adapters merged, the fields of its model then, the run's config)."""
  config, there = checkpoint.read_config(source), checkpoint.networks(source)
  with jax.default_matmul_precision('highest'):  # of A·B, which is added to float32 weights
    params = checkpoint.load(source, network or ('policy' if 'policy' in there else there[0]))
  return params, {**config.model, 'lora_rank': 0}, config


def merge_run(source, target, network=''):
  """Writes a run's network, adapters merged, as a run at step 0. Raises InputError as `export_run`."""
  _check_free(target)
  params, model, config = open_merged(source, network)
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


def special_ids(folder):
  """{'pad_token_id': 0, …}: the ids of the special tokens that a folder's tokenizer_config.json names."""
  folder = Path(folder)
  if not (folder / 'tokenizer_config.json').exists() or not (folder / 'tokenizer.json').exists():
    return {}
  about, words = read.read_json(folder / 'tokenizer_config.json'), tokenizer.load(str(folder))
  told = {name: about[name] for name in ('bos_token', 'eos_token', 'pad_token') if about.get(name)}
  told = {name: token['content'] if isinstance(token, dict) else token for name, token in told.items()}
  return {f'{name}_id': words.piece_to_id(token) for name, token in told.items()}
