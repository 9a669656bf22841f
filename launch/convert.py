"""A Hugging Face folder to a run's folder and back; what lies in --from says which way.

  python -m launch.convert --from=Qwen3-0.6B --to=runs/qwen3                 # opens it: weights, tokenizer
  python -m launch.train --config=configs/sft.py:size=runs/qwen3 --config.init_from=runs/qwen3 …
  python -m launch.convert --from=runs/sft --to=out/my-model                 # for transformers, vLLM, …
  python -m launch.convert --from=runs/lora --to=runs/merged --merge         # adapters become weights

docs/convert.md says which architectures can be read and written, and what is refused.
"""

from absl import flags

from launch import run

_FROM = flags.DEFINE_string('from', None, 'A Hugging Face folder, or the folder of a run.', required=True)
_TO = flags.DEFINE_string('to', None, 'The folder to write; it must not be there.', required=True)
_STAGE = flags.DEFINE_string(
  'stage',
  '',
  'Import as a run of this stage; else reward with a score, sft with a chat template, or pretrain.',
)
_MESH = flags.DEFINE_string(
  'mesh', 'one', 'Mesh over which weights are cut while they pass: configs/sizes.py.'
)
_NETWORK = flags.DEFINE_string('network', '', 'Export this network of the run: policy, reward, value.')
_DTYPE = flags.DEFINE_enum(
  'dtype', 'bfloat16', ('bfloat16', 'float16', 'float32'), 'Of the weights written.'
)
_MAX_SHARD = flags.DEFINE_float('max_shard_gb', 2.0, 'Gigabytes of a file of weights.', lower_bound=0)
_MERGE = flags.DEFINE_bool('merge', False, 'Write a run without adapters instead of a Hugging Face folder.')


def main(_):
  """Converts, and says what there is now."""
  import importlib

  import jax  # after the flags: --help needs no jax

  from configs import base
  from zhlm import devices
  from zhlm.convert import runs

  source, target = _FROM.value, _TO.value
  mesh = devices.make_mesh(base.get_config(mesh=_MESH.value).mesh)
  with jax.set_mesh(mesh):
    if runs.kind(source) == 'hub':
      config = importlib.import_module(f'configs.{_STAGE.value or runs.stage(source)}').get_config()
      config = runs.import_folder(source, target, config)
      print(f'{target}: a run of {config.stage}, with which other stages begin:')
      size = f'configs/{"ppo" if config.stage == "reward" else "sft"}.py:size={target}'
      print(f'  python -m launch.train --config={size} --config.init_from={target} --workdir=…')
    elif _MERGE.value:
      runs.merge_run(source, target, _NETWORK.value)
      print(f'{target}: a run without adapters')
    else:
      how = dict(dtype=_DTYPE.value, limit=int(_MAX_SHARD.value * 1e9))
      hf = runs.export_run(source, target, _NETWORK.value, **how)
      print(f'{target}: {hf["architectures"][0]}, {_DTYPE.value}')


if __name__ == '__main__':
  run(main)
