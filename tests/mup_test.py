"""muP: the rates tuned at one width are right at another (Yang et al. 2022, Tensor Programs V).

The coordinate check of their appendix D.1: after a few steps of Adam, how far a coordinate of the residual
stream and of the logits has moved, by width; and the control, the same without muP.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, losses, model, optim, stages, train
from zhlm.errors import InputError

BASE = 32
WIDTHS = {32: (4, 8), 64: (4, 16), 128: (8, 16), 256: (8, 32)}  # D: (H, K); both grow


def config(D, mup_D, tied=True, name='adamw'):
  c = tiny.plain('pretrain')
  H, K = WIDTHS[D]
  c.model.update({'D': D, 'F': 2 * D, 'H': H, 'G': H, 'K': K, 'V': 64, 'mup_D': mup_D, 'tied': tied})
  c.batch.T = 16
  c.optimizer.update({'name': name, 'learning_rate': 2e-3, 'warmup_steps': 0, 'decay': 'constant'})
  return c


def moved(c, steps=4):
  """Mean |change| of a coordinate after a few steps: (of the residual stream's end, of the logits)."""
  net, tx = model.make(c), optim.make(c)
  rng = np.random.default_rng(0)
  tokens_BT = jnp.array(rng.integers(0, c.model.V, (8, c.batch.T)))
  batch = {'tokens': tokens_BT, 'targets': jnp.roll(tokens_BT, -1, 1), 'weights': jnp.ones((8, c.batch.T))}

  def loss(params, batch, _):
    (logp_BT, _), _ = net.apply({'params': params}, batch['tokens'], targets_BT=batch['targets'])
    return losses.total(-logp_BT, batch['weights']), {}

  def read(params):
    """(residual stream before the last norm, logits)"""
    ((logits_BTV, _), seen) = net.apply(
      {'params': params}, tokens_BT, capture_intermediates=lambda m, _: m.name == 'layers', mutable=['intermediates']
    )
    return seen['intermediates']['layers']['__call__'][0][0][0], logits_BTV

  step = train.make_step(loss, tx, 1, jax.random.key(0))

  @jax.jit
  def run(key):
    params = checkpoint.unbox(net.init(key, tokens_BT)['params'])
    state = train.State(jnp.int32(0), params, tx.init(params))
    state, _ = jax.lax.scan(lambda state, _: (step(state, batch)[0], None), state, length=steps)
    return [jnp.abs(b - a).mean() for a, b in zip(read(params), read(state.params), strict=True)]

  return np.array(run(jax.random.key(1)))

if __name__=='__main__':
  import time
  for tied in (True, False):
   for mup in (BASE,0):
    for D in WIDTHS:
      t=time.process_time(); print(tied,mup,D,moved(config(D,mup,tied)),time.process_time()-t, flush=True)
