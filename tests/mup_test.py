"""muP: the rates tuned at one width are right at another (Yang et al. 2022, Tensor Programs V).

The coordinate check of their appendix D.1: after a few steps of Adam, how far a coordinate of the last
layer's stream and of the logits has moved, at three widths; and the control, the same without muP.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from zhlm import checkpoint, losses, model, optim, train
from zhlm.convert import write
from zhlm.errors import InputError

BASE = 32
WIDTHS = {32: (4, 8), 64: (4, 16), 256: (8, 32)}  # D: (H, K); both grow


def config(D, mup_D, name='adamw'):
  c = tiny.plain('pretrain')
  H, K = WIDTHS[D]
  c.model.update(
    {'D': D, 'F': 2 * D, 'H': H, 'G': H, 'K': K, 'V': 64, 'N': 2, 'qk_norm': '', 'mup_D': mup_D}
  )
  c.model.embed_scale = 50.0  # a stream of size 1 from the start
  c.optimizer.update(
    {'name': name, 'learning_rate': 2e-3, 'warmup_steps': 0, 'decay': 'constant', 'clip': 0.0}
  )
  return c


def moved(c, steps=4):
  """Mean |change| of a coordinate after a few steps: (of the stream after the last norm, of the logits)."""
  net, tx = model.make(c), optim.make(c)
  tokens_BT = jnp.array(np.random.default_rng(0).integers(0, c.model.V, (8, 16)))
  batch = {'tokens': tokens_BT, 'targets': jnp.roll(tokens_BT, -1, 1), 'weights': jnp.ones((8, 16))}

  def read(params):
    last = {'capture_intermediates': lambda m, _: m.name == 'norm', 'mutable': ['intermediates']}
    (logits_BTV, _), seen = net.apply({'params': params}, tokens_BT, **last)
    return seen['intermediates']['norm']['__call__'][0], logits_BTV

  def loss(params, batch, _):
    logp_BT, _ = losses.log_probs(read(params)[1], batch['targets'])
    return losses.total(-logp_BT, batch['weights']), {}

  step = train.make_step(loss, tx, 1, jax.random.key(0))

  @jax.jit
  def run(key):
    params = checkpoint.unbox(net.init(key, tokens_BT)['params'])
    state = train.State(jnp.int32(0), params, tx.init(params))
    state, _ = jax.lax.scan(lambda state, _: (step(state, batch)[0], None), state, length=steps)
    both = jax.vmap(read)(jax.tree.map(lambda *x: jnp.stack(x), params, state.params))
    return [jnp.abs(x[1] - x[0]).mean() for x in both]

  return np.array(run(jax.random.key(1)))


def test_a_step_moves_every_width_alike_and_without_mup_it_does_not():
  by_width = np.array([moved(config(D, mup_D=BASE)) for D in WIDTHS])
  assert by_width.min() > 0.01
  assert (by_width.max(0) < 2 * by_width.min(0)).all()
  without = moved(config(max(WIDTHS), mup_D=0))
  base = by_width[0]  # where muP is off, but for the scale of attention
  assert without[0] > 1.8 * base[0] and without[1] > 5 * base[1]


def test_only_what_sums_over_the_width_is_slowed():
  """At twice the width, by half; what decays decays as fast as before."""
  name = {'w': jnp.ones(2)}
  layers = {
    'norm_q': name,
    'q': {'w': jnp.ones(2), 'b': jnp.ones(2), 'lora_a': jnp.ones(2), 'lora_b': jnp.ones(2)},
  }
  layers |= {'down': name, 'experts': {'router': name, 'up': name}}
  params = {'embed': jnp.ones(2), 'head': jnp.ones(2), 'score': jnp.ones(2), 'layers': layers}
  for optimizer in ('adamw', 'lion', 'schedule_free'):
    c = config(64, BASE, optimizer)
    c.optimizer.update({'learning_rate': 1.0, 'weight_decay': 0.0})
    tx = optim.make(c)
    updates, _ = tx.update({'policy': params}, tx.init({'policy': params}), {'policy': params})
    half = {
      jax.tree_util.keystr(path[1:]).replace("']['", '/').strip("[']")
      for path, u in jax.tree_util.tree_leaves_with_path(updates)
      if abs(u[0] + 0.5) < 1e-5
    }
    assert half == {
      'score',
      'layers/q/w',
      'layers/q/lora_a',
      'layers/down/w',
      'layers/experts/router/w',
      'layers/experts/up/w',
    }, optimizer
    assert all(abs(u[0] + 0.5) < 1e-5 or abs(u[0] + 1) < 1e-5 for u in jax.tree.leaves(updates))
    c.optimizer.weight_decay = 0.1
    tx = optim.make(c)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    assert updates['layers']['q']['w'][0] == pytest.approx(-0.1, rel=1e-5)


@pytest.mark.parametrize('name', ['muon', 'adafactor'])
def test_an_optimizer_without_a_rule_is_refused(name):
  with pytest.raises(InputError, match=f"mup_D=32 with optimizer.name='{name}': .*choose adamw, adamw_tf, lion"):
    optim.make(config(64, BASE, name))


def test_an_exported_network_keeps_the_scales_of_mup():
  """Other programs know neither: they are folded into the head and into the queries' norm."""
  model = config(64, BASE).model.to_dict() | {'qk_norm': 'before'}
  _, factors, _ = write.fold(model)
  assert factors['head'] == BASE / 64
  assert factors['layers/norm_q/w'] == pytest.approx(8 / 16 * 16**0.5)
