"""Runs a program on a pod: prints, and unless --dry_run runs, the very commands a person would paste.

  python -m launch.pod --backend=tpu_vm --name=night --zone=us-east5-a --topology=v5p-256 --dry_run -- \\
    --config=configs/pretrain.py:size=7b,mesh=v5p_256 --workdir=/mnt/runs/7b

What stands after `--` goes to launch.train (or --program) on every host, with --distributed and --restarts.
Then: --do=logs, --do=stop (saves first), --do=delete. docs/hosts.md tells the whole story of each backend.
"""

import dataclasses
import re
import shlex
import shutil
import subprocess

from absl import flags

from launch import run
from zhlm.errors import InputError

_BACKEND = flags.DEFINE_enum('backend', None, ['tpu_vm', 'slurm', 'gke'], 'Where.')
_NAME = flags.DEFINE_string('name', None, 'Of the job, and of what is made for it.')
_TOPOLOGY = flags.DEFINE_string('topology', None, 'v5p-256, v6e-16, …; slurm: NODESxGPUS.')
_SLICES = flags.DEFINE_integer('slices', 1, 'TPU slices (mesh.slices).', lower_bound=1)
_DO = flags.DEFINE_list('do', 'start', 'start, or parts of it; logs, stop, delete.')
_PROGRAM = flags.DEFINE_string('program', 'launch.train', 'What every host runs.')
_RESTARTS = flags.DEFINE_integer('restarts', 10, 'Of each host without a newer checkpoint.')
_ENV = flags.DEFINE_multi_string('env', [], 'NAME=VALUE for the program; repeatable.')
_SETUP = flags.DEFINE_string('setup', '', 'Shell command for each host first, as one that mounts a folder.')
_OPTION = flags.DEFINE_multi_string('option', [], 'For the tool that makes the job: --spot, --partition=…')
_ZONE = flags.DEFINE_string('zone', '', 'tpu_vm, gke: the zone.')
_PROJECT = flags.DEFINE_string('project', '', "tpu_vm, gke: the project; gcloud's own by default.")
_CLUSTER = flags.DEFINE_string('cluster', '', 'gke: the cluster, as `xpk cluster create` named it.')
_IMAGE = flags.DEFINE_string('image', 'python:3.12', 'gke: docker image into which xpk puts this folder.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Only print.')

# What Google calls the machine image of a TPU's generation (`gcloud compute tpus tpu-vm versions list`).
RUNTIMES = {
  'v4': 'tpu-ubuntu2204-base',
  'v5litepod': 'v2-alpha-tpuv5-lite',
  'v5p': 'v2-alpha-tpuv5',
  'v6e': 'v2-alpha-tpuv6e',
}


@dataclasses.dataclass(frozen=True)
class Job:
  """argv runs on every host of `slices` times `topology`, with env, after the shell command `setup`."""

  name: str
  argv: tuple
  topology: str
  slices: int = 1
  env: tuple = ()  # ('NAME=VALUE', …)
  setup: str = ''
  options: tuple = ()  # of the tool that makes the job

  def shell(self, python):
    """The program as one line of shell."""
    return shlex.join([*(['env', *self.env] if self.env else []), python, '-m', *self.argv])


def tpu_type(topology):
  """v5e-16 -> v5litepod-16, Google's name; InputError for what is no TPU."""
  name = topology.replace('v5e-', 'v5litepod-')
  generation, _, cores = name.partition('-')
  if generation not in RUNTIMES or not cores.isdigit():
    known = ', '.join(f'{x}-N' for x in ('v4', 'v5e', 'v5p', 'v6e'))
    raise InputError(f'--topology={topology} is no TPU slice; choose from {known}')
  return name


