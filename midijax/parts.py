"""The input in parts: what came of a few hundred files, kept until the corpus is written."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midijax import __version__, atomic
from midijax.corpus import Entry, Recording, RecordingLike
from midijax.errors import UserError
from midijax.sources import Source

_FILES_PER_PART = 256  # what a run cut short loses, at most, for each process


class Reading(NamedTuple):
    """What came of a file: a recording, or the reason why there is none.

    `split` is what a metadata CSV assigns the file to, or empty.
    """

    name: str
    result: RecordingLike | str
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A recording (see `corpus.Recording`) whose record lies in a file until it is asked for."""

    entry: Entry
    path: Path
    offset: int
    size: int

    @property
    def record(self) -> bytes:
        """The record, read back."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            record = file.read(self.size)
        if len(record) < self.size:
            raise UserError(f"'{self.path}' is damaged; delete its folder and prepare again")
        return record


@dataclasses.dataclass(frozen=True)
class Part:
    """Some files of the input, in order, and where to put what comes of them.

    Attributes:
      path: a JSON list, which says of each source either the entry of its recording and the size of
        its record or the reason why there is none. The records lie one after the other in a file
        beside it.
      sources: the files.
    """

    path: Path
    sources: Sequence[Source]

    @property
    def finished(self) -> bool:
        """Whether it has been written."""
        return self.path.exists()

    def write(self, results: Iterable[Recording | str]) -> None:
        """Writes what came of the sources; `path` comes last, so that it vouches for the rest."""
        index: list[dict[str, Any]] = []
        with atomic.new_file(self._records) as partial, partial.open("wb") as file:
            for result in results:
                if isinstance(result, Recording):
                    index.append(
                        {"entry": dataclasses.asdict(result.entry), "size": len(result.record)}
                    )
                    file.write(result.record)
                else:
                    index.append({"reason": result})
        atomic.write_text(self.path, json.dumps(index))

    def readings(self) -> Iterator[Reading]:
        """What `write` was given, with what the metadata CSV says of it."""
        offset = 0
        for source, about in zip(self.sources, self._index(), strict=True):
            result = about.get("reason")
            if result is None:
                entry = Entry(**about["entry"])
                entry = dataclasses.replace(entry, composer=source.composer, title=source.title)
                result = Stored(entry, self._records, offset, about["size"])
                offset += about["size"]
            yield Reading(source.name, result, source.split)

    @property
    def _records(self) -> Path:
        return self.path.with_suffix(".records")

    def _index(self) -> list[dict[str, Any]]:
        try:
            return json.loads(self.path.read_bytes())
        except ValueError as error:
            raise UserError(
                f"'{self.path}' is damaged ({error}); delete it and run again"
            ) from error


def divide(sources: Sequence[Source], folder: Path) -> list[Part]:
    """Parts of a fixed number of files, each to be written into `folder`.

    A part is called after its place and a hash of the names and dates of its files, so that one
    from an earlier run is taken for finished just as long as it is what would be written now.
    """
    slices = [sources[i : i + _FILES_PER_PART] for i in range(0, len(sources), _FILES_PER_PART)]
    return [
        Part(folder / f"{number:06}-{_hash(files)}.json", files)
        for number, files in enumerate(slices)
    ]


def unused(parts: Sequence[Part], folder: Path) -> list[Path]:
    """The finished parts in a folder that are not among these: other files, or changed since."""
    return sorted({*folder.glob("*.json")} - {part.path for part in parts})


def _hash(sources: Sequence[Source]) -> str:
    description = [__version__, *((source.name, source.written_at) for source in sources)]
    return hashlib.sha256(json.dumps(description).encode()).hexdigest()[:16]
