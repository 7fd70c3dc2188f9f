"""How a contestant works: one line on stdin asks for a turn, one JSON line on stdout reports it."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def settings() -> dict[str, Any]:
    """The benchmark's settings, from the command line."""
    return json.loads(sys.argv[1])


def serve(work: Callable[[], int]) -> None:
    """Does `work`, which returns how many units it got done, once for every line on stdin.

    Reports units, wall-clock and processor seconds of this process and the children it has waited
    for, and the peak resident bytes so far of the largest of them. What libraries print goes to
    stderr.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for _ in sys.stdin:
        start, processor = time.perf_counter(), _processor_seconds()
        units = work()
        turn = {
            "units": units,
            "seconds": time.perf_counter() - start,
            "processor_seconds": _processor_seconds() - processor,
            "peak_bytes": max(usage.ru_maxrss for usage in _usages()) * 1024,
        }
        print(json.dumps(turn), file=answers)


def _processor_seconds() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in _usages())


def _usages() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
