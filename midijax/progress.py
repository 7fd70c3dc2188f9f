"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import io
import sys
import time
from collections.abc import Iterable
from typing import Any

import tqdm

SECONDS_BETWEEN_LINES = 30.0
_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def bar(
    iterable: Iterable | None = None,
    *,
    total: float | None = None,
    desc: str = "",
    unit: str = "",
    initial: int = 0,
    unit_scale: bool = False,
    leave: bool = True,
    disable: bool = False,
) -> tqdm.tqdm:
    """A bar as `tqdm.tqdm` gives it, with its arguments; on standard error.

    Where that is no terminal (a log file, a job in the cloud) it is a line of text every
    SECONDS_BETWEEN_LINES and, with `leave`, one at the end.
    """
    kind = tqdm.tqdm if sys.stderr.isatty() else _Lines
    return kind(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        initial=initial,
        unit_scale=unit_scale,
        leave=leave,
        disable=disable,
    )


class _Lines(tqdm.tqdm):
    """A bar that is told in lines; what tqdm would write to a terminal goes nowhere."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        super().__init__(*args, **kwargs, file=io.StringIO(), bar_format=_LINE)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Prints the line, if it is time."""
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            print(self, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Prints the last line."""
        if self.leave:
            self._next_line = time.monotonic()
        super().close()
