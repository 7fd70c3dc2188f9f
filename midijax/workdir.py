"""A run's folder, held by one process at a time, with a note of what runs in it."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import platform
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from midijax import __version__, atomic, config, mirror, remote
from midijax.config import Config
from midijax.errors import UserError

_LOCK = ".lock"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A run's folder.

    Attributes:
      name: as the user gave it, made absolute.
      path: the local folder in which the run works: that one, or the mirror of one in a bucket.
      send: brings what has changed to the bucket, if it is one.
    """

    name: Path
    path: Path
    send: Callable[[], None]


@contextlib.contextmanager
def held(folder: Path, is_primary: bool = True) -> Iterator[Workdir]:
    """Makes the folder and keeps other runs on this machine out of it until the process ends.

    Of several processes of a run the primary does so; the others get a folder for what they alone
    write. Raises UserError if another run holds it, it cannot be written to, or a bucket not be
    reached.
    """
    path = mirror.place(folder)
    if not is_primary:
        path.mkdir(parents=True, exist_ok=True)
        yield Workdir(path, path, lambda: None)
        return
    with _locked(path):
        if remote.is_remote(folder):
            run = Workdir(folder, path, mirror.Mirror(folder, path).send)
        else:
            run = Workdir(path, path, lambda: None)
        yield run
        run.send()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    atomic.require_text(folder)
    try:
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a+")
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written to: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"--workdir={folder} is in use by another run ({lock.read().strip()}); "
                "wait for it, stop it, or take another --workdir"
            ) from None
        except OSError as error:
            raise UserError(
                f"--workdir={folder} cannot be locked ({error.strerror}), so no other run could be "
                "kept out; take a folder whose file system has locks (Lustre: mount -o flock)"
            ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        try:
            yield
        finally:
            if is_new:
                _leave_no_trace(folder)


def _leave_no_trace(folder: Path) -> None:
    """Removes a folder in which nothing was written, as by a run that was refused."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()


def describe(folder: Path, chosen: Config) -> None:
    """Leaves a note of the config and the versions in the folder."""
    versions = {"midijax": __version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    for name, content in (("config", config.to_json(chosen)), ("versions", versions)):
        atomic.write_text(folder / f"{name}.json", json.dumps(content, indent=2) + "\n")
