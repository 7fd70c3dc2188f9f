"""The prepared folder: performances in ArrayRecord shards, and a manifest of what they are."""

import dataclasses
import hashlib
import itertools
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, cast

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from midijax import __version__
from midijax.atomic import new_file, new_folder
from midijax.errors import UserError
from midijax.events import PERFORMANCE_RNN
from midijax.performance import NOTE_DTYPE, NUM_PITCHES, PEDAL_DTYPE, Performance

SPLITS = ("train", "validation", "test")
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

# A record: this header, the name in UTF-8, then each column of the notes and of the pedal.
_HEADER = struct.Struct("<4sIIII")  # magic, CRC-32 of all that follows it, name, notes, pedal
_CHECKED = struct.calcsize("<4sI")
_MAGIC = b"MJX1"
_COLUMNS = [
    (dtype, field, dtype[field].newbyteorder("<"))
    for dtype in (NOTE_DTYPE, PEDAL_DTYPE)
    for field in dtype.fields or ()
]
_PERFORMANCES_PER_SHARD = 256
_SHARD_ERRORS = (RuntimeError, OSError)  # of array_record
_SHARD_NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # of this folder, and no pattern to array_record
_MAX_SECONDS, _MAX_NOTES = 1e6, 10**7


def pack(name: str, performance: Performance) -> bytes:
    """One performance, as played, as the bytes of a record."""
    encoded = name.encode("utf-8", "replace")
    arrays = {NOTE_DTYPE: performance.notes, PEDAL_DTYPE: performance.pedal}
    columns = [arrays[dtype][field].astype(kind).tobytes() for dtype, field, kind in _COLUMNS]
    sizes = len(encoded), len(performance.notes), len(performance.pedal)
    body = b"".join([_HEADER.pack(_MAGIC, 0, *sizes)[_CHECKED:], encoded, *columns])
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def unpack(record: bytes) -> tuple[str, Performance]:
    """The inverse of `pack`: name and performance; raises UserError if the record is damaged."""
    damaged = UserError("a record of the prepared corpus is damaged; run midijax.prepare again")
    if len(record) < _HEADER.size:
        raise damaged
    magic, checksum, name_size, num_notes, num_pedal = _HEADER.unpack_from(record)
    if magic != _MAGIC or zlib.crc32(memoryview(record)[_CHECKED:]) != checksum:
        raise damaged
    arrays_size = num_notes * NOTE_DTYPE.itemsize + num_pedal * PEDAL_DTYPE.itemsize
    if len(record) != _HEADER.size + name_size + arrays_size:
        raise damaged
    position = _HEADER.size + name_size
    name = record[_HEADER.size : position].decode("utf-8", "replace")
    arrays = {NOTE_DTYPE: np.empty(num_notes, NOTE_DTYPE)}
    arrays[PEDAL_DTYPE] = np.empty(num_pedal, PEDAL_DTYPE)
    for dtype, field, kind in _COLUMNS:
        count = len(arrays[dtype])
        arrays[dtype][field] = np.frombuffer(record, kind, count, position)
        position += count * kind.itemsize
    notes, pedal = arrays[NOTE_DTYPE], arrays[PEDAL_DTYPE]
    if not (name.isprintable() and _can_be_played(notes, pedal)):
        raise UserError(
            f"the record {name!r:.99} of the prepared corpus is no music; prepare it anew"
        )
    return name, Performance(notes, pedal)


def _can_be_played(notes: np.ndarray, pedal: np.ndarray) -> bool:
    """Whether there are notes, every time is one and every number a MIDI one."""
    seconds = np.concatenate([notes["onset"], notes["offset"], pedal["time"]])
    numbers = np.concatenate([notes["pitch"], notes["velocity"], pedal["value"]])
    return bool(
        len(notes)
        and ((seconds >= 0) & (seconds <= _MAX_SECONDS)).all()
        and notes["velocity"].all()
        and (numbers < NUM_PITCHES).all()
    )


