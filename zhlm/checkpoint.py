"""A run's folder: checkpoints, the config beside them; other runs open it from the folder alone.

A little over 250 lines: who claims, opens and goes on with a folder must agree on what it holds.
"""

import dataclasses
import importlib.metadata
import json
import subprocess
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from zhlm import devices, disk, fingerprint, hosts, layout, lora, model, sharding, store
from zhlm.data import mixture, tokenizer
from zhlm.errors import InputError
from zhlm.layers import Config

# What may change when a run goes on; any other difference means that the folder holds another run.
FREE = (
  'log_every',
  'eval_every',
  'eval_batches',
  'save_every',
  'keep',
  'keep_best',
  'keep_every',
  'guard',
  'debug',
  'evals',
  'mesh',
  'data_workers',
  'mixture',
)


def git_revision():
  """The commit of the code, with `+` when the tree has changes; '' outside a repository."""

  def git(*args):
    run = subprocess.run(['git', '-C', Path(__file__).parent, *args], capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else ''

  revision = git('rev-parse', '--short', 'HEAD')
  return revision + ('+' if revision and git('status', '--porcelain') else '')


def read_about(folder):
  """config.json of a run's folder: its config, tokenizer, versions; InputError when there is none."""
  path = Path(folder) / 'config.json'
  if not path.exists():
    raise InputError(f'{folder} holds no run (no config.json); give the --workdir of a training run')
  return json.loads(path.read_text())


def read_config(folder):
  """The ConfigDict of a run's folder; InputError when there is none, or one that an older version wrote."""
  config = ConfigDict(read_about(folder)['config'])
  lacks = [field.name for field in dataclasses.fields(Config) if field.name not in config.model]
  if lacks:
    raise InputError(
      f'{folder}/config.json was written by another version: "model" lacks {", ".join(lacks)}; '
      f'add the default of configs/base.py'
    )
  return config


def _claim(folder, config):
  """Writes config.json into a new folder; in one with a checkpoint, checks that the run is the same."""
  path = folder / 'config.json'
  newest = max(store.steps(folder / 'checkpoints'), default=0)
  hosts.agree(newest, f'{folder} is not one folder that all hosts share: its newest checkpoint is another')
  hosts.agree(zlib.crc32(config.to_json().encode()), 'the hosts were started with different configs')
  now = json.loads(config.to_json())
  if path.exists() and newest:
    about = json.loads(path.read_text())
    old, new = disk.flat(about['config']), disk.flat(now)
    differ = [k for k in sorted(old | new) if k.split('.')[0] not in FREE and old.get(k) != new.get(k)]
    if differ:
      what = ', '.join(f'{k}={old.get(k)!r} (now {new.get(k)!r})' for k in differ[:4])
      raise InputError(
        f'{folder} holds another run, with {what}{", …" if len(differ) > 4 else ""}; '
        f'choose another --workdir, or remove this one'
      )
    mixture.check_resume(ConfigDict(about['config']), about['data'], config, newest)
    about['config']['mixture'], about['data'] = config.mixture, about['data'] | mixture.contents(config)
    if jax.process_index() == 0:  # the next resume goes on from these weights
      disk.write_json(path, about)
    return
  sha256 = tokenizer.fingerprint(str(Path(config.data) / 'tokenizer'))
  packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy')
  versions = {p: importlib.metadata.version(p) for p in packages}
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    about = {'config': now, 'tokenizer_sha256': sha256, 'data': mixture.contents(config)}
    about |= {'versions': versions, 'git': git_revision()}
    disk.write_json(path, about)
  hosts.shared(path)


def _is_box(x):
  return isinstance(x, nn.LogicallyPartitioned)


def unbox(tree):
  """The arrays without their letters (flax's own unbox would also constrain them)."""
  return jax.tree.map(lambda x: x.value if _is_box(x) else x, tree, is_leaf=_is_box)


def shardings(boxed):
  """NamedShardings on the current mesh for a tree whose leaves are boxed with their letters."""
  mesh = jax.sharding.get_mesh()

  def one(x):
    return sharding.sharding(mesh, x.names if _is_box(x) else (), unbox(x).shape)

  return jax.tree.map(one, boxed, is_leaf=_is_box)


def _abstract(boxed):
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), unbox(boxed), shardings(boxed)
  )


