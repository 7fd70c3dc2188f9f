"""MIDI files to recordings on all cores, each file isolated from the others."""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

from midijax import midi, workers
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.sources import Source

_FILES_IN_FLIGHT = 4  # per process: enough to keep it busy, few enough to keep in memory


class Reader:
    """Processes that read MIDI files, each file isolated from the others.

    One that fails, in whatever way, even by ending its process, costs no other.
    """

    def __init__(self, num_workers: int) -> None:
        self._max_in_flight = _FILES_IN_FLIGHT * num_workers
        self._parsers = _Parsers(num_workers)
        self._lone_parser = _Parsers(1)

    def read(self, sources: Iterable[Source]) -> Iterator[Recording | str]:
        """Yields for each source, in order, its recording or the reason why there is none."""
        in_flight: collections.deque[tuple[Source, bytes, Future]] = collections.deque()
        for source in sources:
            in_flight.append((source, *_begin(source, self._parsers)))
            if len(in_flight) == self._max_in_flight:
                yield _finish(*in_flight.popleft(), self._lone_parser)
        while in_flight:
            yield _finish(*in_flight.popleft(), self._lone_parser)

    def close(self) -> None:
        """Ends the processes."""
        self._parsers.close()
        self._lone_parser.close()


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

    def close(self) -> None:
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


def _finish(source: Source, data: bytes, future: Future, lone_parser: _Parsers) -> Recording | str:
    try:
        return future.result()
    except BrokenProcessPool:  # by this file, or by one that was in flight with it
        return _parse_alone(source.name, data, lone_parser)


def _parse_alone(name: str, data: bytes, lone_parser: _Parsers) -> Recording | str:
    try:
        return lone_parser.submit(name, data).result()
    except BrokenProcessPool:
        return "reading it ended the process (not enough memory?)"
