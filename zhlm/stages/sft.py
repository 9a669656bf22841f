"""Supervised fine-tuning: pretraining's loss on conversations, where only the assistant's tokens weigh."""

from zhlm.data import batches as data
from zhlm.stages import Stage, pretrain


def make(config) -> Stage:
  def batches(networks, start, split, carry=None):
    rows = data.packed(config, 'sft', split, data.best_fit)
    return data.stream(rows, config, start, split)

  return pretrain.make(config)._replace(batches=batches)
