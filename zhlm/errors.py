"""What a user can mend is an InputError: one line that says what is wrong, where, and what to do."""


class InputError(ValueError):
  """Bad input (a file, a field, a flag, a folder); `launch` prints one line and exits with `.status`."""

  status = 2
