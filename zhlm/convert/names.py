"""Which tensor of a Hugging Face folder holds which of ours, as a table, and how their axes lie.

An entry says: our axes, their name, their axes. `'NDHK', '…{N}.self_attn.q_proj.weight', 'HK D'` is
torch's Linear [out, in], where the heads' axes are one; a letter in braces numbers their tensors.
Which file a tensor is in, and what type it has, is not known here.
"""

import itertools
import math
from typing import NamedTuple

_L = 'model.layers.{N}.'


class Entry(NamedTuple):
  """One of our arrays: its axes, their tensors' name, axes, and (which, of how many) equal parts of the
  first axis, where they keep several of ours in one tensor."""

  ours: str
  name: str
  theirs: str
  part: tuple = (0, 1)

  def numbers(self):
    """The letters that number their tensors: 'N', 'NE' or ''."""
    return ''.join(letter for letter in self.ours if f'{{{letter}}}' in self.name)

  def axes(self, sizes):
    """Their tensor's shape; sizes: {letter: size}."""
    shape = [math.prod(sizes[letter] for letter in axis) for axis in self.theirs.split()]
    return (shape[0] * self.part[1], *shape[1:])

  def tensors(self, sizes, cut=None):
    """Yields ({letter: number}, name) of their tensors; cut: {letter: range}, only these numbers."""
    letters = self.numbers()
    cut = {letter: range(sizes[letter]) for letter in letters} if cut is None else cut
    for numbers in itertools.product(*(cut[letter] for letter in letters)):
      numbered = dict(zip(letters, numbers, strict=True))
      yield numbered, self.name.format(**numbered)


def _linear(name, ours, theirs):
  return Entry(f'N{ours}', f'{_L}{name}.weight', theirs)


def _bias(name, letters):
  return Entry(f'N{letters}', f'{_L}{name}.bias', letters)


def _norm(name, letter='D'):
  return Entry(f'N{letter}', f'{_L}{name}.weight', letter)


# By path in our tree; what a family names otherwise stands in families.py.
DENSE = {
  'embed': Entry('VD', 'model.embed_tokens.weight', 'V D'),
  'layers/norm_attention/w': _norm('input_layernorm'),
  'layers/q/w': _linear('self_attn.q_proj', 'DHK', 'HK D'),
  'layers/q/b': _bias('self_attn.q_proj', 'HK'),
  'layers/k/w': _linear('self_attn.k_proj', 'DGK', 'GK D'),
  'layers/k/b': _bias('self_attn.k_proj', 'GK'),
  'layers/v/w': _linear('self_attn.v_proj', 'DGK', 'GK D'),
  'layers/v/b': _bias('self_attn.v_proj', 'GK'),
  'layers/norm_q/w': _norm('self_attn.q_norm', 'K'),
  'layers/norm_k/w': _norm('self_attn.k_norm', 'K'),
  'layers/o/w': _linear('self_attn.o_proj', 'HKD', 'D HK'),
  'layers/o/b': _bias('self_attn.o_proj', 'D'),
  'layers/norm_mlp/w': _norm('post_attention_layernorm'),
  'layers/gate/w': _linear('mlp.gate_proj', 'DF', 'F D'),
  'layers/up/w': _linear('mlp.up_proj', 'DF', 'F D'),
  'layers/down/w': _linear('mlp.down_proj', 'FD', 'D F'),
  'norm/w': Entry('D', 'model.norm.weight', 'D'),
  'head': Entry('DV', 'lm_head.weight', 'V D'),
  'score': Entry('D', 'score.weight', '1 D'),
}
EXPERTS = {  # Qwen3-MoE: `gate` is their router, and a tensor holds one expert
  'layers/experts/router/w': _linear('mlp.gate', 'DE', 'E D'),
  'layers/experts/gate/w': Entry('NEDF', f'{_L}mlp.experts.{{E}}.gate_proj.weight', 'F D'),
  'layers/experts/up/w': Entry('NEDF', f'{_L}mlp.experts.{{E}}.up_proj.weight', 'F D'),
  'layers/experts/down/w': Entry('NEFD', f'{_L}mlp.experts.{{E}}.down_proj.weight', 'D F'),
}
GLM = {  # one tensor for gate and up
  'layers/gate/w': Entry('NDF', f'{_L}mlp.gate_up_proj.weight', 'F D', (0, 2)),
  'layers/up/w': Entry('NDF', f'{_L}mlp.gate_up_proj.weight', 'F D', (1, 2)),
}
SANDWICH = {
  'layers/norm_attention_after/w': _norm('post_self_attn_layernorm'),
  'layers/norm_mlp_after/w': _norm('post_mlp_layernorm'),
}
HUNYUAN = {
  'layers/norm_q/w': _norm('self_attn.query_layernorm', 'K'),
  'layers/norm_k/w': _norm('self_attn.key_layernorm', 'K'),
}


def sizes(model):
  """{letter: size} of a model's fields (a mapping); '1' is one."""
  return {letter: model[letter] for letter in 'VDFNHGKE'} | {'1': 1}


def present(model, table, scalar=False):
  """{path: Entry} of the arrays that a model of these fields has, of those that a folder can hold."""

  def has(path):
    if path == 'head':
      return not (model['tied'] or scalar)
    if path == 'score':
      return scalar
    if path.endswith('/b'):
      return model['o_bias'] if path == 'layers/o/b' else model['qkv_bias']
    if path in ('layers/norm_q/w', 'layers/norm_k/w'):
      return bool(model['qk_norm'])
    if path.endswith('_after/w'):
      return model['sandwich']
    if path in ('layers/gate/w', 'layers/up/w', 'layers/down/w'):
      return not model['E']
    return 'experts' not in path or bool(model['E'])

  return {path: entry for path, entry in table.items() if has(path)}
