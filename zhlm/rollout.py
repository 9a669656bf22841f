"""Prompts to experience: complete, score, and write down what every frozen network says of each token.

Everything is indexed by the token that is predicted: column t of a batch reads tokens[:, :t+1] and speaks
of targets[:, t]. Rows are right-padded, so positions are plain and padding is never seen.
"""

import jax
import jax.numpy as jnp

from zhlm import generate
from zhlm.sharding import constrain


def join(prompts_BP, lengths_B, answers_BN, count_B):
  """Prompt and answer without a gap: [B, P + N], padded with 0."""
  B, N = answers_BN.shape
  tokens_BT = jnp.pad(prompts_BP, ((0, 0), (0, N)))
  inside_BP = jnp.arange(tokens_BT.shape[1]) < lengths_B[:, None]
  tokens_BT = jnp.where(inside_BP, tokens_BT, 0)
  columns_BN = jnp.where(jnp.arange(N) < count_B[:, None], lengths_B[:, None] + jnp.arange(N), -1)
  one_hot = columns_BN[:, :, None] == jnp.arange(tokens_BT.shape[1])
  return tokens_BT + (one_hot * answers_BN[:, :, None]).sum(1)


def reads(net, params, tokens_BT, targets_BT, temperature, columns_BW=None):
  """(log π of the targets, entropy), [B, T] float32, by the same graph as training's forward. columns_BW:
  where alone they are wanted, as `window`; 0 elsewhere."""
  how = dict(targets_BT=targets_BT, temperature=temperature, columns_BW=columns_BW)
  return net.apply({'params': params}, tokens_BT, **how)[0]


def score(net, params, tokens_BT, lengths_B):
  """The scalar head at each row's last real token, [B]: how a reward model reads an answer."""
  values_BT, _ = net.apply({'params': params}, tokens_BT)
  return jnp.take_along_axis(values_BT, jnp.maximum(lengths_B - 1, 0)[:, None], 1)[:, 0]


def answer_mask(T, lengths_B, count_B):
  """One where column t predicts a token of the answer, [B, T]."""
  t = jnp.arange(T)
  first_B1 = lengths_B[:, None] - 1
  return ((t >= first_B1) & (t < first_B1 + count_B[:, None])).astype(jnp.float32)


def window(mask_BT, P):
  """The columns of an answer as long as it may be, [B, T - P]; P: columns of the prompts."""
  return jnp.argmax(mask_BT > 0, 1)[:, None] + jnp.arange(mask_BT.shape[1] - P)


def narrow(x, P, widths):
  """(which, [x, …]): rows with columns for a part of the longest answer, up to the whole, and the number of
  the first that holds all answers of x. The parts are halves, a quarter, … (`widths` in all), not below 8.

  x: {name: array}, of which those of [B, T] are cut. Weights that are cut off stand in the last column,
  which predicts nothing, so that a sum over them stays what it was.
  """
  T = x['tokens'].shape[1]
  sizes = sorted({min(T - P, max(8, -(-(T - P) // 2**i))) for i in range(widths)})

  def cut(name, y, end):
    if getattr(y, 'ndim', 0) != 2 or y.shape[1] != T:
      return y
    return y[:, :end].at[:, -1].add(y[:, end:].sum(1)) if name == 'weights' else y[:, :end]

  which = (x['mask'].sum(1).max() > jnp.array(sizes)).sum()
  return which, [{name: cut(name, y, P + size) for name, y in x.items()} for size in sizes]


def order(mask_BT, parts):
  """Numbers of the rows, [B], such that a part, every `parts`-th of them, has answers of like length."""
  return jnp.argsort(mask_BT.sum(1)).reshape(parts, -1).T.reshape(-1)


def by_length(read, x, *, P, widths, parts):
  """read(x), a function of the rows of x, made part by part of rows of like length, each as `narrow` as
  it can be. What it returns is of [B] or [B, T], the latter 0 where it was cut off."""
  T, rows = x['tokens'].shape[1], order(x['mask'], parts)

  def split(y):
    return y[rows].reshape(-1, parts, *y.shape[1:]).swapaxes(0, 1)

  def filled(y):
    return jnp.pad(y, ((0, 0), (0, T - y.shape[1]))) if y.ndim == 2 else y

  def part(x):
    which, versions = narrow(x, P, widths)
    return jax.lax.switch(which, [lambda x=x: jax.tree.map(filled, read(x)) for x in versions])

  def joined(y):
    y = y.swapaxes(0, 1).reshape(-1, *y.shape[2:])[jnp.argsort(rows)]
    return constrain(y, 'B' + '_' * (y.ndim - 1))

  return jax.tree.map(joined, jax.lax.map(part, jax.tree.map(split, x)))


def complete(
  nets,
  networks,
  prompts_BP,
  lengths_B,
  key,
  *,
  new,
  stop,
  temperature,
  player='policy',
  scorers=(),
  widths=1,
  parts=1,
):
  """Answers every prompt with the network `player` and reads the answers with 'reference' and `scorers`.

  nets, networks: modules and weights by name. widths, parts: as of `by_length`. Returns arrays of [B, T],
  T = P + new columns, of which the last predicts nothing (tokens, targets; logp, logp_ref, entropy: 0
  outside the answer; mask: the answer's; window: that of an answer of all `new`) and of [B] (count: tokens
  of the answer; ended; scores: raw, {scorer: [B]}), and `answers` [B, new].
  """
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(prompts_BP.shape[0]))
  answers_BN, count_B = generate.sample(
    nets[player], networks[player], prompts_BP, lengths_B, keys, new=new, stop=stop, temperature=temperature
  )
  tokens_BT = join(prompts_BP, lengths_B, answers_BN, count_B)
  total_B = lengths_B + count_B
  ended_B = jnp.take_along_axis(tokens_BT, (total_B - 1)[:, None], 1)[:, 0] == stop
  P, T = prompts_BP.shape[1], tokens_BT.shape[1]
  targets_BT = jnp.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)))
  x = {'tokens': tokens_BT, 'targets': targets_BT, 'mask': answer_mask(T, lengths_B, count_B)}

  def read(x):
    columns_BW = window(x['mask'], P)

    def of(name):
      where = x['tokens'], x['targets'], temperature, columns_BW
      return reads(nets[name], networks[name], *where)

    logp_BT, entropy_BT = of(player)
    scores = {name: score(nets[name], networks[name], x['tokens'], x['lengths']) for name in scorers}
    told = {'logp': logp_BT, 'logp_ref': of('reference')[0], 'entropy': entropy_BT}
    return {'scores': scores, **{name: y_BT * x['mask'] for name, y_BT in told.items()}}

  return {
    **x,
    **by_length(read, {**x, 'lengths': total_B}, P=P, widths=widths, parts=parts),
    'window': answer_mask(T, lengths_B, jnp.full_like(count_B, new)),
    'count': count_B,
    'ended': ended_B,
    'answers': constrain(answers_BN, 'B_'),
  }
