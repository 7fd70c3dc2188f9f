"""Preparation by Apache Beam, on as many machines as its runner has.

The work comes in files that are written whole or not at all: parts of the input, then shards of the
corpus. Each is one element of a pipeline, none depends on another, and what lies between, to tell
duplicates and draw splits, is done by the process that starts the pipelines, from a line per file.
So no record passes through Beam, neither the number of workers nor the order of their work shows in
the result, and a worker holds few recordings in memory.

All machines must see the input and the output under the same paths.
"""

import contextlib
import io
import pickle
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from midijax import ingest, progress
from midijax.corpus import Shard
from midijax.errors import UserError
from midijax.parts import Part

_SECONDS_BETWEEN_LOOKS = 1.0


class BeamEngine:
    """Reads and writes in pipelines of a Beam runner."""

    def __init__(self, runner: str, arguments: Sequence[str]) -> None:
        """Takes the runner's name and Beam's own options, as on a command line.

        Raises UserError if Beam refuses them.
        """
        quiet = "--default_sdk_harness_log_level=ERROR"
        self._arguments = [f"--runner={runner}", quiet, *arguments]
        told = io.StringIO()
        try:
            with contextlib.redirect_stderr(told):
                self._new_pipeline()
        except (Exception, SystemExit) as error:
            reason = _last_line(told.getvalue() or str(error))
            raise UserError(f"Beam refuses its options: {reason}") from error

    def read(self, parts: Sequence[Part]) -> None:
        """Writes the parts that are not finished."""
        self._run(parts, beam.ParDo(_ReadPart()), "reading", "part")

    def write(self, shards: Sequence[Shard]) -> None:
        """Writes the shards that are not finished."""
        self._run(shards, beam.Map(_write_shard), "writing", "shard")

    def _new_pipeline(self) -> beam.Pipeline:
        options = PipelineOptions(self._arguments)
        options.get_all_options()  # parses them all, now
        return beam.Pipeline(options=options)

    def _run(
        self, tasks: Sequence[Part] | Sequence[Shard], work: beam.PTransform, desc: str, unit: str
    ) -> None:
        rest = [task for task in tasks if not task.finished]
        if not rest:
            return
        workspace = rest[0].path.parent.parent
        with tempfile.TemporaryDirectory(dir=workspace) as folder, _bar(tasks, desc, unit):
            paths = [_save(task, Path(folder, task.path.name)) for task in rest]
            try:
                with self._new_pipeline() as pipeline:
                    _ = pipeline | beam.Create(paths) | beam.Reshuffle() | work
            except Exception as error:  # of whatever kind the runner raises
                raise UserError(
                    f"the Beam pipeline failed ({_last_line(str(error))}); what is finished is "
                    "kept, and the same command goes on from there"
                ) from error


class _ReadPart(beam.DoFn):
    """Files are parsed in a process of their own, kept from part to part: it may die of one."""

    def setup(self) -> None:
        self._reader = ingest.Reader(1)

    def process(self, path: str) -> None:
        part = _load(path)
        if not part.finished:
            part.write(self._reader.read(part.sources))

    def teardown(self) -> None:
        self._reader.close()


def _write_shard(path: str) -> None:
    shard = _load(path)
    if not shard.finished:
        shard.write()


def _save(task: Part | Shard, path: Path) -> str:
    """Puts a task into a file: thousands of them are too much for a pipeline's description."""
    path.write_bytes(pickle.dumps(task))
    return str(path)


def _load(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())


@contextlib.contextmanager
def _bar(tasks: Sequence[Part] | Sequence[Shard], desc: str, unit: str) -> Iterator[None]:
    """Shows how many of the tasks' files there are, until the block ends."""
    ended = threading.Event()

    def follow() -> None:
        unfinished: Sequence[Part | Shard] = tasks
        with progress.bar(total=len(tasks), desc=desc, unit=unit) as bar:
            while True:
                last_look = ended.wait(_SECONDS_BETWEEN_LOOKS)
                unfinished = [task for task in unfinished if not task.finished]
                bar.update(len(tasks) - len(unfinished) - bar.n)
                if last_look:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
