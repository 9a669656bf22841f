"""Programs: flags in, library calls, one-line errors out. Read in order: prepare, train, evaluate,
generate, sweep, report; beside prepare stand crawl, classify, export; before train on a pod, compile;
`everything.sh` runs the story; then sample makes data of a run's answers, iterate rounds of all that."""

import contextlib
import ctypes
import sys

from absl import app, flags, logging

from zhlm.errors import InputError

CONFIGS = ('config', 'reward', 'policy')  # flags that name a config file


def _root(error):
  while error.__cause__ or error.__context__:
    error = error.__cause__ or error.__context__
  return error


def _parse(argv):
  """absl's parser, where a wrong flag, config file or field is an InputError that says so in one line."""
  try:
    rest = flags.FLAGS(argv)
    for name in CONFIGS:
      if name in flags.FLAGS:
        hasattr(flags.FLAGS[name].value, 'stage')  # ml_collections keeps a file's error until the first use
    return rest
  except (LookupError, AttributeError) as e:
    from launch import sweep

    for name in CONFIGS:
      if name in flags.FLAGS:
        fields = [arg.partition('.')[2].partition('=')[0] for arg in argv if arg.startswith(f'--{name}.')]
        given = (arg.partition('=')[2] for arg in argv if arg.startswith(f'--{name}='))
        path, _, arg = str(next(given, flags.FLAGS[name].default)).partition(':')
        sweep.check(sweep.load(path).get_config(arg), fields)
    raise InputError(e) from e
  except OSError as e:
    lines = [line.strip() for line in str(e).splitlines() if 'Errno' in line]
    raise InputError(f'--config: {(lines or [e])[-1]}') from e
  except (flags.Error, ValueError, TypeError, SyntaxError) as e:
    root = _root(e)
    raise InputError(e if isinstance(e, flags.Error) and 'Traceback' not in str(e) else root) from e


def _keep_memory():
  """XLA's CPU backend takes and returns its buffers at every step; where the allocator (glibc's) hands them
  back to the kernel in between, a tenth of the time goes into page faults. Elsewhere this does nothing."""
  with contextlib.suppress(OSError, AttributeError):
    mallopt = ctypes.CDLL(None).mallopt
    arena_max, mmap_max, top_pad, trim_threshold = -8, -4, -2, -1  # malloc.h
    for option, value in ((arena_max, 1), (mmap_max, 0), (top_pad, 2**29), (trim_threshold, 2**31 - 1)):
      mallopt(option, value)


def run(main):
  """absl's app.run, where what a user can mend is one line on stderr and exit status 2."""
  _keep_memory()
  logging.set_verbosity(logging.FATAL)  # orbax logs whatever it raises, too; --verbosity=0 shows it again
  try:
    app.run(main, flags_parser=_parse)
  except (InputError, OSError) as e:  # a disk that is full, a folder that may not be written
    print(f'error: {" ".join(str(e).split())}', file=sys.stderr)
    sys.exit(e.status if isinstance(e, InputError) else 2)
  except KeyboardInterrupt:
    sys.exit(130)
