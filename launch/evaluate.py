"""Evaluates a finished run on held-out data, with the evals its config names; writes results.json there.

python -m launch.evaluate --workdir=runs/demo/ppo
"""

from absl import flags

from launch import run

_WORKDIR = flags.DEFINE_string('workdir', None, 'The folder of a training run.', required=True)
_AGAIN = flags.DEFINE_bool('again', False, 'Also when it was evaluated before.')


def main(_):
  from zhlm import evals  # after the flags: --help needs no jax

  evals.evaluate(_WORKDIR.value, _AGAIN.value)


if __name__ == '__main__':
  run(main)
