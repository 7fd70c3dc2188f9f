"""Ends long work when the user or the platform asks for it, so that it can go on later."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

TRY_AGAIN = 75  # the exit code of a run that was asked to stop and can go on (EX_TEMPFAIL)


class Stopped(BaseException):
    """Work that can be done again was broken off by a request to stop.

    Like KeyboardInterrupt it is no failure, so that `except Exception` lets it pass.
    """


class StopRequest:
    """Notes Ctrl-C and SIGTERM while its block runs: calling it says whether one has come.

    Only the first is held back. A second one ends the program at once, whatever it is doing, even
    in the middle of a long computation, where Python itself would not hear of it.
    """

    _signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._received = False
        self._breaks_off = False
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
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
        heard, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._previous_pipe = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        threading.Thread(
            target=_leave_at_the_second, args=(heard, self._signals), daemon=True
        ).start()
        for number in self._signals:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_pipe)
        os.close(self._pipe)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._received = True
        if self._breaks_off:
            raise Stopped


def _leave_at_the_second(heard: int, requests: tuple[signal.Signals, ...]) -> None:
    """Reads the numbers of signals as they come, until there are no more or two are requests."""
    received = 0
    while number := os.read(heard, 1):
        received += number[0] in requests
        if received == 2:
            os._exit(_KILLED_BY + number[0])
    os.close(heard)


_KILLED_BY = 128  # a shell's exit code for a signal, less its number
