"""Our network and transformers' say the same: every architecture that is read, and those that are written."""

import pytest

from tests import hub

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
transformers.logging.set_verbosity_error()


def say(net, tokens):
  with torch.no_grad():
    return net(torch.tensor(tokens, dtype=torch.long)).logits.numpy()


@pytest.mark.parametrize('name', hub.CASES)
def test_an_imported_network_says_what_transformers_says(name, tmp_path):
  theirs = hub.build(name, seed=1)
  hub.save(theirs, name, tmp_path)
  net, params = hub.network(tmp_path)
  found = hub.logits(net, params, hub.tokens())
  assert hub.off(found, say(theirs, hub.tokens())) < 1e-4
