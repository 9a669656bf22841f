"""The commands for a pod, to the letter, beside what was looked over once: tests/golden/pod_*.txt.

After a change that is meant, `python -m tests.pod_test` writes these files anew, to be read.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch import pod

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / 'golden'
TRAIN = ['--', '--config=configs/pretrain.py:size=7b,mesh=v5p_256', '--workdir=/mnt/runs/7b']
TPU = ['--zone=us-east5-a', '--topology=v5p-256']
ALL = '--do=start,logs,stop,delete'
CASES = {
  'tpu_vm': ['--backend=tpu_vm', *TPU, '--setup=sudo mount 10.0.0.2:/runs /mnt/runs', '--option=--spot'],
  'tpu_vm_slices': ['--backend=tpu_vm', *TPU, '--slices=2', '--project=p', "--env=NOTE=it's 3 words"],
  'slurm': ['--backend=slurm', '--topology=4x8', '--option=--partition=a', "--env=NOTE=it's 3 words"],
  'gke': ['--backend=gke', *TPU, '--slices=2', '--cluster=c', '--env=NOTE=3 words', '--image=python:3.13'],
}


def run(*args):
  """(status, stdout, stderr) of a dry run."""
  command = [sys.executable, '-m', 'launch.pod', '--name=night', '--dry_run', *args]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize('case', CASES)
def test_the_commands_are_those_looked_over(case):
  assert run(*CASES[case], ALL, *TRAIN) == (0, (GOLDEN / f'pod_{case}.txt').read_text(), '')


@pytest.mark.parametrize('case', CASES)
def test_the_commands_are_shell(case):
  """bash reads every line, and the batch file that one of them writes."""
  text = (GOLDEN / f'pod_{case}.txt').read_text()
  subprocess.run(['bash', '-n'], input=text, text=True, check=True)
  for inner in re.findall(r"<<'END'\n(.*?)\nEND$", text, re.S | re.M):
    subprocess.run(['bash', '-n'], input=inner, text=True, check=True)


def test_a_hosts_shell_runs_the_very_arguments(tmp_path):
  """Quotes and spaces survive: what the program gets is what was asked for."""
  (tmp_path / 'show.py').write_text('import os, sys; print(sys.argv[1:], os.environ["NOTE"])')
  args = ('show', "--config.notes=it's $HOME; `x`", '--a=*')
  job = pod.Job('n', args, '1x0', env=("NOTE=a 'b' $c",))
  command = f'cd {tmp_path} && {job.shell(sys.executable)}'
  said = subprocess.run(['bash', '-c', command], capture_output=True, text=True, check=True).stdout
  assert said == f"{list(args[1:])} a 'b' $c\n"


@pytest.mark.parametrize(
  'args, said',
  [
    (['--backend=tpu_vm', '--topology=v5p-256'], '--backend=tpu_vm needs --zone'),
    (['--backend=tpu_vm', '--zone=z', '--topology=h100-8'], 'no TPU slice; choose from v4-N, v5e-N'),
    (['--backend=gke', *TPU], 'needs --cluster'),
    (['--backend=slurm', '--topology=v5p-256'], 'NODESxGPUS'),
    (['--backend=slurm', '--topology=4x8', '--do=create'], 'choose from start, run, logs, stop, delete'),
    (['--backend=slurm', '--topology=4x8', '--env=A'], 'NAME=VALUE'),
    (['--backend=slurm', '--topology=4x8', '--name=a b'], 'a letter first'),
    (['--backend=slurm', '--topology=4x8', '--', '--workdir=gs://b/r'], 'mount the bucket on every host'),
    (['--backend=cloud', '--topology=4x8'], 'tpu_vm'),
  ],
)
def test_what_no_pod_can_mean_is_told_in_one_line(args, said):
  status, stdout, stderr = run(*args)
  assert status == 2 and stdout == '' and stderr.startswith('error: ') and stderr.count('\n') == 1
  assert said in stderr, stderr


def test_a_failed_command_stops_what_follows(tmp_path):
  (tmp_path / 'sbatch').write_text('#!/bin/sh\nexit 3\n')
  (tmp_path / 'sbatch').chmod(0o755)
  args = ['--name=night', '--backend=slurm', '--topology=2x0', '--do=run,logs', '--', '--workdir=x']
  command = [sys.executable, '-m', 'launch.pod', *args]
  env = {'PATH': f'{tmp_path}:/usr/bin:/bin', 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
  assert done.returncode == 2 and 'this ended with status 3: rm -f night.stop && sbatch' in done.stderr
  assert 'tail' not in done.stdout and (tmp_path / 'night.sbatch').read_text().startswith('#!/bin/bash\n')


if __name__ == '__main__':
  GOLDEN.mkdir(exist_ok=True)
  for case, args in CASES.items():
    (GOLDEN / f'pod_{case}.txt').write_text(run(*args, ALL, *TRAIN)[1])
