"""Downloads that resume where they broke off and are checked before they are used."""

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from midijax import progress
from midijax.errors import UserError

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 3  # in a row without a byte gained
RETRY_SECONDS = 2.0
_CHUNK = 2**20

_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)


def fetch(url: str, path: str | Path, sha256: str) -> Path:
    """Downloads `url` to `path` unless it is there already, with a progress bar; returns `path`.

    What arrives is kept in `path` + ".part" until it is whole, so that a broken download resumes,
    here or in the next call. Raises UserError if the server fails for good, or if the file is not
    the one whose SHA-256 (in hexadecimal) is given; then nothing is left under `path`.
    """
    path = Path(path)
    if path.is_file() and _sha256_of(path) == sha256:
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _complete(url, part)
        if _sha256_of(part) != sha256:
            part.unlink()
            raise UserError(f"what came from {url} is not the expected file; try again")
        part.replace(path)
    except OSError as error:
        raise UserError(f"'{part}' cannot be written: {error.strerror or error}") from error
    return path


def _complete(url: str, part: Path) -> None:
    """Adds to `part` until it is whole, over as many connections as that takes."""
    failures, most = 0, _size(part)
    while True:
        try:
            if _continue(url, part):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            raise UserError(f"{url} cannot be had: {error.code} {error.reason}") from error
        except _NETWORK_ERRORS as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        failures = 1 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures == ATTEMPTS:
            raise UserError(
                f"{url} cannot be had: {problem}; {_size(part):,} bytes are kept, "
                "run the command again to go on from there"
            )
        time.sleep(RETRY_SECONDS)


def _continue(url: str, part: Path) -> bool:
    """Downloads what `part` lacks; returns whether it is whole."""
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is lacking; the hash will tell whether that is so
        raise
    with response:
        resumed = (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")
        start = start if resumed else 0  # a server may ignore the range and send it all
        total = start + int(response.headers.get("Content-Length") or 0)
        bar = progress.bar(
            desc=part.stem, initial=start, total=total or None, unit="B", unit_scale=True
        )
        with bar, part.open("ab" if resumed else "wb") as file:
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return _size(part) >= total


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