def digest(performance: Performance) -> str:
    """The SHA-256, in hexadecimal, of the notes and the pedal, whatever the name."""
    return hashlib.sha256(pack("", performance)).hexdigest()


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the manifest says of one performance.

    Attributes:
      name: the file it came from, beginning with the name of its folder or archive.
      seconds: its duration.
      notes, events: how many; events as counted by `PERFORMANCE_RNN` (388 events, 10 ms).
      sha256: of the notes and the pedal alone, whatever the name.
      composer, title: from a metadata CSV, or empty.
    """

    name: str
    seconds: float
    notes: int
    events: int
    sha256: str
    composer: str = ""
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Recording:
    """A performance ready to be written: its manifest entry and its record."""

    entry: Entry
    record: bytes

    @classmethod
    def of(cls, name: str, performance: Performance) -> "Recording":
        """Packs and describes a performance."""
        entry = Entry(
            name=name,
            seconds=round(performance.duration, 3),
            notes=len(performance.notes),
            events=len(PERFORMANCE_RNN.encode(performance)),
            sha256=digest(performance),
        )
        return cls(entry, pack(name, performance))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """`manifest.json`.

    Attributes:
      performances: the entries of each split, in the order of its records.
      shards: the file names of each split, in order.
      provenance: where the files came from and how they were split, by name.
      skipped: (file, reason) for each that could not be read.
      duplicates: (file, the earlier file with exactly the same notes and pedal), not written.
    """

    performances: dict[str, list[Entry]]
    shards: dict[str, list[str]]
    provenance: dict[str, Any]
    skipped: list[tuple[str, str]]
    duplicates: list[tuple[str, str]]

    def totals(self, split: str) -> dict[str, Any]:
        """`files`, `hours`, `notes` and `events` of a split."""
        entries = self.performances.get(split, [])
        return {
            "files": len(entries),
            "hours": round(sum(entry.seconds for entry in entries) / 3600, 3),
            "notes": sum(entry.notes for entry in entries),
            "events": sum(entry.events for entry in entries),
        }


class RecordingLike(Protocol):
    """A `Recording`, or something that fetches its record when asked."""

    @property
    def entry(self) -> Entry:
        """What the manifest says of it."""

    @property
    def record(self) -> bytes:
        """What `pack` gave."""


def write(folder: str | Path, recordings: Mapping[str, Sequence[RecordingLike]]) -> Manifest:
    """Writes a prepared folder, whole or not at all, from the recordings of each split.

    Raises UserError if `folder` already holds something or cannot be written.
    """
    with new_folder(folder) as partial:
        return fill(partial, recordings)


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of the folder, and the recordings that belong in it."""

    path: Path
    recordings: Sequence[RecordingLike]

    @property
    def finished(self) -> bool:
        """Whether it has been written."""
        return self.path.exists()

    def write(self) -> None:
        """Writes it, whole or not at all."""
        with new_file(self.path) as partial:
            writer = ArrayRecordWriter(str(partial), "group_size:1")
            try:
                for recording in self.recordings:
                    writer.write(recording.record)
                writer.close()
            except RuntimeError as error:  # what array_record makes of a full disk
                raise OSError(str(error).partition(";")[0]) from error


def write_each(shards: Sequence[Shard]) -> None:
    """Writes shards one after the other."""
    for shard in shards:
        shard.write()


def fill(
    folder: Path,
    recordings: Mapping[str, Sequence[RecordingLike]],
    provenance: Mapping[str, Any] | None = None,
    skipped: Sequence[tuple[str, str]] = (),
    duplicates: Sequence[tuple[str, str]] = (),
    write_all: Callable[[Sequence[Shard]], None] = write_each,
) -> Manifest:
    """Writes shards, by `write_all`, and manifest; splits without recordings are left out."""
    present = {split: recordings[split] for split in SPLITS if recordings.get(split)}
    shards = {split: _shards(folder, split, members) for split, members in present.items()}
    write_all([shard for split in shards for shard in shards[split]])
    manifest = Manifest(
        {split: [member.entry for member in members] for split, members in present.items()},
        {split: [shard.path.name for shard in shards[split]] for split in shards},
        dict(provenance or {}),
        list(skipped),
        list(duplicates),
    )
    with (folder / MANIFEST).open("w") as file:
        json.dump(_to_json(manifest), file, indent=1)
        file.write("\n")
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a prepared folder; raises UserError if there is none or it is not sound."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise UserError(
            f"'{folder}' is not a prepared corpus (it has no {MANIFEST}); "
            "make one with: python -m midijax.prepare --input=MIDI_FOLDER --output_dir=NEW_FOLDER"
        )
    try:
        return _from_json(json.loads(path.read_text()))
    except (OSError, ValueError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); run midijax.prepare again") from error


def open_split(folder: str | Path, split: str) -> Sequence[bytes]:
    """The records of a split, at random access; raises UserError if folder or split is missing."""
    manifest = read_manifest(folder)
    if not manifest.shards.get(split):
        raise UserError(
            f"'{folder}' has no {split} split, only {', '.join(manifest.shards) or 'nothing'}; "
            "prepare it anew with more files or another --validation_fraction"
        )
    paths = [Path(folder) / shard for shard in manifest.shards[split]]
    try:
        if missing := [path.name for path in paths if not path.is_file()]:
            raise FileNotFoundError(f"{missing[0]} is missing")
        records = _Records([str(path) for path in paths])
        if len(records) != (listed := len(manifest.performances[split])):
            raise OSError(f"it holds {len(records):,} performances, {MANIFEST} lists {listed:,}")
        return records
    except _SHARD_ERRORS as error:
        raise _damaged(f"the {split} split of '{folder}'", error) from error


