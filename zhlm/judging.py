"""Who scores an answer: the text of a reward as networks to open and rules to call, and answers as text."""

import jax
import numpy as np

from zhlm import checkpoint, model, rewards
from zhlm.data import chat
from zhlm.devices import local_rows, put_batch
from zhlm.errors import InputError


def parts(config):
  """({network: Part} of the reward's runs, [Part] of its rules). Raises InputError where there is none."""
  found = rewards.parse(config.rollout.reward)
  if not found:
    raise InputError(
      f'{config.stage} needs --config.rollout.reward=run:FOLDER of a reward model, rules, or a weighted '
      f'sum of both; the rules are {", ".join(rewards.names())}'
    )
  return networks('reward', found)


def networks(name, found):
  """({network: Part} of the runs among these parts, [Part] of the rules): name, name_2, name_3, …"""
  runs = [part for part in found if part.name == rewards.RUN]
  names = [name, *(f'{name}_{i}' for i in range(2, len(runs) + 1))]
  return dict(zip(names, runs, strict=False)), [part for part in found if part.name != rewards.RUN]


def texts(spm, answers_RN, count_R, stop):
  """What the answers say, a text each."""
  return [
    chat.decode(spm, [t for t in tokens[:count] if t != stop])
    for tokens, count in zip(answers_RN, count_R, strict=True)
  ]


def judged(rules, said, x, spm, stop):
  """The weighted sum of the rules for each answer, [R]: every host reads the answers on its own devices.

  said: what the user says in the prompts of this host's rows.
  """
  mesh, R = jax.sharding.get_mesh(), len(x['count'])
  if not rules:
    return np.zeros(R, np.float32)
  answers = texts(spm, local_rows(mesh, x['answers']), local_rows(mesh, x['count']), stop)
  return put_batch(mesh, {'score': rewards.scores(rules, said, answers)})['score']


def scorer(part):
  """The network of a run that scores answers, which may be of another size than the policy."""
  return model.without_adapters(model.make(checkpoint.read_config(part.options[0]), 'scalar'))
