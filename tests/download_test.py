import contextlib
import gc
import hashlib
import http.server
import threading
import time
from pathlib import Path

import pytest

from midijax import download
from midijax.errors import UserError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMIT = 2 * len(CONTENT)


def fetch(server, path):
    return download.fetch(server.url, path, SHA256, LIMIT)


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; `cuts` are the bytes after which the next connections break off."""

    daemon_threads = True
    content = CONTENT
    keeps_ranges = True
    cuts: tuple[int, ...] = ()
    status = 200
    misbehave = None  # what to do instead, given a handler

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []
        self.stopped = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.misbehave:
            return server.misbehave(self)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        start = start if server.keeps_ranges else 0
        if server.status != 200:
            return self.send_error(server.status)
        if start >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            size = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = None
        if server.cuts:
            end, server.cuts = start + server.cuts[0], server.cuts[1:]
        self.wfile.write(server.content[start:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "cache" / "file.zip"
    for _ in range(2):
        assert fetch(server, path).read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.zip"]


def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path):
    server.cuts = (100_000, 200_000, 0, 300_000)
    fetch(server, tmp_path / "f")
    starts = (100_000, 300_000, 300_000, 600_000)
    assert server.ranges == [None, *(f"bytes={start}-" for start in starts)]


def test_a_server_that_cuts_ever_again_after_a_few_bytes_is_given_up(server, tmp_path):
    server.cuts = (1000,) * 100
    with pytest.raises(UserError, match="was cut; 3,000 bytes are kept"):
        fetch(server, tmp_path / "f")
    assert len(server.ranges) == download.ATTEMPTS


def test_the_next_call_resumes_what_an_earlier_one_left(server, tmp_path):
    server.cuts = (1000, 0, 0, 0, 0)
    with pytest.raises(UserError, match="1,000 bytes are kept"):
        fetch(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    server.cuts, server.ranges[:] = (), []
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_server_that_ignores_the_range_is_read_from_the_start(server, tmp_path):
    server.keeps_ranges = False
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT


def test_a_file_of_another_hash_is_refused_and_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(UserError, match="not the expected file"):
        fetch(server, tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_a_spoilt_part_does_not_spoil_the_next_call(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"?" * 1000)
    with pytest.raises(UserError, match="try again"):
        fetch(server, tmp_path / "f")
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT


def test_a_spoilt_file_in_the_cache_is_fetched_anew(server, tmp_path):
    (tmp_path / "f").write_bytes(CONTENT[:-1])
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT


def test_a_refusal_is_told_in_one_sentence(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"cannot be had: 404"):
        fetch(server, tmp_path / "f")
    assert server.ranges == [None]


def test_a_server_that_is_not_there_or_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as silent:
        url = f"http://127.0.0.1:{silent.server_port}/"
        with pytest.raises(UserError, match="timed out"):
            download.fetch(url, tmp_path / "f", SHA256, LIMIT)
    with pytest.raises(UserError, match="refused"):
        download.fetch(url, tmp_path / "f", SHA256, LIMIT)


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(server, tmp_path / "cache" / "f")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_told(server, tmp_path):
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"f\.part' cannot be written: No space left on device;"):
        fetch(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def start_answer(handler, *headers, status=200):
    handler.send_response(status)
    for header in headers:
        handler.send_header(*header)
    handler.end_headers()


def send_for_ever(handler, *headers):
    start_answer(handler, *headers)
    with contextlib.suppress(ConnectionError):
        while True:
            handler.wfile.write(bytes(2**16))


@pytest.mark.parametrize("headers", [[], [("Content-Length", "1000000000000")]])
def test_a_body_without_end_is_bounded(server, tmp_path, headers):
    server.misbehave = lambda handler: send_for_ever(handler, *headers)
    with pytest.raises(UserError, match=r"not the expected file: it is larger than 2,048,000"):
        fetch(server, tmp_path / "f")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= LIMIT
    assert server.ranges == [None]


def drip(handler, before=b""):
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(before)
        while not handler.server.stopped.wait(0.01):
            handler.wfile.write(b"5")


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nA: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1024000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_bytes_that_come_drop_by_drop_for_ever_are_given_up(server, tmp_path, monkeypatch, before):
    monkeypatch.setattr(download, "PROGRESS_SECONDS", 0.05)
    server.misbehave = lambda handler: drip(handler, before)
    with pytest.raises(UserError, match=r"cannot be had: the server is too slow; \d+ bytes are"):
        fetch(server, tmp_path / "f")
    assert len(server.ranges) == download.ATTEMPTS


def test_a_slow_but_steady_server_is_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_SECONDS", 0.2)
    monkeypatch.setattr(download, "PROGRESS_BYTES", 1000)

    def send_slowly(handler):
        start_answer(handler, ("Content-Length", str(len(CONTENT))))
        for begin in range(0, len(CONTENT), 100_000):
            handler.wfile.write(CONTENT[begin : begin + 100_000])
            time.sleep(0.05)

    server.misbehave = send_slowly
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("length", ["many", "-5", "1e9", "", "10", "\u0663"])
def test_a_length_that_is_none_or_a_lie_is_told_or_does_no_harm(server, tmp_path, length):
    def lie(handler):
        start_answer(handler, ("Content-Length", length.encode().decode("latin-1")))
        handler.wfile.write(CONTENT)

    server.misbehave = lie
    if length == "10":
        with pytest.raises(UserError, match="not the expected file; try again"):
            fetch(server, tmp_path / "f")
    else:
        assert fetch(server, tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("answer", ["bytes 5-1023999/1024000", "bytes */1024000", "x" * 9999, None])
def test_another_part_than_asked_for_is_not_taken(server, tmp_path, answer):
    def send_another(handler):
        headers = [("Content-Range", answer)] if answer else []
        if handler.headers.get("Range"):
            start_answer(handler, *headers, status=206)
            handler.wfile.write(CONTENT[5:])
        else:
            start_answer(handler, ("Content-Length", str(len(CONTENT))))
            handler.wfile.write(CONTENT)

    server.misbehave = send_another
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path / "f").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


@pytest.mark.filterwarnings("ignore:Exception ignored")  # urllib leaves an answer open
@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/file.zip", "redirect"),
        ("file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("gopher://[", "cannot be had"),
        ("http://" + "a" * 300 + ".invalid", "cannot be had"),
        ("http:// \x01\x1b[2J", "cannot be had"),
    ],
)
def test_redirects_in_circles_and_elsewhere_are_told_in_one_line(server, tmp_path, target, told):
    def redirect(handler):
        start_answer(handler, ("Location", target), status=302)

    server.misbehave = redirect
    with pytest.raises(UserError, match=told) as error_info:
        fetch(server, tmp_path / "f")
    assert str(error_info.value).isprintable()
    assert len(server.ranges) <= 11
    assert not list(tmp_path.iterdir())
    gc.collect()


@pytest.mark.parametrize("junk", [b"", b"\0" * 100, b"HTTP/1.1 ?", b"HTTP/9 0 \x1b\r\n\r\n"])
def test_what_is_no_answer_is_told_in_one_line(server, tmp_path, junk):
    server.misbehave = lambda handler: handler.wfile.write(junk)
    with pytest.raises(UserError, match="cannot be had") as error_info:
        fetch(server, tmp_path / "f")
    assert str(error_info.value).isprintable()
    assert len(server.ranges) <= download.ATTEMPTS