class _Records(ArrayRecordDataSource):
    """Records of shards, their damage told as a UserError."""

    def __getitem__(self, index: SupportsIndex) -> bytes:
        try:
            return super().__getitem__(index)
        except _SHARD_ERRORS as error:
            raise _damaged(f"a record in {Path(self._paths[0]).parent}", error) from error


def _damaged(what: str, error: Exception) -> UserError:
    return UserError(f"{what} is damaged ({error}); delete the folder and prepare it again")


def _shards(folder: Path, split: str, recordings: Sequence[RecordingLike]) -> list[Shard]:
    num_shards = -(-len(recordings) // _PERFORMANCES_PER_SHARD)
    names = [f"{split}-{i:05}-of-{num_shards:05}.array_record" for i in range(num_shards)]
    bounds = [i * len(recordings) // num_shards for i in range(num_shards + 1)]
    return [
        Shard(folder / name, recordings[first:end])
        for name, (first, end) in zip(names, itertools.pairwise(bounds), strict=True)
    ]


def _to_json(manifest: Manifest) -> dict[str, Any]:
    splits = {
        split: {**manifest.totals(split), "shards": manifest.shards[split]}
        for split in manifest.shards
    }
    return {
        "format_version": FORMAT_VERSION,
        "midijax_version": __version__,
        "provenance": manifest.provenance,
        "splits": splits,
        "skipped": [{"name": name, "reason": reason} for name, reason in manifest.skipped],
        "duplicates": [{"name": name, "same_as": first} for name, first in manifest.duplicates],
        "performances": [
            {"split": split, **dataclasses.asdict(entry)}
            for split, entries in manifest.performances.items()
            for entry in entries
        ],
    }


def _from_json(fields: Any) -> Manifest:
    """The inverse of `_to_json`; raises ValueError for what `_to_json` would not have written."""
    version = _field(fields, "format_version", int)
    if version != FORMAT_VERSION:
        raise ValueError(f"format {version}, this midijax reads {FORMAT_VERSION}")
    splits = _field(fields, "splits", dict)
    performances: dict[str, list[Entry]] = {_one_of(SPLITS, split): [] for split in splits}
    for performance in _field(fields, "performances", list):
        split = _one_of(splits, _field(performance, "split", str))
        performances[split].append(_entry(performance))
    return Manifest(
        performances=performances,
        shards={split: _shard_names(about) for split, about in splits.items()},
        provenance=_field(fields, "provenance", dict),
        skipped=_pairs(fields, "skipped", "reason"),
        duplicates=_pairs(fields, "duplicates", "same_as"),
    )


def _field(fields: Any, name: str, kind: type) -> Any:
    """A field of a JSON object, of that very type; a whole number is a good float."""
    if not isinstance(fields, dict) or name not in fields:
        raise ValueError(f"there is no '{name}' in {fields!r:.40}")
    value = fields[name]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"'{name}' is {value!r:.40} and not of type {kind.__name__}")
    return value


def _one_of(allowed: Iterable[str], split: str) -> str:
    if split not in allowed:
        raise ValueError(f"there is no split {split!r:.40}")
    return split


def _shard_names(about: Any) -> list[str]:
    names = _field(about, "shards", list)
    for name in names:
        if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name):
            raise ValueError(f"{name!r:.99} is no file name of a shard")
    return names


def _entry(fields: Any) -> Entry:
    entry = Entry(
        **{
            field.name: _field(fields, field.name, cast(type, field.type))
            for field in dataclasses.fields(Entry)
        }
    )
    if not entry.name.isprintable():
        raise ValueError(f"the name {entry.name!r:.99} is not printable")
    # A note is at most an on, an off and a velocity, each after a time-shift.
    most_events = 6 * entry.notes + entry.seconds + 1
    if not (
        0 <= entry.seconds <= _MAX_SECONDS
        and 0 < entry.notes <= _MAX_NOTES
        and 0 < entry.events <= most_events
    ):
        raise ValueError(f"the numbers of {entry.name!r:.99} cannot be true")
    return entry


def _pairs(fields: Any, name: str, value: str) -> list[tuple[str, str]]:
    return [
        (_field(pair, "name", str), _field(pair, value, str)) for pair in _field(fields, name, list)
    ]
