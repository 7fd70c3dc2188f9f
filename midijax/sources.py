"""Where MIDI files are found: folders and zip archives, with what a metadata CSV says of them.

Archives are read where they lie: nothing is unpacked to disk, so that a member's name is but a
label, whatever it says. In folders, links to files are read; links to folders are not followed.
"""

import csv
import dataclasses
import functools
import io
import itertools
import os
import posixpath
import stat
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from midijax import midi
from midijax.corpus import SPLITS
from midijax.errors import UserError

MIDI_SUFFIXES = (".mid", ".midi")
MAX_DIRECTORY_BYTES = 128 * 2**20  # of an archive: a million files and more

# zipfile unpacks these piece by piece, and others at once, however much that is.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED, _IS_UTF8 = 0x1, 0x800  # flags of a member
_HEADER_BYTES = 30  # before a member, at least

# Column names of MAESTRO's CSV, then plainer ones.
_FILE_COLUMNS = ("midi_filename", "file")
_COMPOSER_COLUMNS = ("canonical_composer", "composer")
_TITLE_COLUMNS = ("canonical_title", "title")
_COLUMNS = {"split", *_FILE_COLUMNS, *_COMPOSER_COLUMNS, *_TITLE_COLUMNS}

_Found = TypeVar("_Found")
_Member = tuple[str, Callable[[], bytes]]  # a relative path, and what reads the file


@dataclasses.dataclass(frozen=True)
class Source:
    """One MIDI file, not yet read; it can be sent to other processes.

    Attributes:
      name: its path, beginning with the name of the folder or archive it was found in.
      read: gives its bytes, at most `midi.MAX_BYTES`, or raises UserError with the reason.
      split: what the metadata CSV assigns it to, or empty.
      composer, title: from the metadata CSV, or empty.
      written_at: when it, or the archive it is in, was last written, in nanoseconds; 0 if unknown.
    """

    name: str
    read: Callable[[], bytes]
    split: str = ""
    composer: str = ""
    title: str = ""
    written_at: int = 0


def find(path: str | Path, root: str = "") -> list[Source]:
    """The MIDI files of a folder (with its subfolders) or of a zip archive, by name, or one file.

    What macOS adds to archives is left out, and archives within archives are not opened.

    Args:
      path: the folder, archive or file.
      root: what the names begin with, if not the name of the folder, archive or file.

    Raises:
      UserError: there is nothing to be found, or a metadata CSV that cannot be followed.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() in MIDI_SUFFIXES:
        read = functools.partial(_read_file, path)
        return [Source(printable(root or path.name), read, written_at=_written_at(path))]
    members = sorted(_members(path), key=lambda member: member[0])
    metadata = _metadata(members)
    root, is_folder = root or path.resolve().name, path.is_dir()
    sources = [
        Source(
            printable(f"{root}/{name.lstrip('/')}"),
            read,
            written_at=_written_at(path / name if is_folder else path),
            **metadata.get(name, {}),
        )
        for name, read in members
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


def _members(path: Path) -> Iterator[_Member]:
    if path.is_dir():
        return _folder_members(path)
    if path.is_file():
        return _zip_members(path)
    problem = "is neither file nor folder" if path.exists() else "does not exist"
    raise UserError(f"'{path}' {problem}; name a MIDI file, or a folder or zip archive of them")


def _folder_members(folder: Path) -> Iterator[_Member]:
    def report(error: OSError) -> None:
        raise UserError(f"'{error.filename}' cannot be listed: {error.strerror}") from error

    try:
        for parent, _, names in os.walk(folder, onerror=report):
            for name in names:
                path = Path(parent, name)
                if not _is_clutter(name):
                    yield path.relative_to(folder).as_posix(), functools.partial(_read_file, path)
    except RecursionError as error:
        raise UserError(f"'{folder}' holds folders within folders a thousand deep") from error


def _zip_members(path: Path) -> Iterator[_Member]:
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(
                f"'{path}' is no MIDI file, folder or whole zip archive; name one of these"
            )
        written_at = path.stat().st_mtime_ns
        members = _archive(path, written_at).infolist()
    except UserError:
        raise
    except Exception as error:  # zipfile lets through whatever it stumbles over
        raise UserError(f"the archive '{path}' cannot be opened: {_told(error)}") from error
    last = {_name(member): member for member in members}  # what unpacking would leave
    overlapping = _overlapping(members)
    for member in members:
        name = _name(member)
        if name.endswith("/") or _is_clutter(name):
            continue
        if member is not last[name]:
            yield name, functools.partial(_refuse, "is followed by another of the same name")
        elif member in overlapping:
            yield name, functools.partial(_refuse, "shares its bytes with another (a zip bomb?)")
        else:
            yield name, functools.partial(_read_member, path, written_at, member)


class _Directory(io.BufferedReader):
    """An archive's file: zipfile reads the whole directory at once, which is bounded here."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("too many files in it; give the unpacked folder")
        return super().read(size)


