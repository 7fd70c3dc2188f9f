"""Ends long work between two steps when the user or the platform asks for it."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

TRY_AGAIN = 75  # the exit code of a run that was asked to stop and can go on (EX_TEMPFAIL)


class Stopped(Exception):
    """Work that can be done again was broken off by a request to stop."""


class StopRequest:
    """Notes Ctrl-C and SIGTERM while its block runs: calling it says whether one has come.

    Only the first is held back; a second one ends the program at once, as it would have anyway.
    """

    def __init__(self) -> None:
        self._received = False
        self._breaks_off = False
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self, _dispatch: int = 0) -> bool:
        """Whether to stop; where several processes must agree, after which dispatch counts."""
        return self._received

    @contextlib.contextmanager
    def breaks_off(self) -> Iterator[None]:
        """Within this block a request raises Stopped, at once if it has come before."""
        self._breaks_off = True
        try:
            if self._received:
                raise Stopped
            yield
        finally:
            self._breaks_off = False

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._received = True
        self._restore()
        if self._breaks_off:
            raise Stopped

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
