"""Sizes of the network and meshes of devices, by name; `base.get_config(size, mesh)` picks one of each.

Letters are axes: D model, F feed-forward (of one expert, where there are E), N layers, H heads, G key/value
heads, K head size, V vocabulary, T tokens in a row. What a size does not say is configs/base.py's default.
README.md has the numbers of parameters, which a test counts. Imports neither jax nor zhlm.
"""

import difflib
import json
import os

_LARGE = dict(tied=False, rope_theta=1e6)
SIZES = {
  'tiny': dict(D=32, F=64, N=2, H=8, G=8, K=4, V=352, T=64),  # tests: heads divide any 8-device mesh
  'demo': dict(D=256, F=640, N=4, H=4, G=4, K=64, V=6_400, T=128),  # a laptop's quarter hour
  '26m': dict(D=512, F=1_408, N=8, H=8, G=2, K=64, V=6_400, T=512),
  '64m': dict(D=768, F=2_432, N=8, H=8, G=4, K=96, V=6_400, T=1_024),  # minimind-3's shape
  '110m': dict(D=768, F=2_048, N=12, H=12, G=12, K=64, V=32_000, T=1_024),  # GPT-2 small's
  '0.6b': dict(D=1_024, F=3_072, N=28, H=16, G=8, K=128, V=151_936, T=4_096, rope_theta=1e6),  # Qwen3-0.6B
  '1.7b': dict(D=2_048, F=6_144, N=28, H=16, G=8, K=128, V=151_936, T=4_096, rope_theta=1e6),  # Qwen3-1.7B
  '7b': dict(D=4_096, F=11_008, N=32, H=32, G=32, K=128, V=64_000, T=4_096, tied=False),  # Llama-2, Yi's V
  # Qwen3-30B-A3B. Training cuts what an expert takes off at a quarter more than its share; 0 cuts nothing.
  '30b-a3b': dict(D=2_048, F=768, N=48, H=32, G=4, K=128, V=151_936, T=4_096, E=128, capacity=1.25)
  | _LARGE,
}

# Axes that are not named are 1; one may be -1, all that is left. Names are slices: v4-32 is 16 chips,
# v5p-256 is 128 (two cores a chip).
MESHES = {
  'one': dict(),  # one device: a laptop's CPU, one GPU
  'all': dict(data=-1),  # every device, the model copied to each
  'fsdp': dict(fsdp=-1),  # every device, the model cut over them
  'gpu_8': dict(fsdp=8),  # one host of eight GPUs
  'v4_32': dict(fsdp=16),
  'v5e_16': dict(fsdp=16),
  'v5p_256': dict(data=4, fsdp=32),  # beyond fsdp=32 slices of D are too thin for XLA to gather
  'v5p_256_experts': dict(data=2, fsdp=8, expert=8),  # 16 of 128 experts a device
}


def choose(kind, name, choices):
  """choices[name]; raises ValueError that lists the choices, the nearest first."""
  if name not in choices:
    near = difflib.get_close_matches(name, choices, 1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    raise ValueError(f'unknown {kind} {name!r}.{hint} Choose from: {", ".join(choices)}')
  return choices[name]


def parse(arg, **defaults):
  """'size=demo,mesh=one' -> dict over `defaults`; raises ValueError for a key that is not there."""
  options = dict(defaults)
  for part in filter(None, (arg or '').split(',')):
    key, _, value = part.partition('=')
    choose('config option', key, options)
    options[key] = value
  return options


def shape_of(size):
  """The fields of the model, and T, of a size: a name of SIZES, or the folder of a run, to go on with its
  model (`size=runs/qwen3`, say, which launch.convert wrote)."""
  about = os.path.join(size, 'config.json')
  if size in SIZES or not os.path.isfile(about):
    return dict(choose('size', size, SIZES))
  with open(about, encoding='utf-8') as file:
    found = json.load(file)
  if 'config' not in found:
    raise ValueError(
      f'size={size}: this is not the folder of a run; python -m launch.convert makes one of it'
    )
  model, T = found['config']['model'], found['config']['batch']['T']
  return {**model, 'lora_on': tuple(model['lora_on']), 'T': T}
