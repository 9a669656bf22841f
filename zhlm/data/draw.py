"""Draws that depend on a key alone: the same on every machine, in every run, whatever came before."""

import hashlib


def fraction(*key):
  """A number in [0, 1) that depends on the key alone."""
  text = '/'.join(map(str, key)).encode('utf-8', 'surrogatepass')
  return int.from_bytes(hashlib.sha256(text).digest()[:8], 'big') / 2**64


def split_of(key, seed, test, validation):
  """'test', 'validation' or 'train' by hash of the key: data that grows moves nothing across."""
  place = fraction('split', seed, key)
  return 'test' if place < test else 'validation' if place < test + validation else 'train'


def pick(choices, *key):
  """One of the choices."""
  return choices[int(fraction(*key) * len(choices))]
