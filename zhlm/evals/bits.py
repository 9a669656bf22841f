"""Bits per character and per byte of documents never trained on, beside n-grams of the same text."""

import math

import jax
import jax.numpy as jnp

from zhlm import model
from zhlm.data import batches as data
from zhlm.evals import ngram

ROWS = 32  # rows of batch.T tokens at once


def nats(run, params):
  """Σ -log p over all tokens of the test documents, their ends included."""
  net = model.make(run.config)
  rows = data.packed(run.config, 'pretrain', 'test', data.concat)

  @jax.jit
  def total(batch):
    read = ('tokens', 'positions', 'segments')
    (logp_BT, _), _ = net.apply({'params': params}, *(batch[k] for k in read), targets_BT=batch['targets'])
    return -jnp.sum(logp_BT * batch['weights'])

  batches = data.stream(rows, run.config, 0, 'test', ROWS)
  return math.fsum(float(total(batch)) for batch, *_ in batches)


def evaluate(run):
  texts = {split: [x['text'] for x in run.texts('documents', split)] for split in ('train', 'test')}
  characters = sum(map(len, texts['test']))
  size = sum(len(text.encode()) for text in texts['test'])
  bits = nats(run, run.load('policy')) / math.log(2)
  yield 'bits_per_character', bits / characters
  yield 'bits_per_byte', bits / size
  for order, (character, byte) in ngram.bits_per_character(texts['train'], texts['test']).items():
    yield f'bits_per_character_{order}gram', character
    yield f'bits_per_byte_{order}gram', byte
  yield 'test_characters', characters
