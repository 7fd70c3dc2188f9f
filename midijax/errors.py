"""The errors a user is meant to read."""

from typing import Any


class UserError(Exception):
    """Bad input: one sentence that names the file or value, and the cure.

    Commands print it and leave with exit code 2 (`midijax.cli.run`).
    """

    @property
    def reason(self) -> str:
        """The error for a list that names the file already."""
        return str(self)


class TryAgain(UserError):
    """What worked before failed from outside, as a network does: the same command may go on later.

    Commands leave with exit code 75.
    """


def in_one_line(error: Exception) -> str:
    """What an error says, be it in several lines, for a sentence."""
    return " ".join(str(error).split())


def require(valid: bool, name: str, value: Any, allowed: str) -> None:
    """Unless `valid`, raises a UserError that says what the value of `name` must be."""
    if not valid:
        raise UserError(f"{name}={value} must be {allowed}")
