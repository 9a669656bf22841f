"""A run's folder: orbax checkpoints, the config beside them; other runs open it from the folder alone."""

import contextlib
import importlib.metadata
import json
import operator
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp

from zhlm import disk, model, sharding
from zhlm.data import mixture, tokenizer
from zhlm.errors import InputError

# What may change when a run goes on; any other difference means that the folder holds another run.
FREE = (
  'log_every',
  'eval_every',
  'eval_batches',
  'save_every',
  'keep',
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
  """The ConfigDict of a run's folder; InputError when there is none."""
  return ConfigDict(read_about(folder)['config'])


def _claim(folder, config):
  """Writes config.json into a new folder; in one with a checkpoint, checks that the run is the same."""
  path = folder / 'config.json'
  now = json.loads(config.to_json())
  if path.exists() and any((folder / 'checkpoints').glob('[0-9]*')):
    about = json.loads(path.read_text())
    old, new = disk.flat(about['config']), disk.flat(now)
    differ = [k for k in sorted(old | new) if k.split('.')[0] not in FREE and old.get(k) != new.get(k)]
    if differ:
      what = ', '.join(f'{k}={old.get(k)!r} (now {new.get(k)!r})' for k in differ[:4])
      raise InputError(
        f'{folder} holds another run, with {what}{", …" if len(differ) > 4 else ""}; '
        f'choose another --workdir, or remove this one'
      )
    steps = [int(p.name) for p in (folder / 'checkpoints').iterdir() if p.name.isdigit()]
    mixture.check_resume(ConfigDict(about['config']), about['data'], config, max(steps, default=0))
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
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices('config.json')


def _is_box(x):
  return isinstance(x, nn.LogicallyPartitioned)


def unbox(tree):
  """The arrays without their letters (flax's own unbox would also constrain them)."""
  return jax.tree.map(lambda x: x.value if _is_box(x) else x, tree, is_leaf=_is_box)


def shardings(boxed):
  """NamedShardings on the current mesh for a tree whose leaves are boxed with their letters."""
  mesh = jax.sharding.get_mesh()

  def one(x):
    letters = x.names if _is_box(x) else ()
    # An optimizer may have masked what is in the box: a tree without leaves.
    return jax.tree.map(lambda leaf: sharding.sharding(mesh, letters, leaf.shape), unbox(x))

  return jax.tree.map(one, boxed, is_leaf=_is_box)


def _abstract(boxed):
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), unbox(boxed), shardings(boxed)
  )


def _open(folder, **options):
  return ocp.training.Checkpointer(Path(folder).resolve() / 'checkpoints', **options)


@contextlib.contextmanager
def _explained(what):
  """Orbax and TensorStore name the true cause at the end of the chain: say that, in one line."""
  try:
    yield
  except (OSError, ValueError, LookupError) as e:
    cause = e
    while cause.__cause__ is not None:
      cause = cause.__cause__
    text = ' '.join(str(cause).split())
    raise InputError(f'{what}: {text if len(text) < 400 else f"{text[:150]} … {text[-250:]}"}') from e


def transformer_shapes(config, head):
  """The boxed shapes of a Transformer of this config; nothing is allocated."""
  tokens_BT = jnp.zeros((1, 8), jnp.int32)
  net = model.make(config, head)
  return jax.eval_shape(lambda: net.init(jax.random.key(0), tokens_BT)['params'])


@contextlib.contextmanager
def _newest(folder):
  """(checkpoints, newest step, {network: its head})."""
  with _open(folder) as checkpoints:
    if checkpoints.latest is None:
      raise InputError(f'{folder} holds no finished checkpoint yet; train it first')
    step = checkpoints.latest.step
    yield checkpoints, step, checkpoints.load_checkpointables(step, {'meta': None})['meta']['heads']


def newest_step(folder):
  """The step of a run's newest checkpoint."""
  with _newest(folder) as (_, step, _):
    return step


def networks(folder):
  """The names of a run's networks."""
  with _newest(folder) as (_, _, heads):
    return sorted(heads)


