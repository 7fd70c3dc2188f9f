"""Files and folders that are whole or absent, whenever the process that writes them is killed."""

import contextlib
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from midijax import remote
from midijax.errors import UserError

_LOCK = ".lock"  # in a folder being written


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path whose file becomes `path` if the block ends well.

    It may be in a bucket. Folders on the way to it are made. UserError where it cannot be written.
    """
    new = remote.new_object if remote.is_remote(path) else _new_local_file
    try:
        with new(path) as partial:
            yield partial
    except OSError as error:
        raise _unwritable(path, error) from error


def remove_partials(folder: Path) -> None:
    """Removes what killed runs left of files that `new_file` was to make in a folder."""
    for partial in folder.glob(".*.partial-*"):
        partial.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file, as `new_file` does."""
    with new_file(path) as partial:
        partial.write_text(text, "utf-8")


@contextlib.contextmanager
def workspace(folder: str | Path) -> Iterator[Path]:
    """Gives the folder of unfinished work on `folder`, with what a run cut short left in it.

    It lies beside `folder` and is this process's alone until the block ends: then it is removed if
    the block ended well or left nothing there. Raises UserError if `folder` already holds
    something, cannot be written, or is being worked on by another run.
    """
    folder = _vacant(folder)
    work = folder.with_name(f".{folder.name}.unfinished")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _locked(work / _LOCK):
            finished = False
            try:
                yield work
                finished = True
            finally:
                if finished or [path.name for path in work.iterdir()] == [_LOCK]:
                    shutil.rmtree(work)
    except BlockingIOError as error:
        raise UserError(f"'{folder}' is being written by another run; wait for its end") from error
    except OSError as error:
        raise _unwritable(folder, error) from error


@contextlib.contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Gives a temporary folder beside `folder` that takes its name if the block ends well."""
    folder = _vacant(folder)
    partial = _partial(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        partial.mkdir()
        with _locked(partial / _LOCK):
            yield partial
            (partial / _LOCK).unlink()
            partial.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_text(folder: Path) -> None:
    """Raises UserError for a name that the libraries that write into folders cannot take."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the name '{folder}' is no text in UTF-8; choose another") from error


def _vacant(folder: str | Path) -> Path:
    folder = Path(folder).absolute()
    require_text(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"'{folder}' already holds something; choose another folder")
    return folder


@contextlib.contextmanager
def _new_local_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    path = Path(path)
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name without the content
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.parent / f".{path.name}.partial-{uuid.uuid4().hex}"


def _unwritable(path: str | os.PathLike[str], error: OSError) -> UserError:
    return UserError(f"'{path}' cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends; OSError if another holds it."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _remove_abandoned(folder: Path) -> None:
    """Removes the temporary folders of killed runs; those of running ones are locked."""
    for partial in folder.parent.glob(f".{glob.escape(folder.name)}.partial-*"):
        with contextlib.suppress(OSError), _locked(partial / _LOCK):
            shutil.rmtree(partial)
