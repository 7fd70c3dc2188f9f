"""Folders in buckets as folders on this machine: what is there is fetched, what is new is sent."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

from midijax import cache, checksums, progress, remote
from midijax.errors import TryAgain, UserError
from midijax.remote import Facts

CHECKPOINTS = "checkpoints"  # in a workdir, a folder for each step
_AT_A_TIME = 16  # files fetched between one move of the bar and the next


def fetched(path: Path) -> Path:
    """A local copy of a file or folder in a bucket; a local path is given back as it is.

    What was fetched is kept in the user's cache folder and fetched anew when it has changed in the
    bucket. Raises UserError if it cannot be had.
    """
    if not remote.is_remote(path):
        return path
    with _told(path):
        facts = remote.facts(path)
        found = {path.name: facts} if facts else remote.find(path)
        if not found:
            raise UserError(f"'{path}' does not exist; name a file or a folder that holds some")
        copy = cache.folder() / "fetched" / _short_hash(repr([str(path), *found.items()]))
        with _alone(copy):
            if not copy.exists():
                partial = copy.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                if facts:
                    _fetch(path.parent, found, partial)
                else:
                    _fetch(path, found, partial / path.name)
                partial.rename(copy)
    return copy / path.name


@contextlib.contextmanager
def checkpoints(workdir: Path, except_item: str) -> Iterator[Path]:
    """A local copy of a workdir's complete checkpoints, for as long as the block runs.

    They lack the item `except_item`. A local workdir is given back as it is. Raises UserError if
    the bucket cannot be read.
    """
    if not remote.is_remote(workdir):
        yield workdir
        return
    with tempfile.TemporaryDirectory() as copy:
        with _told(workdir):
            found = {
                name: facts
                for name, facts in _complete(remote.find(workdir)).items()
                if name.startswith(f"{CHECKPOINTS}/") and except_item not in name.split("/")
            }
            _fetch(workdir, found, Path(copy))
        yield Path(copy)


@contextlib.contextmanager
def new_folder(folder: Path, last: str) -> Iterator[Path]:
    """Gives the path of a local folder, to be made by the block; it is sent to `folder` then.

    Of its files, `last` is sent when all others are there. A local folder is given back as it is.
    Raises UserError if the one in the bucket holds something already or cannot be written to.
    """
    if not remote.is_remote(folder):
        yield folder
        return
    local = place(folder)
    sending = local.with_suffix(".sending")  # there until all is sent, so that it can be sent again
    with _alone(local):
        with _told(folder):
            found = remote.find(folder)
        if found and (last in found or not sending.exists()):
            raise UserError(f"'{folder}' already holds something; choose another folder")
        shutil.rmtree(local, ignore_errors=True)
        yield local
        names = _state(local).keys()
        with _told(folder):
            sending.touch()
            remote.send(local, names - {last}, folder)
            _check_sizes(local, names - {last}, folder)
            remote.send(local, names & {last}, folder)
            sending.unlink()
        shutil.rmtree(local)


def place(folder: Path) -> Path:
    """Where a run whose workdir is `folder` does its work: in a local one, or in a mirror of it."""
    if not remote.is_remote(folder):
        return folder.absolute()
    return cache.folder() / "mirrors" / f"{folder.name}-{_short_hash(str(folder))}"


class Mirror:
    """A workdir in a bucket, and the local folder in which its run works."""

    def __init__(self, source: Path, folder: Path):
        """Makes `folder` hold what `source` does, less checkpoints that are not complete.

        Those are named on standard error. What else is in `folder` goes, but for files whose names
        begin with a dot. Raises UserError if the bucket cannot be read.
        """
        self._source = source
        self._folder = folder
        with _told(source):
            found = {
                name: facts
                for name, facts in remote.find(source).items()
                if len(_visible(name.split("/"))) == 1 + name.count("/")
            }
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif not path.name.startswith("."):
                    path.unlink()
            complete = _complete(found)
            _fetch(source, complete, folder)
        for step in sorted({name.split("/")[1] for name in found.keys() - complete.keys()}):
            sentence = f"{source}/{CHECKPOINTS}/{step} was not sent to its end; it does not count"
            print(sentence, file=sys.stderr)
        self._sent: dict[str, tuple[int, int] | None] = {**dict.fromkeys(found), **_state(folder)}
        self._has_sent = False

    def send(self) -> None:
        """Makes the bucket hold what the folder does.

        A checkpoint's sums are taken away before anything else of it changes, and sent when it is
        there in full and nothing else in its folder: it is complete there or does not count. One
        that is gone here goes there when there is a complete one. Raises UserError if the bucket
        cannot be written to, TryAgain if that was possible before.
        """
        now = _state(self._folder)
        changed = {name for name, state in now.items() if self._sent.get(name) != state}
        gone = self._sent.keys() - now.keys()
        sums = {name for name in self._sent.keys() | changed if name.endswith(f"/{checksums.NAME}")}
        kept = set() if sums & now.keys() else _in_checkpoints(gone)
        replaced = {name for name in gone if _sums_of(name) in now}
        with _told(self._source, may_come_back=self._has_sent):
            remote.remove(self._source, changed & sums & self._sent.keys())
            remote.send(self._folder, changed - sums, self._source)
            _check_sizes(self._folder, _in_checkpoints(changed - sums), self._source)
            remote.remove(self._source, replaced)
            remote.send(self._folder, changed & sums, self._source)
            remote.remove(self._source, gone & sums - kept)
            remote.remove(self._source, gone - sums - replaced - kept)
        self._sent = {**dict.fromkeys(kept), **now}
        self._has_sent = True


def _in_checkpoints(names: Set[str]) -> set[str]:
    return {name for name in names if name.startswith(f"{CHECKPOINTS}/")}


def _sums_of(name: str) -> str:
    """The checksums of the checkpoint that a file belongs to, or a name that no file has."""
    return "/".join([*name.split("/")[:2], checksums.NAME]) if name.count("/") > 1 else ""


def _check_sizes(folder: Path, names: Set[str], sent_to: Path) -> None:
    """Raises OSError unless the files in the bucket are as large as those that were sent."""
    found = remote.find(sent_to) if names else {}
    for name in names:
        came = found[name]["size"] if name in found else None
        _require_whole(name, (folder / name).stat().st_size, came)


def _require_whole(name: str, size: int, came: int | None) -> None:
    """Raises OSError unless all bytes of a file came; None: not even a file did."""
    if came != size:
        raise OSError(f"of {size} bytes of '{name}' came {came or 0}")


def _complete(found: Mapping[str, Facts]) -> dict[str, Facts]:
    """The files of a workdir, less those of checkpoints of which not all was sent."""

    def is_wanted(name: str) -> bool:
        folder, _, rest = name.partition("/")
        step, is_inside, _ = rest.partition("/")
        return (
            folder != CHECKPOINTS or not is_inside or f"{folder}/{step}/{checksums.NAME}" in found
        )

    return {name: facts for name, facts in found.items() if is_wanted(name)}


def _fetch(folder: Path, files: Mapping[str, Facts], to: Path) -> None:
    """Copies files; OSError if one has not the size that it is said to have."""
    names, sizes = list(files), [facts["size"] for facts in files.values()]
    with progress.bar(
        total=sum(sizes),
        desc=f"from {folder}",
        unit="B",
        unit_scale=True,
        disable=not names,
    ) as bar:
        for first in range(0, len(names), _AT_A_TIME):
            some = slice(first, first + _AT_A_TIME)
            remote.fetch(folder, names[some], to)
            for name, size in zip(names[some], sizes[some], strict=True):
                _require_whole(name, size, (to / name).stat().st_size)
            bar.update(sum(sizes[some]))


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file by its path in the folder; names beginning with a dot left out."""
    state = {}
    for root, folders, names in os.walk(folder):
        folders[:] = _visible(folders)
        for path in (Path(root) / name for name in _visible(names)):
            facts = path.stat()
            state[path.relative_to(folder).as_posix()] = facts.st_size, facts.st_mtime_ns
    return state


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is in such a block for the same folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _told(path: Path, may_come_back: bool = False) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        sentence = f"'{path}' cannot be reached: {error.strerror or error}; "
        if may_come_back:
            sentence += "later the same command goes on from the last checkpoint there"
            raise TryAgain(sentence) from error
        sentence += "look at its name, the credentials and the network"
        raise UserError(sentence) from error


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
