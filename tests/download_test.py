import hashlib
import http.server
import threading

import pytest

from midijax import download
from midijax.errors import UserError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; `cuts` are the bytes after which the next connections break off."""

    daemon_threads = True
    content = CONTENT
    keeps_ranges = True
    cuts: tuple[int, ...] = ()
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
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
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "cache" / "file.zip"
    for _ in range(2):
        assert download.fetch(server.url, path, SHA256).read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.zip"]


def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path):
    server.cuts = (1000, 2000, 0, 3000)
    download.fetch(server.url, tmp_path / "f", SHA256)
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-", "bytes=3000-", "bytes=6000-"]


def test_the_next_call_resumes_what_an_earlier_one_left(server, tmp_path):
    server.cuts = (1000, 0, 0, 0, 0)
    with pytest.raises(UserError, match="1,000 bytes are kept"):
        download.fetch(server.url, tmp_path / "f", SHA256)
    assert not (tmp_path / "f").exists()
    server.cuts, server.ranges[:] = (), []
    assert download.fetch(server.url, tmp_path / "f", SHA256).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_server_that_ignores_the_range_is_read_from_the_start(server, tmp_path):
    server.keeps_ranges = False
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    assert download.fetch(server.url, tmp_path / "f", SHA256).read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    assert download.fetch(server.url, tmp_path / "f", SHA256).read_bytes() == CONTENT


def test_a_file_of_another_hash_is_refused_and_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(UserError, match="not the expected file"):
        download.fetch(server.url, tmp_path / "f", SHA256)
    assert not list(tmp_path.iterdir())


def test_a_spoilt_part_does_not_spoil_the_next_call(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"?" * 1000)
    with pytest.raises(UserError, match="try again"):
        download.fetch(server.url, tmp_path / "f", SHA256)
    assert download.fetch(server.url, tmp_path / "f", SHA256).read_bytes() == CONTENT


def test_a_spoilt_file_in_the_cache_is_fetched_anew(server, tmp_path):
    (tmp_path / "f").write_bytes(CONTENT[:-1])
    assert download.fetch(server.url, tmp_path / "f", SHA256).read_bytes() == CONTENT


def test_a_refusal_is_told_in_one_sentence(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"cannot be had: 404"):
        download.fetch(server.url, tmp_path / "f", SHA256)
    assert server.ranges == [None]


def test_a_server_that_is_not_there_or_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as silent:
        url = f"http://127.0.0.1:{silent.server_port}/"
        with pytest.raises(UserError, match="timed out"):
            download.fetch(url, tmp_path / "f", SHA256)
    with pytest.raises(UserError, match="refused"):
        download.fetch(url, tmp_path / "f", SHA256)


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        download.fetch(server.url, tmp_path / "cache" / "f", SHA256)