def transformer_shapes(config, head):
  """The boxed shapes of a Transformer of this config, or of a scalar head `alone`; nothing is allocated."""
  tokens_BT = jnp.zeros((1, 8), jnp.int32)
  net = model.make(config, 'scalar' if head == 'alone' else head)
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), tokens_BT)['params'])
  return {k: x for k, x in shapes.items() if head != 'alone' or k.startswith('score')}


def _wanted(folder, networks=None):
  """What `store.newest` shall read of a run: want(meta) for networks, {name: boxed shapes, or None for all
  that was saved}; without names all of them."""
  config = read_config(folder)
  if not store.steps(folder / 'checkpoints'):
    raise InputError(f'{folder} holds no finished checkpoint yet; train it first')

  def want(meta):
    heads, wanted = meta['heads'], {}
    for name, shapes in (networks or dict.fromkeys(heads)).items():
      if name not in heads:
        raise InputError(f'{folder} (stage {config.stage}) has networks {sorted(heads)}, not {name!r}')
      shapes = _abstract(transformer_shapes(config, heads[name]) if shapes is None else shapes)
      if heads[name] == 'lm':
        shapes = {k: x for k, x in shapes.items() if not k.startswith('score')}
      if not config.model.lora_rank:
        shapes = lora.without(shapes)
      fingerprint.fits(shapes, meta['items'][name], f'{folder}: {name!r} does not fit this config')
      wanted[name] = shapes
    return {'ema': wanted} if 'ema' in meta['items'] else wanted

  return want


def newest_step(folder):
  """The step of a run's newest checkpoint whose networks are as they were saved: what `load` opens."""
  one = dict.fromkeys(sharding.MESH_AXES, 1)
  with jax.set_mesh(devices.make_mesh(one, jax.local_devices()[:1])):
    return store.newest(Path(folder) / 'checkpoints', _wanted(Path(folder)))[0]


def networks(folder):
  """The names of a run's networks."""
  _wanted(Path(folder))
  return sorted(store.newest(Path(folder) / 'checkpoints', lambda meta: {})[1]['heads'])


def load(folder, network, into=None):
  """The weights of one network of another run, cut over the current mesh: of its newest checkpoint that is
  as it was saved; where that run keeps an average of its weights, the average.

  into: the boxed shapes to load, where they are not those of that run: a network with a new head
  (`score…`) or with adapters opens a language model's trunk, and the result lacks these. The adapters of
  that run itself are merged. Raises InputError when the folder holds no checkpoint or no such network, or
  the shapes differ.
  """
  model_config = read_config(folder).model
  want = _wanted(Path(folder), {network: None if model_config.lora_rank else into})
  items = store.newest(Path(folder) / 'checkpoints', want)[2]
  params = items.get('ema', items)[network]
  if not model_config.lora_rank:
    return params
  params = lora.merge(params, model_config)
  if into is not None:
    wanted, found = (
      {jax.tree_util.keystr(p): x.shape for p, x in jax.tree_util.tree_leaves_with_path(tree)}
      for tree in (lora.without(unbox(into)), params)
    )
    if differ := sorted(k for k, shape in found.items() if wanted.get(k) != shape):
      raise InputError(f'{folder}: {network!r} does not fit this config, at {differ[0]}')
  return params


def open_frozen(stage, config):
  """The networks that a stage never trains, {name: params}. Raises InputError where no run is named."""
  if missing := [name for name, (folder, _) in stage.frozen.items() if not folder]:
    raise InputError(
      f'{config.stage} needs --config.init_from=RUN, for its network {" and ".join(missing)}'
    )
  for folder, _ in stage.frozen.values():
    _same_tokenizer(folder, tokenizer.fingerprint(str(Path(config.data) / 'tokenizer')))
  return {name: load(folder, there) for name, (folder, there) in stage.frozen.items()}


