"""The one error a user is meant to read."""


class UserError(Exception):
    """Bad input: one sentence that names the file or value, and the cure.

    Commands print it and leave with exit code 2 (`midijax.cli.run`).
    """
