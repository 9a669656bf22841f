"""Supervised fine-tuning: pretraining's loss on conversations, where only the assistant's tokens weigh."""

from zhlm.data import batches as data
from zhlm.stages import Stage, pretrain


def make(config) -> Stage:
  def rows(split):
    return data.packed(config, 'sft', split, data.best_fit)

  def batches(networks, start, split, carry=None):
    return data.stream(rows(split), config, start, split)

  def epoch():
    return data.updates(rows('train'), config)

  return pretrain.make(config)._replace(batches=batches, epoch=epoch)
