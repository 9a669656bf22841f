"""The stage's own loss, and what it measures besides, over the test split."""

import math

from zhlm import checkpoint, stages, validation


def evaluate(run):
  stage = stages.make(run.config)
  trained = {network: run.load(network) for network in run.networks()}
  networks = {**checkpoint.open_frozen(stage, run.config), **trained}
  yield from validation.validate(stage, networks, math.inf, 'test').items()
