"""What a run tells while it goes on: each line with its step, its host and the wall time."""

import datetime
import json
from pathlib import Path
from typing import Any

import jax

from midijax.errors import UserError


def line(step: int, text: str) -> str:
    """A line for people."""
    return f"{_now()} host {jax.process_index()} step {step:,}: {text}"


class JsonLines:
    """A file of JSON objects, one a line, each handed to the system as it is written.

    Each begins with the fields `step`, `host` (the process's number) and `time` (UTC).
    """

    def __init__(self, path: Path):
        """Opens the file to append to it; UserError where that cannot be."""
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, step: int, **fields: Any) -> None:
        """Appends a line; UserError where there is no room for it."""
        stamp = {"step": step, "host": jax.process_index(), "time": _now()}
        rest = f"{json.dumps(stamp | fields, allow_nan=False)}\n".encode()
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"'{self._path}' cannot be written: {error.strerror}; when that is mended the same "
            "command goes on from the last checkpoint"
        )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
