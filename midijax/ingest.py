"""MIDI files to recordings on all cores, each file isolated from the others."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from midijax import midi, workers
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.sources import Source

_FILES_IN_FLIGHT = 4  # per process: enough to keep it busy, few enough to keep in memory


class Reading(NamedTuple):
    """What came of a file: a recording, or the reason why there is none.

    `split` is what a metadata CSV assigns the file to, or empty.
    """

    name: str
    result: Recording | str
    split: str = ""


def read_all(sources: Iterable[Source], num_workers: int) -> Iterator[Reading]:
    """Yields what comes of each source, in order.

    Files are parsed in `num_workers` processes. One that fails, in whatever way, even by ending its
    process, costs no other.
    """
    in_flight: collections.deque[tuple[Source, bytes, Future]] = collections.deque()
    pool = workers.new_pool(num_workers)
    try:
        for source in sources:
            try:
                data = source.read()
            except UserError as error:
                data, future = b"", _finished(str(error))
            else:
                pool, future = _submit(pool, num_workers, source.name, data)
            in_flight.append((source, data, future))
            if len(in_flight) == _FILES_IN_FLIGHT * num_workers:
                yield _finish(*in_flight.popleft())
        while in_flight:
            yield _finish(*in_flight.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def parse(name: str, data: bytes) -> Recording | str:
    """The recording that the bytes of a MIDI file hold, or the reason why there is none."""
    try:
        return Recording.of(name, midi.read_bytes(data, name))
    except UserError as error:
        return str(error).removeprefix(f"{name}: ")
    except Exception as error:  # a fault of ours must not cost the other files
        return f"unexpected {type(error).__name__}: {error}"


def _submit(
    pool: ProcessPoolExecutor, num_workers: int, name: str, data: bytes
) -> tuple[ProcessPoolExecutor, Future]:
    """Hands a file to the pool, or to a new one if the pool's processes have come to grief."""
    try:
        return pool, pool.submit(parse, name, data)
    except BrokenProcessPool:
        pool.shutdown()
        pool = workers.new_pool(num_workers)
        return pool, pool.submit(parse, name, data)


def _finish(source: Source, data: bytes, future: Future) -> Reading:
    try:
        result = future.result()
    except BrokenProcessPool:
        result = _parse_alone(source.name, data)
    if isinstance(result, Recording):
        entry = dataclasses.replace(result.entry, composer=source.composer, title=source.title)
        result = Recording(entry, result.record)
    return Reading(source.name, result, source.split)


def _parse_alone(name: str, data: bytes) -> Recording | str:
    """Parses a file that may have ended its process, or was in flight with one that did."""
    with workers.new_pool(num_workers=1) as pool:
        try:
            return pool.submit(parse, name, data).result()
        except BrokenProcessPool:
            return "reading it ended the process (not enough memory?)"


def _finished(result: str) -> Future:
    future: Future = Future()
    future.set_result(result)
    return future
