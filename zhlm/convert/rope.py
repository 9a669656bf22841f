"""The rotation in a config.json, in transformers' two spellings, to our fields `rope_…`, and back.

`rope_T`, the context that the model was trained on, is also that of a plain rotation.
"""

import math

from zhlm.errors import InputError

FIELDS = ('rope_theta', 'rope_scaling', 'rope_parameters', 'partial_rotary_factor')
_KEYS = (
  *('factor', 'alpha', 'original_max_position_embeddings', 'low_freq_factor', 'high_freq_factor'),
  *('attention_factor', 'beta_fast', 'beta_slow', 'mscale', 'mscale_all_dim', 'truncate'),
)


_NEEDED = {'linear': ('factor',), 'llama3': ('factor', 'low_freq_factor', 'high_freq_factor')}


def read(kind, hf, full):
  """(our fields, [what a user should know]) of a config.json. full: with defaults for what it lacks.

  Raises InputError, naming what is unknown, is missing, cannot be expressed, or is said twice and differs.
  """

  def refuse(why):
    raise InputError(f'config.json ({kind}): {why}')

  new, old = hf.get('rope_parameters') or {}, hf.get('rope_scaling') or {}
  old |= {k: hf[k] for k in ('rope_theta', 'partial_rotary_factor') if hf.get(k) is not None}
  for x in (new, old):
    if 'type' in x:
      x.setdefault('rope_type', x.pop('type'))
  if clash := [
    k for k in sorted(new.keys() & old.keys()) if new[k] != old[k] and None not in (new[k], old[k])
  ]:
    refuse(
      f'{", ".join(clash)}: rope_parameters says {new[clash[0]]!r}, the older spelling {old[clash[0]]!r}'
    )
  given = {k: v for k, v in {**new, **old}.items() if v is not None}
  theta = given.pop('rope_theta', full['rope_theta'])
  fraction = given.pop('partial_rotary_factor', full['partial_rotary_factor'])
  rope_type, T, notes = given.pop('rope_type', 'default'), full['max_position_embeddings'], []
  if strange := sorted(given.keys() - {*_KEYS}):
    refuse(f'rope_parameters: zhlm does not know {", ".join(strange)}')
  if rope_type in _NEEDED and (lost := [k for k in _NEEDED[rope_type] if k not in given]):
    refuse(f'rope_parameters: {rope_type} needs {", ".join(lost)}')
  ours = {'rope_theta': float(theta), 'rope_fraction': float(fraction), 'rope_scaling': '', 'rope_T': T}
  ours |= dict(
    rope_factor=1.0, rope_low=1.0, rope_high=4.0, rope_slow=1.0, rope_fast=32.0, rope_attention=0.0
  )
  if rope_type in ('linear', 'llama3', 'yarn'):
    trained = given.get('original_max_position_embeddings', T)
    factor = float(given.get('factor') or T / trained)
    ours |= {'rope_scaling': rope_type, 'rope_factor': factor, 'rope_T': trained}
    if rope_type == 'linear':
      ours['rope_T'] = round(T / factor)
    elif rope_type == 'llama3':
      ours |= {'rope_low': float(given['low_freq_factor']), 'rope_high': float(given['high_freq_factor'])}
    else:
      slow, fast = given.get('beta_slow') or 1, given.get('beta_fast') or 32
      ours |= {'rope_slow': float(slow), 'rope_fast': float(fast)}
      ours['rope_attention'] = _yarn_attention(factor, given)
      if not given.get('truncate', True):
        refuse('rope_parameters: truncate=False cannot be expressed')
  elif rope_type == 'dynamic' and kind == 'hunyuan_v1_dense' and given.get('alpha'):
    ours |= {'rope_scaling': 'ntk', 'rope_factor': float(given['alpha'])}  # a fixed base, despite its name
  elif rope_type == 'dynamic':
    notes.append(
      f'dynamic NTK scaling: it changes nothing up to {T:,} tokens (max_position_embeddings); longer '
      f'texts are not rescaled here'
    )
  elif rope_type != 'default':
    refuse(f'rope_type={rope_type!r} cannot be expressed, only default, linear, llama3, yarn, dynamic')
  return ours, notes


def _yarn_attention(factor, given):
  """The factor on cosines and sines (Peng et al. 2023, eq. 22) as transformers finds it; 0: our default."""

  def scale(m):
    return 0.1 * m * math.log(factor) + 1 if factor > 1 else 1.0

  if given.get('attention_factor') is not None:
    return float(given['attention_factor'])
  if given.get('mscale') and given.get('mscale_all_dim'):
    return scale(given['mscale']) / scale(given['mscale_all_dim'])
  return 0.0


def write(model, T):
  """Both spellings, and max_position_embeddings: T, where the model does not say what it was trained on.
  Static NTK is a plain rotation of another base."""
  kind, factor, trained = model['rope_scaling'], model['rope_factor'], model['rope_T'] or T
  theta, rope = model['rope_theta'], {}
  if kind == 'ntk':
    theta *= factor ** (model['K'] / (model['K'] - 2))
  elif kind:
    rope = {'rope_type': kind, 'factor': factor}
    trained = round(trained * factor)
  if kind in ('llama3', 'yarn'):
    rope['original_max_position_embeddings'] = model['rope_T']
  if kind == 'llama3':
    rope |= {'low_freq_factor': model['rope_low'], 'high_freq_factor': model['rope_high']}
  if kind == 'yarn':
    attention = model['rope_attention'] or 0.1 * math.log(factor) + 1
    rope |= {
      'beta_slow': model['rope_slow'],
      'beta_fast': model['rope_fast'],
      'attention_factor': attention,
    }
  new = {'rope_type': 'default', **rope, 'rope_theta': theta}
  old = {'rope_theta': theta, 'rope_scaling': rope or None}
  return {'max_position_embeddings': trained, 'rope_parameters': new, **old}
