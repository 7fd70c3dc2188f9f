"""MIDI files to recordings on all cores, each file isolated from the others."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
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
    with _Parsers(num_workers) as parsers, _Parsers(1) as lone_parser:
        for source in sources:
            data, future = _begin(source, parsers)
            in_flight.append((source, data, future))
            if len(in_flight) == _FILES_IN_FLIGHT * num_workers:
                yield _finish(*in_flight.popleft(), lone_parser)
        while in_flight:
            yield _finish(*in_flight.popleft(), lone_parser)


def parse(name: str, data: bytes) -> Recording | str:
    """The recording that the bytes of a MIDI file hold, or the reason why there is none."""
    try:
        return Recording.of(name, midi.read_bytes(data, name))
    except UserError as error:
        return error.reason
    except Exception as error:  # a fault of ours must not cost the other files
        return f"unexpected {type(error).__name__}: {error}"


class _Parsers:
    """Processes that parse files, replaced where one of them dies."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._pool = workers.new_pool(num_workers)

    def submit(self, name: str, data: bytes) -> Future:
        try:
            return self._pool.submit(parse, name, data)
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = workers.new_pool(self._num_workers)
            return self._pool.submit(parse, name, data)

    def __enter__(self) -> "_Parsers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _begin(source: Source, parsers: _Parsers) -> tuple[bytes, Future]:
    """The bytes of a file and what will come of them."""
    try:
        data = source.read()
        return data, parsers.submit(source.name, data)
    except UserError as error:
        unread: Future = Future()
        unread.set_result(str(error))
        return b"", unread


def _finish(source: Source, data: bytes, future: Future, lone_parser: _Parsers) -> Reading:
    try:
        result = future.result()
    except BrokenProcessPool:  # by this file, or by one that was in flight with it
        result = _parse_alone(source.name, data, lone_parser)
    if isinstance(result, Recording):
        entry = dataclasses.replace(result.entry, composer=source.composer, title=source.title)
        result = Recording(entry, result.record)
    return Reading(source.name, result, source.split)


def _parse_alone(name: str, data: bytes, lone_parser: _Parsers) -> Recording | str:
    try:
        return lone_parser.submit(name, data).result()
    except BrokenProcessPool:
        return "reading it ended the process (not enough memory?)"
