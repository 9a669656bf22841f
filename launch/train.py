"""Trains one stage.

  python -m launch.train --config=configs/pretrain.py:size=demo,mesh=one --workdir=runs/demo/pretrain

Run the same command again to go on where it stopped. Any field changes on the command line, as in
--config.optimizer.learning_rate=3e-4; sizes, meshes and fields are explained in configs/base.py.
Many hosts run it together (docs/hosts.md); --restarts=N starts it again when it dies.
"""

import sys

from absl import flags
from ml_collections import config_flags

from launch import hosts, run, supervise
from zhlm.errors import InputError

_CONFIG = config_flags.DEFINE_config_file('config', None, 'configs/STAGE.py[:size=…,mesh=…]')
_WORKDIR = flags.DEFINE_string('workdir', None, "The run's folder: checkpoints, metrics, samples.")
_RESTARTS = flags.DEFINE_integer('restarts', 0, 'Start again when killed, so often without a checkpoint.')
_PROFILE = flags.DEFINE_string('profile_steps', '', 'FIRST:LAST; traces these steps into WORKDIR/profile.')
flags.mark_flags_as_required(['config', 'workdir'])


def main(argv):
  if '://' in _WORKDIR.value:  # it would become a folder of that name, here
    raise InputError(f'--workdir={_WORKDIR.value}: mount the bucket and name a folder of it')
  if _RESTARTS.value:
    sys.exit(supervise.supervise(_RESTARTS.value, _WORKDIR.value))

  from zhlm import metrics, train  # after the flags: --help needs no jax

  with hosts.joined():
    try:
      train.train(_CONFIG.value, _WORKDIR.value, metrics.window(_PROFILE.value))
    except metrics.Stopped as stopped:  # on all hosts at the same step
      print(stopped, file=sys.stderr)
      sys.exit(stopped.status)


if __name__ == '__main__':
  run(main)
