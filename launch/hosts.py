"""The flags of a program that many hosts run together; `with hosts.joined():` before anything of jax."""

from absl import flags

_DISTRIBUTED = flags.DEFINE_bool('distributed', False, 'Join the hosts of this TPU pod or SLURM job.')
_COORDINATOR = flags.DEFINE_string('coordinator', '', 'Elsewhere: ADDRESS:PORT of host 0, and')
_HOSTS = flags.DEFINE_integer('hosts', 0, 'how many hosts there are, and', lower_bound=0)
_HOST = flags.DEFINE_integer('host', -1, 'which one this is, from 0.')
_WAIT = flags.DEFINE_integer('wait', 300, 'Seconds for all hosts to come.', lower_bound=1)


def joined():
  """A context in which jax spans all the hosts that the flags name; one host when they name none."""
  import contextlib

  from zhlm import hosts

  if not (_DISTRIBUTED.value or _COORDINATOR.value or _HOSTS.value or _HOST.value >= 0):
    return contextlib.nullcontext()
  return hosts.joined(_COORDINATOR.value, _HOSTS.value, _HOST.value, _WAIT.value)
