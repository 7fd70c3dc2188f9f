"""The processor time and the memory that one input may take."""

import contextlib
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_SECONDS = 5.0  # of the processor, for one input
MAX_MEGABYTES = 500.0  # that one input may add to the peak of the process


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """Raises TimeoutError in what takes more than MAX_SECONDS of the processor."""
    before = signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _out_of_time(*_: Any) -> NoReturn:
    raise TimeoutError(f"over {MAX_SECONDS:g} s")


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3)