def load(folder, network, into=None):
  """The weights of one network of another run, cut over the current mesh.

  into: the boxed shapes to load, where they are not those of that run: a network with a new head
  (`score…`) opens a language model's trunk, and the result lacks the head. Raises InputError when the
  folder holds no checkpoint or no such network, or the shapes differ.
  """
  config = read_config(folder)
  with _newest(folder) as (checkpoints, step, heads):
    if network not in heads:
      raise InputError(f'{folder} (stage {config.stage}) has networks {sorted(heads)}, not {network!r}')
    wanted = _abstract(transformer_shapes(config, heads[network]) if into is None else into)
    if heads[network] == 'lm':
      wanted = {k: x for k, x in wanted.items() if not k.startswith('score')}
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    with context, _explained(f'{folder}: the weights of {network!r} do not fit this config'):
      return checkpoints.load_checkpointables(step, {network: wanted})[network]


def open_frozen(stage, config):
  """The networks that a stage never trains, {name: params}. Raises InputError where no run is named."""
  folders = {name: operator.attrgetter(field)(config) for name, (field, _) in stage.frozen.items()}
  if not all(folders.values()):
    fields = ' and '.join(dict.fromkeys(f'--config.{field}=RUN' for field, _ in stage.frozen.values()))
    raise InputError(f'{config.stage} needs {fields}, for its networks {" and ".join(folders)}')
  return {name: load(folders[name], there) for name, (_, there) in stage.frozen.items()}


class Run:
  """The folder of the run being trained: a context, inside which it restores and saves."""

  def __init__(self, folder, config):
    self.folder, self.keep = Path(folder), config.keep
    _claim(self.folder, config)

  def __enter__(self):
    if jax.process_index() == 0:
      # What a killed save left. Orbax's own cleanup is a thread that complains when a run ends at once.
      for unfinished in self.folder.glob('checkpoints/*.orbax-checkpoint-tmp*'):
        shutil.rmtree(unfinished)
    newest = ocp.training.preservation_policies.LatestN(self.keep)
    self._checkpoints = _open(self.folder, preservation_policy=newest)
    return self

  def __exit__(self, error, *_):
    try:
      self._checkpoints.close()
    except Exception:  # orbax raises once more what a failed save has raised
      if error is None:
        raise

  def restore(self, init_params, init_opt, stage):
    """(step, params, opt, carry) to go on from, the first of:

    1. this run's newest checkpoint;
    2. the weights that `stage.start` names, {network: (run folder, network there)}, in a fresh state;
    3. a fresh state.
    Nothing is ever built on one device first.
    """
    shapes = jax.eval_shape(init_params)
    opt_shapes = jax.eval_shape(lambda: init_opt(init_params()))
    latest = self._checkpoints.latest
    if latest is not None:
      items = {**_abstract(shapes), 'opt': _abstract(opt_shapes)}
      if carries := stage.carry_shapes():
        items['carry'] = _abstract(carries)
      with _explained(f'cannot read checkpoint {latest.step} of {self.folder}'):
        items = self._checkpoints.load_checkpointables(latest.step, items)
      opt, carry = items.pop('opt'), items.pop('carry') if carries else {}
      return latest.step, items, opt, carry
    params = jax.jit(lambda: unbox(init_params()), out_shardings=shardings(shapes))()
    for network, (folder, there) in stage.start.items():
      if folder:
        if read_about(folder)['tokenizer_sha256'] != read_about(self.folder)['tokenizer_sha256']:
          raise InputError(
            f'{folder} was trained with another tokenizer than that of the data here; prepare the data '
            f'with that one: python -m launch.prepare --config=configs/data.py:source=… --workdir=… '
            f'--config.tokenizer={Path(read_config(folder).data) / "tokenizer"}'
          )
        params[network] |= load(folder, there, shapes[network])
    opt = jax.jit(init_opt, out_shardings=shardings(opt_shapes))(params)
    return 0, params, opt, {}

  def save(self, step, params, opt, carry):
    """Whole or not at all. Raises InputError when the disk does not take it; older ones stay."""
    heads = {k: 'scalar' if 'score' in x else 'lm' for k, x in params.items()}
    items = {**params, 'opt': opt, 'meta': {'step': step, 'heads': heads}}
    if carry:
      items['carry'] = carry
    old = self._checkpoints.latest
    kept = f'checkpoint {old.step} is whole' if old else 'there is no earlier one'
    with _explained(
      f'cannot save checkpoint {step} in {self.folder} ({kept}; free some space and run '
      f'the same command to go on)'
    ):
      self._checkpoints.save_checkpointables(step, items, force=True)
