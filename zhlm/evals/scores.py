"""What a reward says of answers, by the text of `config.rollout.reward`: rules, runs, or a weighted sum.

As in training (`zhlm/online.py`) a run speaks in deviations from the mean over the answers of a reference;
which answers these are is said by whoever asks. A rule speaks in its own unit.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from zhlm import checkpoint, evals, model, rewards, rollout
from zhlm.data import chat
from zhlm.errors import InputError
from zhlm.evals.answers import ROWS, pad, text


@functools.partial(jax.jit, static_argnames='net')
def _read(net, params, tokens_BT, lengths_B):
  return rollout.score(net, params, tokens_BT, lengths_B)


class Reward(NamedTuple):
  """An opened text of rewards: its rules, and (part, network, weights) of each of its runs."""

  rules: list
  runs: list

  def raw(self, run, asked, answers):
    """[1 + runs, N] of N answers (ids, whether it ended) to N prompts (messages): the rules' weighted sum,
    then what each run says."""
    said = [messages[-1]['content'] for messages in asked]
    found = [rewards.scores(self.rules, said, [text(run, ids) for ids, _ in answers])]
    stop = chat.end_of_turn(run.tokenizer)
    rows = [
      chat.encode_prompt(run.tokenizer, messages) + ids + [stop] * ended
      for messages, (ids, ended) in zip(asked, answers, strict=True)
    ]
    T = -(-max(map(len, rows)) // 16) * 16
    for _, net, params in self.runs:
      parts = [pad(rows[i : i + ROWS], ROWS, T) for i in range(0, len(rows), ROWS)]
      scores = [jax.device_get(_read(net, params, *part)) for part in parts]
      found.append(np.concatenate(scores)[: len(rows)])
    return np.stack(found)

  def total(self, raw_PN, reference_PN):
    """The weighted sum, [N] float32: each run in deviations from the mean of `reference_PN` (`raw` of the
    answers that set the scale)."""
    total_N = raw_PN[0].astype(np.float64)
    for (part, _, _), raw_N, of_N in zip(self.runs, raw_PN[1:], reference_PN[1:], strict=True):
      total_N += part.weight * (raw_N - of_N.mean()) / max(of_N.std(), 1e-6)
    return total_N.astype(np.float32)


def opened(spec, run) -> Reward:
  """Opens a text of rewards (docs/rewards.md) for answers in the tokens of `run`.

  Raises InputError for a text without a part, a wrong part, a folder that holds no reward model, and one
  that was trained with another tokenizer.
  """
  parts = rewards.parse(spec)
  if not parts:
    raise InputError(
      f'no reward is named; give run:FOLDER of a reward model, rules, or a weighted sum of both; the rules '
      f'are {", ".join(rewards.names())}'
    )
  runs = []
  for part in parts:
    if part.name == rewards.RUN:
      folder = part.options[0]
      other = checkpoint.read_about(folder)['tokenizer_sha256']
      if other != checkpoint.read_about(run.folder)['tokenizer_sha256']:
        raise InputError(f'run:{folder}: was trained with another tokenizer than {run.folder}')
      judge = evals.open_run(folder)
      runs.append((part, model.make(judge.config, 'scalar'), judge.load('reward')))
  return Reward([part for part in parts if part.name != rewards.RUN], runs)
