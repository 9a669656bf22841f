"""Trains one stage.

  python -m launch.train --config=configs/pretrain.py:size=demo,mesh=one --workdir=runs/demo/pretrain

Run the same command again to go on where it stopped. Any field changes on the command line, as in
--config.optimizer.learning_rate=3e-4; sizes, meshes and fields are explained in configs/base.py.
"""

import sys

from absl import flags
from ml_collections import config_flags

from launch import run

_CONFIG = config_flags.DEFINE_config_file('config', None, 'configs/STAGE.py[:size=…,mesh=…]')
_WORKDIR = flags.DEFINE_string('workdir', None, "The run's folder: checkpoints, metrics, samples.")
_DISTRIBUTED = flags.DEFINE_bool('distributed', False, 'Join the hosts of a TPU pod or SLURM job first.')
flags.mark_flags_as_required(['config', 'workdir'])


def main(argv):
  import jax  # after the flags: --help needs no jax

  from zhlm import metrics, train

  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  try:
    train.train(_CONFIG.value, _WORKDIR.value)
  except metrics.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.status)


if __name__ == '__main__':
  run(main)
