"""The README's picture of the code, held to: who imports whom, one loop, one update, one default."""

import ast
import contextlib
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from tests import tiny
from zhlm import checkpoint, disk, evals, stages, train

ROOT = Path(__file__).parent.parent
# Who may import whom: each only what stands in a later line.
ORDER = [
  ['launch', 'experiments'],
  ['zhlm.report', 'zhlm.plan', 'zhlm.campaign'],
  ['zhlm.evals'],
  ['zhlm.train'],
  ['zhlm.validation'],
  ['zhlm.stages', 'zhlm.convert'],
  ['zhlm.online'],
  ['zhlm.judging'],
  ['zhlm.scale'],
  ['zhlm.metrics', 'zhlm.optim', 'zhlm.checkpoint', 'zhlm.rollout', 'zhlm.corpus'],
  ['zhlm.demo', 'zhlm.rewards'],
  ['zhlm.collect', 'zhlm.clean'],
  ['zhlm.data'],
  ['zhlm.generate'],
  ['zhlm.model'],
  ['zhlm.moe', 'zhlm.lora', 'zhlm.store'],
  ['zhlm.layers'],
  ['zhlm.estimators'],
  ['zhlm.attention', 'zhlm.rope', 'zhlm.losses'],
  ['zhlm.fingerprint', 'zhlm.guard', 'zhlm.devices', 'zhlm.layout'],
  ['zhlm.sharding', 'zhlm.disk', 'zhlm.hosts', 'zhlm.monitor'],
  ['zhlm.errors', 'zhlm.variety'],
]


def sources(*folders):
  return [p for folder in folders for p in sorted((ROOT / folder).rglob('*.py'))]


def module(path):
  """zhlm/data/chat.py -> zhlm.data.chat."""
  return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def imports(path):
  """The modules that a file imports, at its top or inside functions; `from zhlm import x` is zhlm.x."""
  for node in ast.walk(ast.parse(path.read_text('utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def rank(name):
  """The part of the order that a module belongs to; None when it is of another package."""
  found = [
    (i, part) for i, parts in enumerate(ORDER) for part in parts if f'{name}.'.startswith(f'{part}.')
  ]
  return found[0] if found else None


def test_imports_point_one_way():
  wrong = []
  for path in sources('zhlm', 'launch'):
    here = rank(module(path))
    if here is None:
      assert path.read_text('utf-8').count('import') == 0, path  # zhlm/__init__.py
      continue
    for name in imports(path):
      there = rank(name)
      if there and there[1] != here[1] and there[0] <= here[0]:
        wrong.append(f'{module(path)} imports {name}')
  assert wrong == []


def test_every_module_has_a_place_in_the_order():
  lost = [module(p) for p in sources('zhlm', 'launch') if rank(module(p)) is None]
  assert lost == ['zhlm']


def test_configs_import_neither_jax_nor_zhlm():
  allowed = {'configs', 'ml_collections', *sys.stdlib_module_names}
  for path in sources('configs'):
    assert {name.split('.')[0] for name in imports(path)} <= allowed, path
  names = ' '.join(module(p) for p in sources('configs'))
  code = (
    'import importlib, sys\n'
    f'for name in "{names}".split(): importlib.import_module(name)\n'
    'print(*({m.split(".")[0] for m in sys.modules} & {"jax", "flax", "optax", "zhlm", "numpy"}))'
  )
  run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert run.stdout.strip() == ''


def calls(name):
  """The files where a function is called, or named, as often as it is."""
  pattern = re.compile(name)
  return {
    module(p): n for p in sources('zhlm', 'launch') if (n := len(pattern.findall(p.read_text('utf-8'))))
  }


def test_there_is_one_update_and_one_gradient():
  assert calls(r'apply_updates\(') == {'zhlm.train': 1}
  assert calls(r'\b(value_and_grad|grad|vjp|jvp|linearize)\(') == {'zhlm.train': 1}
  assert calls(r'\btx\.update\(') == {'zhlm.train': 1}
  assert calls(r'config\.steps \+ 1') == {'zhlm.train': 1}  # the loop


def test_what_is_banned_is_not_there():
  """Second defaults, and the old ways to a mesh."""
  files = sources('zhlm', 'launch', 'configs')
  for pattern in (r'\b(config|c)\.get\(', r'\bpjit\b(?!`)', r'with (self\.)?mesh:', r'\bpmap\b'):
    assert [p.name for p in files if re.search(pattern, p.read_text('utf-8'))] == [], pattern


def test_every_stage_has_a_config_and_says_its_evals():
  for name in stages.names():
    c = tiny.plain(name)
    assert c.stage == name and c.evals and set(c.evals) <= set(evals.names())
    assert f'launch.train --config=configs/{name}.py' in importlib.import_module(f'configs.{name}').__doc__


def test_a_config_takes_no_new_field():
  for name in stages.names():
    with pytest.raises(AttributeError, match='learning_rate'):
      tiny.plain(name).optimizer.learnin_rate = 1.0


@contextlib.contextmanager
def noted(config):
  """A set that gets the fields of `config` that are read inside, as `optimizer.clip`."""
  parts, read, plain = {}, set(), ConfigDict.__getitem__

  def name(part, path):
    parts[id(part)] = path
    for key in list(part.keys()):
      if isinstance(child := plain(part, key), ConfigDict):
        name(child, f'{path}{key}.')

  def getitem(self, key):
    if id(self) in parts:
      read.add(f'{parts[id(self)]}{key}')
    return plain(self, key)

  name(config, '')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(ConfigDict, '__getitem__', getitem)
    # Writing the whole config into the run's folder is no use of it.
    patch.setattr(checkpoint, '_claim', lambda *_: None)
    yield read


def test_every_config_field_is_read(toy, runs, tmp_path, monkeypatch):
  """By some stage, where it trains, validates and is evaluated."""
  leaves, read = set(), set()
  for stage in stages.names():
    folder = tmp_path / stage
    folder.mkdir()
    config = tiny.config(stage, toy, runs, steps=2, save_every=2, eval_every=2, evals=())
    checkpoint._claim(folder, config)
    leaves |= set(disk.flat(json.loads(config.to_json())))
    with noted(config) as fields:
      train.train(config, folder)
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, 'read_config', lambda folder, config=config: config)
        evals.evaluate(folder)
    read |= fields
  assert leaves - read == set()
