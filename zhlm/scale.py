"""The scale of a reward model: mean and deviation of its scores of a policy's own answers.

Only differences of a reward are learnt, so its zero and unit are chance, and a price of KL means something
only where they are known: 0 and 1 over the answers of the policy that is to improve (Ziegler et al. 2019,
section 2.1). `scale.json` beside the weights holds the scale and all that it depends on, and is taken only
where that is the same; `evals/scale.py` measures it.
"""

import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from zhlm import disk, fingerprint, hosts, lora
from zhlm.data import manifest, mixture
from zhlm.errors import InputError

NAME = 'scale.json'
SAMPLING = ('prompt_tokens', 'new_tokens', 'temperature')  # of config.rollout


def of(scores_N):
  """(mean, deviation), float32 [2], of the scores of N answers."""
  return jnp.stack([scores_N.mean(), jnp.maximum(scores_N.std(), 1e-6)])


def depends(config, reward, policy):
  """What a scale depends on, as JSON: which weights score whose answers, drawn how, to which prompts."""
  folders = [manifest.read(folder) for folder in mixture.folders(config)]
  return {
    'reward': fingerprint.digest(lora.without(reward)),
    'policy': fingerprint.digest(lora.without(policy)),
    'prompts': [found['datasets']['ppo']['train']['sha256'] for found in folders],
    **{name: config.rollout[name] for name in SAMPLING},
  }


def write(folder, scale, on, **more):
  """Leaves a scale in a reward run's folder; on: what `depends` said; more: to read by eye."""
  mean, std = map(float, scale)
  disk.write_json(Path(folder) / NAME, {'mean': mean, 'std': std, **more, 'of': on})


def read(folder, config, reward, policy):
  """(scale, float32 [2] on all devices, or None; what there is to say of it). Raises InputError for a file
  that is broken, and where hosts do not read the same."""
  path = Path(folder) / NAME
  text = path.read_text('utf-8') if path.exists() else ''
  hosts.agree(zlib.crc32(text.encode()), f'{path} is not the same on all hosts')
  if not text:
    return None, f'there is no {path}'
  try:
    found = json.loads(text)
    scale, on = np.array([found['mean'], found['std']], np.float32), found['of']
  except (ValueError, LookupError, TypeError) as e:
    raise InputError(f'{path}: no scale of a reward model ({e}); remove it') from None
  now = depends(config, reward, policy)
  if other := [name for name, x in now.items() if on.get(name) != x]:
    return None, f'{path} is of another {", ".join(other)}'
  everywhere = NamedSharding(jax.sharding.get_mesh(), PartitionSpec())
  return jax.device_put(scale, everywhere), f'{path}: {scale[0]:.4g} ± {scale[1]:.4g}'
