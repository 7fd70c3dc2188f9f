"""Where MIDI files are found: folders and zip archives, with what a metadata CSV says of them."""

import csv
import dataclasses
import functools
import io
import os
import posixpath
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from midijax import midi
from midijax.errors import UserError

MIDI_SUFFIXES = (".mid", ".midi")

# Column names of MAESTRO's CSV, then plainer ones.
_FILE_COLUMNS = ("midi_filename", "file")
_COMPOSER_COLUMNS = ("canonical_composer", "composer")
_TITLE_COLUMNS = ("canonical_title", "title")

_Found = TypeVar("_Found")


@dataclasses.dataclass(frozen=True)
class Source:
    """One MIDI file, not yet read.

    Attributes:
      name: its path, beginning with the name of the folder or archive it was found in.
      read: gives its bytes, at most `midi.MAX_BYTES`, or raises UserError with the reason.
      split: what the metadata CSV assigns it to, or empty.
      composer, title: from the metadata CSV, or empty.
    """

    name: str
    read: Callable[[], bytes]
    split: str = ""
    composer: str = ""
    title: str = ""


def find(path: str | Path) -> list[Source]:
    """The MIDI files of a folder (with its subfolders) or of a zip archive, by name, or one file.

    What macOS adds to archives is left out. Raises UserError if there is nothing to be found.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() in MIDI_SUFFIXES:
        return [Source(printable(path.name), functools.partial(_read_file, path))]
    members = dict(sorted(_members(path).items()))
    metadata = _metadata(members)
    root = path.resolve().name
    sources = [
        Source(printable(posixpath.join(root, name)), read, **metadata.get(name, {}))
        for name, read in members.items()
        if name.lower().endswith(MIDI_SUFFIXES)
    ]
    return _some(sources, path)


def midi_files(path: str | Path) -> list[Path]:
    """The MIDI files of a folder (with its subfolders), by name, or the one file as it is.

    Raises UserError if there is none.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"'{path}' does not exist; name a MIDI file or a folder of them")
    if not path.is_dir():
        return [path]
    names = sorted(name for name, _ in _folder_members(path))
    return _some([path / name for name in names if name.lower().endswith(MIDI_SUFFIXES)], path)


def printable(name: str) -> str:
    """A file name, which need not be valid text, as a line that is."""
    return "".join(character if character.isprintable() else "?" for character in name)


def _some(found: list[_Found], path: Path) -> list[_Found]:
    if not found:
        raise UserError(f"'{path}' holds no {' or '.join(MIDI_SUFFIXES)} files")
    return found


def _members(path: Path) -> dict[str, Callable[[], bytes]]:
    """A reading function for each relative path."""
    if path.is_dir():
        return dict(_folder_members(path))
    if zipfile.is_zipfile(path):
        return dict(_zip_members(path))
    problem = "is no MIDI file, folder or zip archive" if path.exists() else "does not exist"
    raise UserError(f"'{path}' {problem}; name a MIDI file, or a folder or zip archive of them")


def _folder_members(folder: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    def report(error: OSError) -> None:
        raise UserError(f"'{error.filename}' cannot be listed: {error.strerror}") from error

    for parent, _, names in os.walk(folder, onerror=report):
        for name in names:
            path = Path(parent, name)
            if not _is_clutter(name):
                yield path.relative_to(folder).as_posix(), functools.partial(_read_file, path)


def _zip_members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"the archive '{path}' cannot be opened: {error}") from error
    for member in archive.infolist():
        if not member.is_dir() and not _is_clutter(member.filename):
            yield member.filename, functools.partial(_read_member, archive, member)


def _is_clutter(name: str) -> bool:
    return name.startswith("__MACOSX/") or posixpath.basename(name).startswith("._")


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would keep us waiting
            raise UserError("is no plain file")
        with path.open("rb") as file:
            return _read_bounded(file, path.stat().st_size)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError("is a link")
    try:
        with archive.open(member) as file:
            return _read_bounded(file, member.file_size)
    except UserError:
        raise
    except Exception as error:  # zipfile lets through whatever its decompressors raise
        raise UserError(f"cannot be unpacked: {error}") from error


def _read_bounded(file: IO[bytes], size: int) -> bytes:
    if size <= midi.MAX_BYTES:
        data = file.read(midi.MAX_BYTES + 1)
        if len(data) <= midi.MAX_BYTES:
            return data
    raise UserError(f"is larger than {midi.MAX_BYTES // 2**20} MiB")


def _metadata(members: dict[str, Callable[[], bytes]]) -> dict[str, dict[str, str]]:
    """Split, composer and title by relative path, from every CSV that names files."""
    metadata = {}
    for name, read in members.items():
        if name.lower().endswith(".csv"):
            for row in _rows(name, read):
                if file := _first(row, _FILE_COLUMNS):
                    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), file))
                    metadata[path] = {
                        "split": row.get("split") or "",
                        "composer": _first(row, _COMPOSER_COLUMNS),
                        "title": _first(row, _TITLE_COLUMNS),
                    }
    return metadata


def _rows(name: str, read: Callable[[], bytes]) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(read().decode("utf-8-sig", "replace"))))
    except (UserError, csv.Error) as error:
        raise UserError(f"the table '{name}' {error}; mend it or take it away") from error


def _first(row: dict[str, str], columns: tuple[str, ...]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")
