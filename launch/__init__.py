"""Programs: flags in, library calls, one-line errors out. Read in order: prepare, train, evaluate,
generate, sweep, report; `everything.sh` runs the whole story."""

import sys

from absl import app, logging

from zhlm.errors import InputError


def run(main):
  """absl's app.run, where what a user can mend is one line on stderr and exit status 2."""
  logging.set_verbosity(logging.WARNING)  # orbax tells of every file; --verbosity=0 shows it again
  try:
    app.run(main)
  except InputError as e:
    print(f'error: {" ".join(str(e).split())}', file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    sys.exit(130)
