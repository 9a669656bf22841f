"""Compiles the real step of a config for a pod that nobody holds: does it fit, what is sent, how fast?

  python -m launch.compile --config=configs/pretrain.py:size=7b,mesh=v5p_256 --topology=v5p-256
  python -m launch.compile --config=configs/ppo.py:size=1.7b,mesh=v5e_16 --topology=v5e-16 --program=all
  python -m launch.compile --config=configs/pretrain.py:size=7b,mesh=v5p_256 --topology=v5p-256 --scaling

No TPU is needed, only libtpu (pip install 'zhlm[tpu]', or `make libtpu`); cpu-8 compiles for simulated
devices. Ends with status 0 where the plan fits and 3, with the shortfall in one line, where it does not.
All times are estimates. docs/pods.md explains the numbers.
"""

import sys

from absl import flags
from ml_collections import config_flags

from launch import run

_CONFIG = config_flags.DEFINE_config_file('config', None, 'configs/STAGE.py[:size=…,mesh=…]')
_TOPOLOGY = flags.DEFINE_string('topology', None, 'A slice: v5p-256, v5e-16, v4-32, v6e-8 …; or cpu-8.')
_SLICES = flags.DEFINE_integer(
  'slices', 0, 'Slices of that shape, on a slow network; 0 is config.mesh.slices.'
)
_PROGRAM = flags.DEFINE_string(
  'program', 'update', "The update, another of the stage (PPO's rollout), or all."
)
_SCALING = flags.DEFINE_bool(
  'scaling', False, 'From the layout alone: step time and MFU on 1 … 1024 chips.'
)
_COMPILED = flags.DEFINE_list('compiled', [], 'With --scaling: numbers of chips to compile for, too.')
_JSON = flags.DEFINE_string('json', None, 'A file for the numbers.')
_HLO = flags.DEFINE_string('hlo', None, 'A folder for the compiled text of each program.')
flags.mark_flags_as_required(['config', 'topology'])


def main(_):
  from zhlm.plan import topologies

  config = _CONFIG.value
  config.mesh.slices = _SLICES.value or config.mesh.slices
  topology = topologies.find(_TOPOLOGY.value, config.mesh.slices)
  if not _SCALING.value or _COMPILED.value:
    topologies.prepare(topology)  # before JAX is imported
  from rich import console

  from zhlm import disk
  from zhlm.plan import compiled, report, scaling

  told, out = [], console.Console(width=None if sys.stdout.isatty() else 140, highlight=False)
  try:
    if _SCALING.value:
      told = scaling.on_paper(config, topology, [int(n) for n in _COMPILED.value])
      out.print(report.scaling_table(told))
    else:
      plan = compiled.make(config, topology)
      names = compiled.chosen(plan, _PROGRAM.value)
      compiled.check(plan)
      for name in names:
        told.append(report.record(plan, name, _HLO.value))
        out.print(*report.tables(told[-1]))
  except compiled.DoesNotFit as e:
    print(e, file=sys.stderr)
    sys.exit(3)
  for line in report.assumptions(topology, _SCALING.value):
    out.print(f'* {line}')
  if _JSON.value:
    disk.write_json(_JSON.value, told)


if __name__ == '__main__':
  run(main)
