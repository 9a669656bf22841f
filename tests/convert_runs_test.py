"""A run becomes a Hugging Face folder and a run again, the same bit for bit; by half it becomes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import base, pretrain, sft
from tests import hub, tiny
from zhlm import checkpoint, devices, model
from zhlm.convert import runs, write
from zhlm.data import tokenizer
from zhlm.errors import InputError

GOLDENS = Path(__file__).parent / 'goldens'


def one():
  return jax.set_mesh(devices.make_mesh({}, jax.devices()[:1]))


def quiet(_):
  pass


def made(folder, config, network='policy', head='lm', seed=0):
  """A run at step 0 with random weights, adapters and biases too; returns its params."""
  draw = np.random.default_rng(seed)
  with one(), checkpoint.Run(folder, config) as run:
    shapes = checkpoint.unbox(checkpoint.transformer_shapes(config, head))
    params = jax.tree.map(lambda x: jax.device_put(draw.normal(size=x.shape).astype(x.dtype)), shapes)
    run.save(0, {network: params}, {}, {})
  return params


@pytest.fixture(scope='module')
def exported(toy, runs_folder):
  """(run, Hugging Face folder of it in float32): a policy with our own tokenizer."""
  run, out = runs_folder / 'run', runs_folder / 'hub'
  made(run, tiny.config('sft', toy))
  with one():
    runs.export_run(run, out, dtype='float32', say=quiet)
  return run, out


@pytest.fixture(scope='module')
def runs_folder(tmp_path_factory):
  return tmp_path_factory.mktemp('convert')


def same(a, b):
  a, b = write.leaves(a), write.leaves(b)
  assert a.keys() == b.keys()
  for path, x in a.items():
    np.testing.assert_array_equal(x, b[path], err_msg=path)


def test_a_run_comes_back_from_a_folder_bit_for_bit_on_another_mesh(exported, tmp_path):
  run, out = exported
  assert runs.kind(run) == 'run' and runs.kind(out) == 'hub' and runs.stage(out) == 'sft'
  mesh = devices.make_mesh({'fsdp': 2, 'tensor': 2, 'data': 2})
  with jax.set_mesh(mesh):
    config = runs.import_folder(out, tmp_path / 'run', sft.get_config())
    again = checkpoint.load(tmp_path / 'run', 'policy')
    assert again['layers']['q']['w'].sharding.shard_shape((2, 32, 8, 4)) == (2, 16, 4, 4)
    same(again, checkpoint.load(run, 'policy'))
  old = checkpoint.read_config(run)
  assert dict(config.model) == {**old.model, 'rope_T': old.batch.T} and config.stage == 'sft'


def test_its_tokenizer_is_the_same_one(exported, tmp_path, toy):
  """So that a stage whose data were prepared with it begins from the imported run."""
  _, out = exported
  with one():
    runs.import_folder(out, tmp_path / 'run', sft.get_config(), say=quiet)
  about = checkpoint.read_about(tmp_path / 'run')
  assert about['tokenizer_sha256'] == tokenizer.fingerprint(str(toy / 'tokenizer')) != ''
  words = tokenizer.load(str(tmp_path / 'run' / 'tokenizer'))
  assert words.encode('山红。') == tokenizer.load(str(toy / 'tokenizer')).encode('山红。')


def test_another_stage_begins_from_an_imported_run(exported, tmp_path, toy):
  """size=RUN says its sizes; its weights are what training starts from."""
  run, out = exported
  with one():
    runs.import_folder(out, tmp_path / 'run', sft.get_config(), say=quiet)
    before = checkpoint.load(run, 'policy')
  shape = base.get_config(str(tmp_path / 'run'))
  assert shape.batch.T == 64 and shape.model.D == 32 and shape.model.V == 352
  rate = dict(optimizer__learning_rate=0.0, optimizer__weight_decay=0.0)
  config = tiny.config('sft', toy, steps=1, save_every=1, init_from=str(tmp_path / 'run'), **rate)
  same(tiny.loop.train(config, tmp_path / 'sft').params['policy'], before)


def test_adapters_are_written_as_part_of_the_weights(toy, tmp_path):
  config = tiny.config('sft', toy, model__lora_rank=2, model__lora_on=('q', 'o', 'down'))
  params = made(tmp_path / 'run', config)
  assert 'lora_a' in params['layers']['o']
  tokens = hub.tokens()
  expected = hub.logits(model.make(config), params, tokens)
  with one():
    runs.export_run(tmp_path / 'run', tmp_path / 'hub', dtype='float32', say=quiet)
    runs.merge_run(tmp_path / 'run', tmp_path / 'merged')
    merged = checkpoint.load(tmp_path / 'merged', 'policy')
  net, read = hub.network(tmp_path / 'hub')
  assert hub.off(hub.logits(net, read, tokens), np.asarray(expected)) < 1e-5
  same(merged, read)
  assert checkpoint.read_config(tmp_path / 'merged').model.lora_rank == 0
  bare = {**config.model, 'lora_rank': 0}
  config.model.update(bare)
  assert hub.off(hub.logits(model.make(config), merged, tokens), np.asarray(expected)) < 1e-5


def test_a_reward_model_keeps_its_bias(toy, tmp_path):
  params = made(tmp_path / 'run', tiny.config('reward', toy), 'reward', 'scalar')
  said = []
  with one():
    hf = runs.export_run(tmp_path / 'run', tmp_path / 'hub', dtype='float32', say=said.append)
    assert hf['architectures'] == ['Qwen3ForSequenceClassification'] and hf['pad_token_id'] >= 0
    assert 'zhlm_score_bias' in said[0] and runs.stage(tmp_path / 'hub') == 'reward'
    runs.import_folder(tmp_path / 'hub', tmp_path / 'again', pretrain.get_config(), say=quiet)
    same(checkpoint.load(tmp_path / 'again', 'reward'), params)


def test_what_goes_wrong_leaves_nothing_behind(exported, tmp_path, monkeypatch):
  run, out = exported
  with one():
    with pytest.raises(InputError, match='is there already; choose another --to'):
      runs.export_run(run, out)
    with pytest.raises(InputError, match=r"has networks \['policy'\], not 'reward'"):
      runs.export_run(run, tmp_path / 'no', 'reward')
    before = sorted(p.name for p in tmp_path.iterdir())
    monkeypatch.setattr(write, 'save_file', lambda *_, **__: (_ for _ in ()).throw(OSError('disk is full')))
    with pytest.raises(OSError, match='disk is full'):
      runs.export_run(run, tmp_path / 'no')
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    with pytest.raises(InputError, match='holds a run; choose another --to'):
      runs.import_folder(out, run, sft.get_config())
  (tmp_path / 'config.json').write_text('{"a": 1}')
  with pytest.raises(InputError, match='neither a model .* nor a run'):
    runs.kind(tmp_path)
  with pytest.raises(InputError, match='config.json: not found'):
    runs.kind(tmp_path / 'nowhere')


def test_the_command_imports_and_says_how_to_go_on(tmp_path):
  """And what a user can mend is one line."""

  def command(*args):
    return subprocess.run([sys.executable, '-m', 'launch.convert', *args], capture_output=True, text=True)

  done = command(f'--from={GOLDENS / "internlm3"}', f'--to={tmp_path / "run"}')
  assert done.returncode == 0, done.stderr
  assert (
    f'--config=configs/sft.py:size={tmp_path / "run"} --config.init_from={tmp_path / "run"}' in done.stdout
  )
  assert 'note: dynamic NTK' in done.stdout
  hf = json.loads((GOLDENS / 'llama' / 'config.json').read_text())
  (tmp_path / 'config.json').write_text(json.dumps({**hf, 'model_type': 'gpt2'}))
  failed = command(f'--from={tmp_path}', f'--to={tmp_path / "no"}')
  assert failed.returncode == 2 and failed.stderr.count('\n') == 1 and "model_type='gpt2'" in failed.stderr