def _same_tokenizer(folder, sha256):
  if read_about(folder)['tokenizer_sha256'] != sha256:
    raise InputError(
      f'{folder} was trained with another tokenizer than that of the data here; prepare the data '
      f'with that one: python -m launch.prepare --config=configs/data.py:source=… --workdir=… '
      f'--config.tokenizer={Path(read_config(folder).data) / "tokenizer"}'
    )


class Run:
  """The folder of the run being trained: a context, inside which it restores and saves. frozen: the
  networks that stand beside it, which a run that goes on must find as they were."""

  def __init__(self, folder, config, frozen=None):
    self.folder, self.config = Path(folder), config
    self.frozen = {name: fingerprint.digest(x) for name, x in (frozen or {}).items()}
    self.saved = 0  # the last step that was saved
    _claim(self.folder, config)

  def __enter__(self):
    c = self.config
    self._writer = store.Writer(self.folder / 'checkpoints', c.keep, c.keep_best, c.keep_every)
    self.wait = self._writer.wait
    return self

  def __exit__(self, error, *_):
    try:
      self._writer.close()
    except InputError:
      if error is None:
        raise

  def restore(self, init_params, init_rest, stage):
    """(step, params, rest, carry) to go on from, the first of:

    1. this run's newest checkpoint that is as it was saved; newer ones are set aside;
    2. the weights that `stage.start` names, {network: (run folder, network there)}, in a fresh state;
    3. a fresh state.
    init_rest(params) -> {item: tree}: what else an update changes. Nothing is built on one device first.
    """
    shapes = jax.eval_shape(init_params)
    rest_shapes = layout.made_from(init_rest, _abstract(shapes))
    if store.steps(self.folder / 'checkpoints'):
      wanted = _leafy({**_abstract(shapes), **rest_shapes, 'carry': _abstract(stage.carry_shapes())})

      def want(meta):
        for name, digest in self.frozen.items():
          if meta['frozen'].get(name) != digest:
            raise InputError(
              f'{name!r} is not what {self.folder} was trained with until now: the run that it is opened '
              f'from has changed; put that back, or choose another --workdir'
            )
        for item, tree in wanted.items():
          what = f'{self.folder}: {item!r} of checkpoint {meta["step"]} does not fit'
          fingerprint.fits(tree, meta['items'].get(item, {}), what)
        return wanted

      step, _, items, damaged = store.newest(self.folder / 'checkpoints', want)
      self.saved = step
      self._writer.set_aside(damaged)
      rest = {k: items.get(k, x) for k, x in rest_shapes.items()}
      return step, {k: items[k] for k in shapes}, rest, items.get('carry', {})
    params = jax.jit(lambda: unbox(init_params()), out_shardings=shardings(shapes))()
    for network, (folder, there) in stage.start.items():
      if folder:
        _same_tokenizer(folder, read_about(self.folder)['tokenizer_sha256'])
        params[network] = lora.join(params[network], load(folder, there, shapes[network]))
    cut = jax.tree.map(lambda x: x.sharding, rest_shapes)
    return 0, params, jax.jit(init_rest, out_shardings=cut)(params), {}

  def save(self, step, params, rest, carry, loss=None):
    """Begins to save, whole or not at all; it is on the disk after `wait`. loss: of the validation, by
    which the best are kept. Raises InputError when the disk did not take the save before."""
    scalar = {k: 'scalar' if 'layers' in x else 'alone' for k, x in params.items() if 'score' in x}
    heads = dict.fromkeys(params, 'lm') | scalar
    meta = {'seed': self.config.seed, 'heads': heads, 'frozen': self.frozen}
    self._writer.save(step, _leafy({**params, **rest, 'carry': carry}), meta, loss)
    self.saved = step


def _leafy(items):
  """Those that hold an array at all: orbax saves no empty tree."""
  return {k: x for k, x in items.items() if jax.tree.leaves(x)}
