"""How a run is doing: once a minute a line about its speed, its waiting and its memory."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import psutil

from midijax import log

SECONDS_BETWEEN_LINES = 60.0


class Health:
    """Appends a line to `health-HOST.jsonl` once a minute, each host to its own.

    Fields: `events_per_second`, of the whole run over that minute, whatever took its time;
    `data_wait_share`, the part of the minute in which the loop waited for batches (while the device
    takes the steps sent to it before: it idles only as the share nears 1); `memory_bytes`,
    resident, of this process; `device_memory_bytes`, the most used so far on the host's first
    device, null where devices share the host's memory.
    """

    def __init__(self, workdir: Path, events_per_step: int, first_step: int):
        """Begins to count at `first_step`; what the file holds already stays."""
        self._lines = log.JsonLines(workdir / f"health-{jax.process_index()}.jsonl")
        self._process = psutil.Process()
        self._events_per_step = events_per_step
        self._restart(first_step)

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Counts the time of its block as waiting."""
        begin = time.monotonic()
        yield
        self._waited += time.monotonic() - begin

    def look(self, step: int, tell: Callable[[str], Any]) -> None:
        """If it is time, writes the line, and tells it in words."""
        seconds = time.monotonic() - self._time
        if seconds >= SECONDS_BETWEEN_LINES:
            facts = self._facts(step, seconds)
            self._lines.write(step, **facts)
            tell(log.line(step, _in_words(**facts)))
            self._restart(step)

    def __enter__(self) -> "Health":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def _restart(self, step: int) -> None:
        self._step, self._time, self._waited = step, time.monotonic(), 0.0

    def _facts(self, step: int, seconds: float) -> dict[str, Any]:
        events = (step - self._step) * self._events_per_step
        on_device = jax.local_devices()[0].memory_stats() or {}  # None on a CPU
        return {
            "events_per_second": round(events / seconds, 1),
            "data_wait_share": round(self._waited / seconds, 4),
            "memory_bytes": self._process.memory_info().rss,
            "device_memory_bytes": on_device.get("peak_bytes_in_use"),
        }


def _in_words(
    events_per_second: float,
    data_wait_share: float,
    memory_bytes: int,
    device_memory_bytes: int | None,
) -> str:
    device = ""
    if device_memory_bytes is not None:
        device = f", at most {_gib(device_memory_bytes)} on the device"
    return (
        f"{events_per_second:,.0f} events/s, {data_wait_share:.1%} of the time waiting for data, "
        f"{_gib(memory_bytes)} of memory{device}"
    )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
