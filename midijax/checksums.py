"""SHA-256 sums of a folder's files, kept beside them in the form of `sha256sum`."""

import hashlib
from pathlib import Path

from midijax import atomic

NAME = "SHA256SUMS"


class Damage(Exception):
    """A folder is not what was written; says which file, and how."""


def write(folder: Path) -> None:
    """Notes the sum of every file in the folder, which counts as complete from then on."""
    lines = [f"{_sum_of(folder / name)}  {name}\n" for name in sorted(_names(folder))]
    atomic.write_text(folder / NAME, "".join(lines))


def verify(folder: Path, except_under: str = "") -> None:
    """Raises Damage unless the files are those that were there, with the bytes they had.

    Files under the subfolder `except_under` may be missing or of any content.
    """
    try:
        if not (folder / NAME).is_file():
            raise Damage(f"its file {NAME} is missing")
        expected = dict(_parse(line) for line in _lines(folder))
        present = _names(folder)
        for name in sorted(expected.keys() | present):
            if except_under and name.startswith(f"{except_under}/"):
                continue
            if name not in present:
                raise Damage(f"its file {name} is missing")
            if expected.get(name) != _sum_of(folder / name):
                raise Damage(f"its file {name} is not what was saved")
    except OSError as error:
        raise Damage(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Damage(f"its file {NAME} is not what was saved") from error


def _lines(folder: Path) -> list[str]:
    """The lines of the sums as they were written: str.splitlines would end one at other bytes."""
    return (folder / NAME).read_bytes().decode().removesuffix("\n").split("\n")


def _parse(line: str) -> tuple[str, str]:
    """Name and sum."""
    sha256, name = line.split("  ", 1)
    return name, sha256


def _names(folder: Path) -> set[str]:
    """Every file by its path in the folder, but for the sums themselves; Damage for a pipe."""
    names = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            names.add(name)
        elif not path.is_dir():
            raise Damage(f"its file {name} is no plain file")
    return names - {NAME}


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
