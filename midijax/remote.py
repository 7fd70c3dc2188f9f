"""Files in buckets, `gs://…` and `s3://…`, by fsspec, which is imported when one is named.

Whatever a bucket's client raises comes as an OSError, as it would of a local file.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

CLIENTS = {"gs": "gcsfs", "s3": "s3fs"}  # the package that fsspec needs for a scheme
EXTRAS = {"gs": "gcs", "s3": "s3"}  # of midijax, that install it

StrPath = str | os.PathLike[str]
Facts = dict[str, Any]  # what a bucket says of a file; `size` in bytes, and its own


def is_remote(path: StrPath) -> bool:
    """Whether a path or URL is that of something in a bucket."""
    return scheme(path) in CLIENTS


def scheme(path: StrPath) -> str:
    """What stands before `://`, or nothing."""
    before, separator, _ = os.fspath(path).partition("://")
    return before if separator else ""


def path(url: str) -> Path:
    """The path of a URL: `etils.epath.Path`, which can what `pathlib.Path` can."""
    os.environ.setdefault("EPATH_USE_TF", "false")  # fsspec, even where TensorFlow is installed
    from etils import epath

    return cast(Path, epath.Path(url))


@contextlib.contextmanager
def new_object(path: StrPath) -> Iterator[Path]:
    """Gives a temporary local path whose file is sent to `path` if the block ends well.

    In a bucket a file is whole or absent.
    """
    name = os.fspath(path).rpartition("/")[2]
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name
        send(Path(folder), [name], os.fspath(path).removesuffix(f"/{name}"))


def check_writable(folder: StrPath) -> None:
    """Writes an empty file into a folder and removes it; OSError if that cannot be."""
    probe = f"{folder}/.writable"
    with _client(probe) as client:
        client.pipe_file(probe, b"")
        client.rm_file(probe)


def facts(path: StrPath) -> Facts | None:
    """What is known of a file; None if there is none of that very name."""
    with _client(path) as client:
        return client.info(os.fspath(path)) if client.isfile(os.fspath(path)) else None


def find(folder: StrPath) -> dict[str, Facts]:
    """All files in a folder and its subfolders, by their paths in it, sorted.

    OSError if one of them leads out of the folder.
    """
    root = os.fspath(folder).rstrip("/")
    with _client(root) as client:
        found = client.find(root, detail=True)
    key = root.partition("://")[2]
    files = {path.removeprefix(f"{key}/"): found[path] for path in sorted(found) if path != key}
    for name in files:
        if ".." in name.split("/") or name.startswith("/"):
            raise OSError(f"the name of '{name}' leads out of it")
    return {name: facts for name, facts in files.items() if not name.endswith("/") and name}


def fetch(folder: StrPath, names: Iterable[str], to: Path) -> None:
    """Copies files of a folder to a local one, several at a time."""
    names = list(names)
    with _client(folder) as client:
        client.get([f"{folder}/{name}" for name in names], [str(to / name) for name in names])


def send(folder: Path, names: Iterable[str], to: StrPath) -> None:
    """Copies files of a local folder to one in a bucket, several at a time."""
    names = list(names)
    with _client(to) as client:
        client.put([str(folder / name) for name in names], [f"{to}/{name}" for name in names])


def remove(folder: StrPath, names: Iterable[str]) -> None:
    """Removes files of a folder."""
    with _client(folder) as client:
        for name in names:
            client.rm_file(f"{folder}/{name}")


@contextlib.contextmanager
def _client(url: StrPath) -> Iterator[Any]:
    """The bucket's file system, in a block in which all errors are OSErrors."""
    import fsspec

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it logs as errors it also raises
    try:
        yield fsspec.filesystem(scheme(url), use_listings_cache=False)
    except Exception as error:  # each client has its own
        raise OSError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, FileNotFoundError):
        return "no such bucket or file"
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return error.strerror
    return " ".join(f"{type(error).__name__}: {error}".split())
