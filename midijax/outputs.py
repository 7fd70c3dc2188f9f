"""Where results go: found fit to be written before there is any result, and nothing left there."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from midijax import remote
from midijax.errors import UserError


def require_file(flag: str, path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raises UserError if the flag's file cannot be written, or only over an input or a device."""
    with _told(flag, path):
        if remote.is_remote(path):
            return remote.check_writable(path.parent)
        if path.is_dir():
            raise UserError(f"--{flag}={path} is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise UserError(f"--{flag}={path} is no plain file; name another")
        if path.exists() and _real(path) in map(_real, inputs):
            raise UserError(f"--{flag}={path} is what is to be read; name another file")
        _write_nameless_file(path.absolute().parent)


def require_folder(flag: str, path: Path) -> None:
    """Raises UserError if no file can be written into the flag's folder, there already or not."""
    with _told(flag, path):
        if remote.is_remote(path):
            return remote.check_writable(path)
        _write_nameless_file(path.absolute())


def require_outside(flag: str, path: Path, inputs: Iterable[Path]) -> None:
    """Raises UserError if the flag's folder is one of the inputs, or within one."""
    for given in inputs:
        if _real(given) in (_real(path), *_real(path).parents):
            raise UserError(
                f"--{flag}={path} lies in '{given}', which is to be read; name another place"
            )


@contextlib.contextmanager
def _told(flag: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--{flag}={path} cannot be written: {error.strerror or error}; name another place"
        ) from error


def _write_nameless_file(folder: Path) -> None:
    """Into the folder, or the first on the way up that is there."""
    try:
        folder.lstat()
    except FileNotFoundError:
        return _write_nameless_file(folder.parent)
    with tempfile.TemporaryFile(dir=folder):
        return None


def _real(path: Path) -> Path:
    """Where it leads to, be there something or not."""
    return Path(os.path.realpath(path))