@functools.lru_cache(maxsize=1)
def _archive(path: Path, written_at: int) -> zipfile.ZipFile:
    """The archive as it was written then, opened once in each process."""
    file = _Directory(io.FileIO(path))
    try:
        archive = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    weakref.finalize(archive, file.close)
    return archive


def _name(member: zipfile.ZipInfo) -> str:
    """Its path; where the archive names no encoding, UTF-8 if it can be that, or else CP437."""
    if member.flag_bits & _IS_UTF8:
        return member.filename
    try:
        return member.filename.encode("cp437").decode()
    except UnicodeError:
        return member.filename


def _overlapping(members: list[zipfile.ZipInfo]) -> set[zipfile.ZipInfo]:
    """Those that reach into the next one: the small archives that unpack to petabytes."""
    in_order = sorted(members, key=lambda member: member.header_offset)
    return {
        member
        for member, following in itertools.pairwise(in_order)
        if member.header_offset + _HEADER_BYTES + member.compress_size > following.header_offset
    }


def _is_clutter(name: str) -> bool:
    return name.startswith("__MACOSX/") or posixpath.basename(name).startswith("._")


def _refuse(reason: str) -> bytes:
    raise UserError(reason)


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # reading it will tell
        return 0


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would keep us waiting
            raise UserError("is no plain file")
        with path.open("rb") as file:
            return _read_bounded(file, path.stat().st_size)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from error


def _read_member(path: Path, written_at: int, member: zipfile.ZipInfo) -> bytes:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError("is a link")
    if member.flag_bits & _ENCRYPTED:
        raise UserError("is encrypted; unpack it with its password")
    if member.compress_type not in _METHODS:
        raise UserError("is compressed in an unusual way; pack the archive anew as plain zip")
    try:
        with _archive(path, written_at).open(member) as file:
            return _read_bounded(file, member.file_size)
    except UserError:
        raise
    except Exception as error:  # zipfile lets through whatever its decompressors raise
        raise UserError(f"cannot be unpacked: {_told(error)}") from error


def _told(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__


def _read_bounded(file: IO[bytes], size: int) -> bytes:
    if size <= midi.MAX_BYTES:
        data = file.read(midi.MAX_BYTES + 1)
        if len(data) <= midi.MAX_BYTES:
            return data
    raise UserError(f"is larger than {midi.MAX_BYTES // 2**20} MiB")


def _metadata(members: list[_Member]) -> dict[str, dict[str, str]]:
    """Split, composer and title by relative path, from every CSV that names files."""
    names = {name for name, _ in members}
    metadata: dict[str, dict[str, str]] = {}
    for table, read in members:
        if table.lower().endswith(".csv"):
            for row in _rows(table, read):
                path = posixpath.normpath(
                    posixpath.join(posixpath.dirname(table), _first(row, _FILE_COLUMNS))
                )
                if path in names:
                    _add(metadata.setdefault(path, {}), row, table, path)
    return metadata


def _add(known: dict[str, str], row: dict[str, str], table: str, path: str) -> None:
    """Adds to what is known of a file what a row of a table says of it."""
    split = row.get("split", "")
    if split and (split not in SPLITS or known.get("split", split) != split):
        raise UserError(
            f"the table '{printable(table)}' puts '{printable(path)}' into "
            f"'{printable(split[:40])}', but each file must be in one of {', '.join(SPLITS)}"
        )
    new = {
        "split": split,
        "composer": printable(_first(row, _COMPOSER_COLUMNS)),
        "title": printable(_first(row, _TITLE_COLUMNS)),
    }
    known |= {name: value for name, value in new.items() if value}


def _rows(table: str, read: Callable[[], bytes]) -> Iterator[dict[str, str]]:
    """The columns that say something here, row by row."""
    try:
        rows = csv.reader(io.StringIO(read().decode("utf-8-sig", "replace"), newline=""))
        columns = {name: i for i, name in enumerate(next(rows, [])) if name in _COLUMNS}
        for row in rows if columns else ():
            yield {name: row[i] for name, i in columns.items() if i < len(row)}
    except (UserError, csv.Error) as error:
        raise UserError(
            f"the table '{printable(table)}' {error}; mend it or take it away"
        ) from error


def _first(row: dict[str, str], columns: tuple[str, ...]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")
