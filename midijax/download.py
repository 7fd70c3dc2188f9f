"""Downloads that resume where they broke off, are bounded, and are checked before they are used."""

import hashlib
import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future
from pathlib import Path

from midijax import progress
from midijax.errors import UserError

TIMEOUT_SECONDS = 30.0  # for the next byte
PROGRESS_BYTES = 2**16  # what has to come ...
PROGRESS_SECONDS = 60.0  # ... in this time
ATTEMPTS = 3  # in a row without PROGRESS_BYTES gained
RETRY_SECONDS = 2.0
_CHUNK = 2**20

_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
    ValueError,  # for an address to be redirected to
)


def fetch(url: str, path: str | Path, sha256: str, max_bytes: int) -> Path:
    """Downloads `url` to `path` unless it is there already, with a progress bar; returns `path`.

    What arrives is kept in `path` + ".part" until it is whole, so that a broken download resumes,
    here or in the next call. A server that sends too much or too slowly is given up.

    Args:
      url: where the file is.
      path: where it goes; folders on the way are made.
      sha256: of the file, in hexadecimal.
      max_bytes: no more than this is read and kept.

    Raises:
      UserError: the server fails for good, what came is not the file, or it cannot be written; then
        nothing is left under `path`.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        if path.is_file() and _sha256_of(path) == sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        _complete(url, part, max_bytes)
        if _sha256_of(part) != sha256:
            part.unlink()
            raise UserError(f"what came from {url} is not the expected file; try again")
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"'{part}' cannot be written: {error.strerror or error}; {_size(part):,} bytes are "
            "kept, mend that and run the command again to go on from there"
        ) from error
    return path


def _complete(url: str, part: Path, max_bytes: int) -> None:
    """Adds to `part` until it is whole, over as many connections as that takes."""
    failures, most = 0, _size(part)
    while True:
        try:
            if _continue_in_time(url, part, max_bytes):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            error.close()
            raise UserError(f"{url} cannot be had: {error.code} {_line(error.reason)}") from error
        except _NETWORK_ERRORS as error:
            problem = _line(getattr(error, "reason", error)) or type(error).__name__
        failures = 1 if _size(part) >= most + PROGRESS_BYTES else failures + 1
        most = max(most, _size(part))
        if failures == ATTEMPTS:
            raise UserError(
                f"{url} cannot be had: {problem}; {_size(part):,} bytes are kept, "
                "run the command again to go on from there"
            )
        time.sleep(RETRY_SECONDS)


def _continue_in_time(url: str, part: Path, max_bytes: int) -> bool:
    """As `_continue`, but raises TimeoutError where too little comes in PROGRESS_SECONDS.

    No timeout of a socket ends what sends a byte now and then, be it in a header. The thread that
    waits for it is left behind, and writes no more.
    """
    outcome: Future[bool] = Future()
    given_up = threading.Event()

    def work() -> None:
        try:
            outcome.set_result(_continue(url, part, max_bytes, given_up))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            size = _size(part)
            try:
                return outcome.result(PROGRESS_SECONDS)
            except TimeoutError:
                if outcome.done():
                    raise
                if _size(part) < size + PROGRESS_BYTES:
                    raise TimeoutError("the server is too slow") from None
    finally:
        given_up.set()


def _continue(url: str, part: Path, max_bytes: int, given_up: threading.Event) -> bool:
    """Downloads what `part` lacks; returns whether it is whole."""
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            error.close()
            return True  # nothing is lacking; the hash will tell whether that is so
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)  # there is no going on with this server
            raise http.client.HTTPException("the server sends another part than it is asked for")
        size = start if resumed else 0  # a server may ignore the range and send it all
        total = size + (response.length or 0)
        _check_size(url, total, max_bytes)
        bar = progress.bar(
            desc=part.stem, initial=size, total=total or None, unit="B", unit_scale=True
        )
        with bar, part.open("ab" if resumed else "wb") as file:
            while not given_up.is_set() and (chunk := response.read1(_CHUNK)):
                size += len(chunk)
                _check_size(url, size, max_bytes)
                file.write(chunk)
                bar.update(len(chunk))
    return size >= total


def _check_size(url: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UserError(f"{url} is not the expected file: it is larger than {max_bytes:,} bytes")


def _line(text: object) -> str:
    """What a server or a library says, fit for a sentence."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:200]


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
