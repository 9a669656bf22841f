"""The stage's own loss, and what it measures besides, over the test split."""

import math

from zhlm import stages, train


def evaluate(run):
  stage = stages.make(run.config)
  params = {network: run.load(network) for network in run.networks()}
  yield from train.validate(stage, params, math.inf, 'test').items()
