"""Writes the golden folders: each architecture as transformers saves it, and the logits that it then has.

  python -m tests.goldens.make

Needs requirements-parity.txt. Weights are random and bfloat16; logits are of the same weights in float32.
tests/convert_golden_test.py reads what this has written, where transformers is not installed.
"""

from pathlib import Path

import torch
from safetensors.numpy import save_file

from tests import hub

HERE = Path(__file__).parent


def main():
  """Writes a folder a case, and all logits as one file."""
  expected = {}
  for name in hub.CASES:
    net, tokens = hub.build(name), torch.tensor(hub.tokens(), dtype=torch.long)
    with torch.no_grad():
      for x in net.parameters():  # and not the buffers: the angles' precision stays
        x.copy_(x.to(torch.bfloat16))
      expected[name] = net(tokens).logits.numpy()
    hub.save(net.to(torch.bfloat16), name, HERE / name)
    (HERE / name / 'generation_config.json').unlink()
  save_file(expected, HERE / 'logits.safetensors')


if __name__ == '__main__':
  main()