def tpu_vm(job, zone, project=''):
  """{part: shell commands} on Cloud TPU VMs: a queued resource, and ssh to all its hosts."""
  where = [f'--zone={zone}'] + [f'--project={project}'] * bool(project)
  kind, tpus = tpu_type(job.topology), ['gcloud', 'compute', 'tpus']
  nodes = [job.name] if job.slices == 1 else [f'{job.name}-{i}' for i in range(job.slices)]
  many = [f'--node-count={job.slices}', f'--node-prefix={job.name}']
  create = [*tpus, 'queued-resources', 'create', job.name, f'--accelerator-type={kind}']
  create += [f'--runtime-version={RUNTIMES[kind.partition("-")[0]]}', *where]
  create += [*(many if job.slices > 1 else [f'--node-id={job.name}']), *job.options]
  state = [*tpus, 'queued-resources', 'describe', job.name, *where, '--format=value(state.state)']
  archive = f'/tmp/{job.name}.tar.gz'

  def ssh(node, command, worker='all'):
    return shlex.join([*tpus, 'tpu-vm', 'ssh', node, *where, f'--worker={worker}', f'--command={command}'])

  def everywhere(command):  # a slice's hosts wait for those of the others: all at once
    if len(nodes) == 1:
      return ssh(nodes[0], command)
    each = ' '.join(f'{ssh(node, command)} & pids+=($!);' for node in nodes)
    return f'pids=(); {each} for p in ${{pids[@]}}; do wait $p || exit 1; done'

  code = [
    'rm -rf zhlm && mkdir zhlm && tar -xzf zhlm.tar.gz -C zhlm && cd zhlm',
    'curl -LsSf https://astral.sh/uv/install.sh | sh',
    '~/.local/bin/uv venv -q -p 3.12 && ~/.local/bin/uv pip install -q -r requirements.txt ".[tpu]"',
  ]
  start = f'nohup {job.shell(".venv/bin/python")} < /dev/null > ~/zhlm.log 2>&1 & echo $! > ~/zhlm.pid'
  return {
    'create': [shlex.join(create), f'until [ "$({shlex.join(state)})" = ACTIVE ]; do sleep 30; done'],
    'install': [
      shlex.join(['git', 'archive', '--format=tar.gz', f'--output={archive}', 'HEAD']),
      *(
        shlex.join([*tpus, 'tpu-vm', 'scp', archive, f'{node}:zhlm.tar.gz', *where, '--worker=all'])
        for node in nodes
      ),
      everywhere(' && '.join([*code, *([job.setup] if job.setup else [])])),
    ],
    'run': [everywhere(f'cd zhlm && ({start})')],
    'logs': [ssh(nodes[0], 'tail -n 100 -F zhlm.log', worker='0')],
    'stop': [everywhere('kill -TERM $(cat zhlm.pid)')],
    'delete': [shlex.join([*tpus, 'queued-resources', 'delete', job.name, *where, '--force', '--quiet'])],
  }


def slurm(job):
  """{part: shell commands} on a SLURM cluster whose nodes share this folder: one task a node."""
  if not re.fullmatch(r'\d+x\d+', job.topology):
    raise InputError(f'--topology={job.topology}: for slurm give NODESxGPUS, as 4x8, or 2x0 for CPUs')
  nodes, gpus = job.topology.split('x')
  options = [f'--job-name={job.name}', f'--nodes={nodes}', '--ntasks-per-node=1']
  options += [f'--gpus-per-node={gpus}'] * (gpus != '0')
  # At the end of its time, or before it is preempted, every task gets SIGTERM 120 s ahead.
  options += [
    '--exclusive',
    '--signal=TERM@120',
    '--requeue',
    '--open-mode=append',
    f'--output={job.name}.log',
  ]
  script = ['#!/bin/bash', *(f'#SBATCH {x}' for x in (*options, *job.options))]
  script += [f'export {shlex.quote(x)}' for x in job.env]
  if job.setup:
    script.append(f'srun {shlex.join(["bash", "-c", job.setup])}')
  plain = dataclasses.replace(job, env=())
  script += [
    f'srun --kill-on-bad-exit=1 {plain.shell(".venv/bin/python")}',
    'status=$?',
    f'[ $status = 143 ] && [ ! -e {job.name}.stop ] && scontrol requeue $SLURM_JOB_ID  # saved',
    'exit $status',
  ]
  text = '\n'.join(script)
  return {
    'run': [
      f"cat > {job.name}.sbatch <<'END'\n{text}\nEND",
      f'rm -f {job.name}.stop && sbatch {job.name}.sbatch',
    ],
    'logs': [f'tail -n 100 -F {job.name}.log'],
    'stop': [f'touch {job.name}.stop && scancel --signal=TERM --name={job.name}'],  # or it is requeued
    'delete': [f'scancel --name={job.name}'],
  }


