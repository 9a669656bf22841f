"""Products are counted as the machine does them: loops turned, recomputation included."""

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from zhlm import metrics, stages
from zhlm.plan import flops, scaling


def test_loops_branches_and_recomputation_count():
  x = jax.ShapeDtypeStruct((4, 8), 'float32')
  w = jax.ShapeDtypeStruct((3, 8, 8), 'float32')
  one = 2 * 4 * 8 * 8

  def layers(x, w, remat=False):
    layer = lambda x, w: (jnp.tanh(x @ w), None)  # noqa: E731
    return jax.lax.scan(jax.checkpoint(layer) if remat else layer, x, w)[0].sum()

  assert flops.count(layers, x, w) == 3 * one
  grad = lambda remat: flops.count(jax.grad(lambda x, w: layers(x, w, remat), (0, 1)), x, w)  # noqa: E731
  assert grad(False) == 9 * one and grad(True) == 12 * one

  def until(x):
    return jax.lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] @ s[1].T @ s[1]), (0, x))

  assert flops.count(until, x) == 5 * 2 * (2 * 4 * 8 * 4)
  either = lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w[0] @ w[1], lambda: x @ w[0])  # noqa: E731
  assert flops.count(either, x, w) == 2 * one


def test_products_of_a_program_without_loops_are_those_that_xla_counts():
  x = jax.ShapeDtypeStruct((64, 128), 'float32')
  f = lambda x: (x @ x.T) @ x  # noqa: E731
  xla = jax.jit(f).lower(x).compile().cost_analysis()['flops']
  assert flops.count(f, x) == pytest.approx(xla, rel=0.01)


@pytest.mark.parametrize(
  'stage, fields',
  [
    ('pretrain', {}),
    ('pretrain', dict(model__remat='full')),
    ('pretrain', dict(model__E=4, model__top=2, model__capacity=1.0)),
    ('pretrain', dict(model__E=4, model__top=2, model__remat='full')),
    ('reward', {}),
  ],
)
def test_flops_on_paper_are_those_of_the_traced_loss(stage, fields):
  """The gradient of each stage's loss, traced, against `6 a weight` and what is made again."""
  config = tiny.config(stage, '/nowhere', **fields)
  made = stages.make(config)
  params = jax.eval_shape(made.init, jax.random.key(0))
  params = jax.tree.map(lambda x: x.value, params, is_leaf=lambda x: hasattr(x, 'names'))
  key = jax.eval_shape(lambda: jax.random.key(0))
  grad = jax.grad(made.loss, has_aux=True)
  traced = flops.count(grad, params, made.shapes(), key)
  head, tokens, T = 'lm' if stage == 'pretrain' else 'scalar', made.shapes()['tokens'], config.batch.T
  c = config.model
  again = scaling.executed(config, T, head) - (
    2.0 * c.V * c.D if head == 'lm' else 0.0
  )  # in one piece here
  assert traced == pytest.approx(tokens.size * again, rel=0.06)
  if c.remat == 'none' and c.capacity == 1.0:
    assert traced == pytest.approx(tokens.size * metrics.flops_per_token(c, T, head), rel=0.06)