def gke(job, cluster, zone, project='', image='python:3.12'):
  """{part: shell commands} on a GKE cluster, by xpk: a JobSet of this folder in a docker image."""
  if not cluster:
    raise InputError('--backend=gke needs --cluster, as `xpk cluster create` named it')
  where = [f'--cluster={cluster}', f'--zone={zone}'] + [f'--project={project}'] * bool(project)
  command = ['pip install -q -r requirements.txt ".[tpu]"', *([job.setup] if job.setup else [])]
  command.append('exec ' + dataclasses.replace(job, env=()).shell('python'))  # exec: it gets the SIGTERM
  create = ['xpk', 'workload', 'create', f'--workload={job.name}', *where]
  create += [f'--tpu-type={tpu_type(job.topology)}', f'--num-slices={job.slices}']
  create += [f'--base-docker-image={image}', '--script-dir=.', *(f'--env={x}' for x in job.env)]
  create += ['--max-restarts=10', '--termination-grace-period-seconds=300', *job.options]
  return {
    'run': [shlex.join([*create, f'--command={" && ".join(command)}'])],
    'logs': [f'kubectl logs --follow --selector=jobset.sigs.k8s.io/jobset-name={job.name} --tail=100'],
    'stop': [shlex.join(['xpk', 'workload', 'delete', f'--workload={job.name}', *where])],
    'delete': [shlex.join(['xpk', 'workload', 'delete', f'--workload={job.name}', *where])],
  }


START = ('create', 'install', 'run')


def commands(parts, do):
  """The commands of these parts in order; InputError for a part that the backend does not have."""
  do = [part for x in do for part in ([p for p in START if p in parts] if x == 'start' else [x])]
  if unknown := [x for x in do if x not in parts]:
    raise InputError(f'--do={unknown[0]}: choose from start, {", ".join(parts)}')
  return [command for part in do for command in parts[part]]


def _check(arguments):
  """Raises InputError for what cannot be meant on a pod."""
  for arg in arguments:
    if re.search(r'=\w+://', arg):
      raise InputError(
        f'{arg}: folders are files here; mount the bucket on every host (--setup, see docs/hosts.md) and '
        f'name the mounted folder'
      )


def main(argv):
  _check(argv[1:])
  if not re.fullmatch(r'[a-z]([a-z0-9-]{0,38}[a-z0-9])?', _NAME.value):
    raise InputError(f'--name={_NAME.value}: small letters, digits and -, at most 40, a letter first')
  if wrong := [x for x in _ENV.value if not re.match(r'\w+=', x)]:
    raise InputError(f'--env={wrong[0]}: give NAME=VALUE')
  program = (_PROGRAM.value, *argv[1:], '--distributed')
  if _PROGRAM.value == 'launch.train':
    program += (f'--restarts={_RESTARTS.value}',)
  job = Job(
    _NAME.value,
    program,
    _TOPOLOGY.value,
    _SLICES.value,
    tuple(_ENV.value),
    _SETUP.value,
    tuple(_OPTION.value),
  )
  if _BACKEND.value == 'slurm':
    parts = slurm(job)
  elif not _ZONE.value:
    raise InputError(f'--backend={_BACKEND.value} needs --zone')
  elif _BACKEND.value == 'tpu_vm':
    parts = tpu_vm(job, _ZONE.value, _PROJECT.value)
  else:
    parts = gke(job, _CLUSTER.value, _ZONE.value, _PROJECT.value, _IMAGE.value)
  todo = commands(parts, _DO.value)
  tool = {'tpu_vm': 'gcloud', 'slurm': 'sbatch', 'gke': 'xpk'}[_BACKEND.value]
  if not _DRY_RUN.value and shutil.which(tool) is None:
    raise InputError(f'{tool} is not installed here; --dry_run prints the commands')
  for command in todo:
    print(command, flush=True)
    if not _DRY_RUN.value and (status := subprocess.run(['bash', '-c', command]).returncode):
      raise InputError(f'this ended with status {status}: {command.splitlines()[0]}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['backend', 'name', 'topology'])
  run(main)
