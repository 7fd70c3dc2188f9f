"""Folders in buckets, on stand-ins that speak the protocols of S3 and of Google Cloud Storage."""

import contextlib
import importlib.util
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import fsspec
import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from midijax import (
    atomic,
    checksums,
    cli,
    compilation,
    corpus,
    etudes,
    evaluate,
    explore,
    midi,
    mirror,
    prepare,
    remote,
    sample,
    train,
)
from midijax.corpus import Recording
from midijax.errors import UserError

# gcsfs ends the parts of what it sends by \n, where this stand-in expects \r\n: of a file that ends
# in \r it would lose that. It would also let most of many connections at once wait for a second.
GOOGLE = """
import http.server
from gcp_storage_emulator import __main__, server
http.server.HTTPServer.request_queue_size = 64
read, parts = server._read_raw_data, (b"\\n--==0==", b"\\r\\n--==0==")
server._read_raw_data = lambda handler: (read(handler) or b"").replace(*parts)
__main__.main(["start", "--host=127.0.0.1", "--port={port}", "--in-memory"])
"""
AMAZON = """
from moto import server
server.main(["--port={port}"])
"""
SERVERS = {"s3": ("AWS_ENDPOINT_URL", AMAZON), "gs": ("STORAGE_EMULATOR_HOST", GOOGLE)}
QUICK = [
    "--config.model.num_layers=1",
    "--config.model.hidden_size=8",
    "--config.data.batch_size=8",
    "--config.data.sequence_length=16",
    "--config.num_steps=20",
    "--config.eval_every_steps=20",
    "--config.checkpoint_every_steps=10",
    "--config.log_every_steps=1",
    "--config.sample_seconds=1",
]


@pytest.fixture(scope="module", params=SERVERS)
def bucket(request):
    """The URL of a bucket on a server of this machine."""
    scheme = request.param
    variable, program = SERVERS[scheme]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", program.format(port=port)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **silent) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "anyone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        patch.setenv("GOOGLE_CLOUD_PROJECT", "any")
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "none")
        while not _answers(port):
            assert server.poll() is None
            time.sleep(0.05)
        fsspec.filesystem(scheme).mkdir("bucket")
        yield f"{scheme}://bucket"
        server.terminate()


def _answers(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    """Lets the second bucket's run, and the second half of each, find the programs compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        compilation.enable_compile_cache()
        compilation_cache.reset_cache()
        yield
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small prepared corpus."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    recordings = [Recording.of(name, etude) for name, etude in list(etudes.corpus())[:6]]
    corpus.write(folder, {"train": recordings[:4], "validation": recordings[4:]})
    return folder


def put(folder, url):
    """Copies a local folder to a bucket."""
    remote.send(folder, [path.name for path in folder.iterdir()], url)


def names(url):
    return set(remote.find(url))


def read(url):
    with fsspec.open(url) as file:
        return file.read().decode()


def losses(text):
    lines = map(json.loads, text.splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_run_in_a_bucket_is_stopped_gone_on_with_scored_and_played(
    bucket, data, run_command, monkeypatch
):
    put(data, f"{bucket}/data")
    workdir, stopped_at = f"{bucket}/run", 10
    flags = [f"--workdir={workdir}", f"--data={bucket}/data", *QUICK]
    send, requests = mirror.Mirror.send, [signal.SIGTERM]

    def send_and_stop(self):
        send(self)
        if f"checkpoints/{stopped_at}/SHA256SUMS" in names(workdir) and requests:
            signal.raise_signal(requests.pop())

    with monkeypatch.context() as patch:
        patch.setattr(mirror.Mirror, "send", send_and_stop)
        code, output, errors = run_command(train, *flags)
    assert code == 75, errors
    assert f"Training in {workdir}, from step 0 to 20." in output
    assert f"Stopped and saved at step {stopped_at};" in output
    assert losses(read(f"{workdir}/metrics.jsonl")).keys() == set(range(1, stopped_at + 1))

    shutil.rmtree(mirror.place(remote.path(workdir)))  # as on another machine
    code, output, errors = run_command(train, *flags)
    assert code == 0, errors
    assert f"from step {stopped_at} to 20" in output
    assert losses(read(f"{workdir}/metrics.jsonl")).keys() == set(range(1, 21))
    assert {"config.json", "versions.json", "samples/step-0000020.mid"} <= names(workdir)
    assert not any("/." in f"/{name}" for name in names(workdir))

    scores = f"{bucket}/scores.json"
    flags = [f"--workdir={workdir}", f"--data={bucket}/data", f"--json={scores}"]
    code, _, errors = run_command(evaluate, *flags, "--max_events=64")
    assert code == 0, errors
    report = json.loads(read(scores))
    assert report["checkpoint"] == f"{workdir}/checkpoints/20"
    assert (report["data"], report["performances"]) == (f"{bucket}/data", 2)

    flags = [f"--workdir={workdir}", f"--output_dir={bucket}/played", "--seed=1", "--num_events=9"]
    played = ["--num_performances=1", f"--primer={workdir}/samples/step-0000020.mid"]
    code, output, errors = run_command(sample, *flags, *played)
    assert code == 0, errors
    assert f"{bucket}/played/seed1-000.mid" in output
    assert names(f"{bucket}/played") == {f"seed1-000.{kind}" for kind in ("mid", "png", "json")}


def test_recordings_in_a_bucket_are_prepared_into_another(bucket, run_command, tmp_path):
    for name, etude in list(etudes.corpus())[:3]:
        midi.write(etude, tmp_path / "mine" / f"{name}.mid")
    put(tmp_path / "mine", f"{bucket}/mine")
    flags = [f"--input={bucket}/mine", f"--output_dir={bucket}/prepared", "--num_workers=1"]
    code, output, errors = run_command(prepare, *flags)
    assert code == 0, errors
    assert f"Written to {bucket}/prepared" in output
    manifest = corpus.read_manifest(mirror.fetched(remote.path(f"{bucket}/prepared")))
    assert manifest.provenance["inputs"] == [f"{bucket}/mine"]
    entries = [entry for split in manifest.performances.values() for entry in split]
    assert {entry.name.partition("/")[0] for entry in entries} == {"mine"}
    assert len(entries) == 3

    code, _, errors = run_command(prepare, *flags)
    assert code == cli.BAD_INPUT
    assert f"'{bucket}/prepared' already holds something" in errors

    code, output, errors = run_command(explore, f"{bucket}/mine")
    assert code == 0, errors
    assert f"{bucket}/mine" in output


def test_what_was_fetched_is_kept_until_it_changes(bucket, tmp_path, monkeypatch):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.txt").write_text("old")
    put(tmp_path / "songs", f"{bucket}/songs")
    first = mirror.fetched(remote.path(f"{bucket}/songs"))
    assert first.name == "songs" and (first / "a.txt").read_text() == "old"
    with monkeypatch.context() as patch:
        patch.setattr(remote, "fetch", None)
        assert mirror.fetched(remote.path(f"{bucket}/songs")) == first
    (tmp_path / "songs" / "a.txt").write_text("new")
    put(tmp_path / "songs", f"{bucket}/songs")
    second = mirror.fetched(remote.path(f"{bucket}/songs"))
    assert (second / "a.txt").read_text() == "new"
    assert mirror.fetched(remote.path(f"{bucket}/songs/a.txt")).read_text() == "new"
    with pytest.raises(UserError, match=r"/songs/b\.txt' does not exist"):
        mirror.fetched(remote.path(f"{bucket}/songs/b.txt"))


def test_a_file_that_does_not_come_whole_is_not_kept(bucket, tmp_path, monkeypatch):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.txt").write_text("whole")
    put(tmp_path / "songs", f"{bucket}/torn")
    fetch = remote.fetch

    def tear(folder, files, to):
        fetch(folder, files, to)
        (to / "a.txt").write_text("wh")

    with monkeypatch.context() as patch:
        patch.setattr(remote, "fetch", tear)
        with pytest.raises(UserError, match=r"of 5 bytes of 'a\.txt' came 2"):
            mirror.fetched(remote.path(f"{bucket}/torn"))
    assert (mirror.fetched(remote.path(f"{bucket}/torn")) / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("content", [b"", b"\r", b"\n", b"\r\n", b"\n\r", b"\x00\xff"])
def test_a_file_arrives_as_it_was(bucket, tmp_path, content):
    (tmp_path / "any").write_bytes(content)
    remote.send(tmp_path, ["any"], f"{bucket}/bytes")
    assert mirror.fetched(remote.path(f"{bucket}/bytes/any")).read_bytes() == content


def test_a_checkpoint_that_does_not_arrive_whole_does_not_count(bucket, tmp_path, monkeypatch):
    workdir, send = remote.path(f"{bucket}/lossy"), remote.send
    run = mirrored(workdir, tmp_path / "run")
    save(tmp_path / "run", 10, "whole")

    def lose_bytes(folder, files, to):
        send(folder, files, to)
        with fsspec.open(f"{to}/checkpoints/10/params", "w") as file:
            file.write("who")

    with monkeypatch.context() as patch:
        patch.setattr(remote, "send", lose_bytes)
        with pytest.raises(UserError, match="of 5 bytes of 'checkpoints/10/params' came 3"):
            run.send()
    assert "checkpoints/10/SHA256SUMS" not in names(workdir)


def test_a_bucket_that_is_lost_on_the_way_may_be_there_again_later(
    bucket, data, run_command, monkeypatch
):
    flags = [f"--workdir={bucket}/lost", f"--data={data}", *QUICK]
    send = mirror.Mirror.send

    def lose(*_):
        raise OSError(104, "Connection reset by peer")

    for sends, code in ((0, 2), (2, 75)):  # never written to; lost after the first checkpoint
        left = iter(range(sends))

        def send_some(self, left=left):
            with monkeypatch.context() as patch:
                if next(left, None) is None:
                    patch.setattr(remote, "send", lose)
                send(self)

        with monkeypatch.context() as patch:
            patch.setattr(mirror.Mirror, "send", send_some)
            ended, _, errors = run_command(train, *flags)
        last_line = errors.splitlines()[-1]
        assert ended == code
        assert f"'{bucket}/lost' cannot be reached: Connection reset by peer; " in last_line
        assert ("goes on from the last checkpoint there" in last_line) == (code == 75)
    code, output, errors = run_command(train, *flags)
    assert code == 0, errors
    assert re.search(r"from step [1-9]\d* to 20", output)


def mirrored(workdir, folder):
    folder.mkdir()
    return mirror.Mirror(workdir, folder)


def save(workdir, step, content):
    """What is like a checkpoint to a mirror."""
    folder = workdir / "checkpoints" / str(step)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "params").write_text(content)
    (folder / f"data-{content}").write_text(content)  # orbax gives it a name by chance
    checksums.write(folder)


def cut_off(monkeypatch, num_changes):
    """Ends the process, as it were, when it has made so many changes in the bucket."""
    changes = iter(range(num_changes))

    def one_by_one(change):
        def change_some(folder, names, *to):
            for name in sorted(names):
                if next(changes, None) is None:
                    raise KeyboardInterrupt
                change(folder, [name], *to)

        return change_some

    monkeypatch.setattr(remote, "send", one_by_one(remote.send))
    monkeypatch.setattr(remote, "remove", one_by_one(remote.remove))


@pytest.mark.parametrize("num_changes", range(7))
def test_a_lone_checkpoint_is_not_taken_away_before_there_is_another(
    bucket, tmp_path, monkeypatch, capsys, num_changes
):
    workdir = remote.path(f"{bucket}/lone-{num_changes}")
    run = mirrored(workdir, tmp_path / "run")
    save(tmp_path / "run", 20, "old")
    run.send()
    with fsspec.open(f"{workdir}/.keep", "w") as file:
        file.write("a user's own")
    save(tmp_path / "run", 20, "new")
    with monkeypatch.context() as patch:
        cut_off(patch, num_changes)
        with contextlib.suppress(KeyboardInterrupt):
            run.send()
    left = names(workdir)

    again = mirrored(workdir, tmp_path / "again")
    if (tmp_path / "again" / "checkpoints").exists():
        checksums.verify(tmp_path / "again" / "checkpoints" / "20")
    else:
        assert "/checkpoints/20 was not sent to its end" in capsys.readouterr().err
    again.send()
    assert names(workdir) == left and ".keep" in left
    save(tmp_path / "again", 30, "later")
    again.send()
    assert "checkpoints/30/SHA256SUMS" in names(workdir) and ".keep" in names(workdir)


def test_a_corpus_that_was_sent_in_part_is_sent_again(bucket, tmp_path, monkeypatch):
    folder = remote.path(f"{bucket}/part")

    def send():
        with mirror.new_folder(folder, last="manifest.json") as local:
            local.mkdir(parents=True)
            for name in ("a", "b", "manifest.json"):
                (local / name).write_text(name)

    with monkeypatch.context() as patch:
        cut_off(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            send()
    send()
    assert names(folder) == {"a", "b", "manifest.json"}
    with pytest.raises(UserError, match="already holds something"):
        send()


@pytest.mark.parametrize("num_changes", [*range(11), None])
def test_a_checkpoint_in_a_bucket_is_complete_or_does_not_count(
    bucket, tmp_path, monkeypatch, capsys, num_changes
):
    workdir = remote.path(f"{bucket}/cut-{num_changes}")
    run = mirrored(workdir, tmp_path / "run")
    save(tmp_path / "run", 10, "old")
    save(tmp_path / "run", 20, "old")
    run.send()
    save(tmp_path / "run", 20, "new")
    save(tmp_path / "run", 30, "new")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "10")
    with monkeypatch.context() as patch:
        if num_changes is None:
            run.send()
        else:
            cut_off(patch, num_changes)
            with pytest.raises(KeyboardInterrupt):
                run.send()

    again = mirrored(workdir, tmp_path / "again")
    steps = {path.name for path in (tmp_path / "again" / "checkpoints").iterdir()}
    for step in steps:
        checksums.verify(tmp_path / "again" / "checkpoints" / step)
    named = re.findall(r"/checkpoints/(\d+) was not sent to its end", capsys.readouterr().err)
    present = {name.split("/")[1] for name in names(workdir)}
    assert steps and steps | set(named) == present and not steps & set(named)
    if num_changes is None:
        assert steps == {"20", "30"}
    again.send()
    assert {name.split("/")[1] for name in names(workdir)} == steps


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (train, ["--workdir={}/run", *QUICK]),
        (train, ["--data={}/data", *QUICK]),
        (prepare, ["--output_dir={}/data"]),
        (evaluate, ["--workdir={}/run"]),
        (evaluate, ["--json={}/scores.json"]),
        (sample, ["--workdir={}/run"]),
        (explore, ["{}/mine"]),
    ],
)
def test_a_bucket_that_is_not_there_is_one_sentence(bucket, run_command, tmp_path, command, flags):
    nowhere = f"{bucket}-that-is-not-there"
    if "--workdir" not in flags[0] and command in (train, evaluate):
        flags = [f"--workdir={tmp_path}/run", *flags]
    code, output, errors = run_command(command, *(flag.format(nowhere) for flag in flags))
    assert (code, output) == (cli.BAD_INPUT, "")
    assert nowhere in errors and len(errors.splitlines()) == 1


def test_a_bucket_that_may_only_be_read_is_told_before_training(bucket, run_command, monkeypatch):
    def refuse(*_):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(remote, "send", refuse)
    code, output, errors = run_command(train, f"--workdir={bucket}/read-only", *QUICK)
    assert (code, output) == (cli.BAD_INPUT, "")
    assert f"'{bucket}/read-only' cannot be reached: Access Denied" in errors


def test_whatever_a_client_raises_is_told_in_one_line(monkeypatch):
    class NoCredentials(Exception):
        pass

    def refuse(*_, **__):
        raise NoCredentials("who\nare you?")

    monkeypatch.setattr(fsspec, "filesystem", refuse)
    with pytest.raises(UserError, match=r"^'s3://b/x' .* NoCredentials: who are you\?;"):
        mirror.fetched(remote.path("s3://b/x"))
    with pytest.raises(UserError, match=r"^'s3://b/x' .* NoCredentials: who are you\?$"):
        atomic.write_text(remote.path("s3://b/x"), "x")


@pytest.mark.parametrize("name", ["trap/../../escaped", "trap//escaped"])
def test_a_name_that_leads_out_of_the_folder_is_refused(monkeypatch, tmp_path, name):
    class Bucket:
        def isfile(self, _):
            return False

        def find(self, _, detail):
            return {f"bucket/{name}": {"size": 0}}

    monkeypatch.setattr(fsspec, "filesystem", lambda *_, **__: Bucket())
    with pytest.raises(UserError, match="leads out of it"):
        mirror.fetched(remote.path("s3://bucket/trap"))


def test_without_its_client_a_bucket_is_one_sentence_with_the_cure(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for url, client, extra in (("gs://b/x", "gcsfs", "gcs"), ("s3://b/x", "s3fs", "s3")):
        with pytest.raises(UserError, match=rf"'{url}' needs {client}: .*'midijax\[{extra}\]'"):
            cli.path(url)
    for url in ("gs://", "s3:///", "s3://b/\udcff"):
        with pytest.raises(UserError, match="names nothing in a bucket"):
            cli.path(url)


def test_local_work_imports_no_client():
    program = (
        "import sys\n"
        "from midijax import evaluate, explore, prepare, sample, train\n"
        "from midijax import checkpoint, playing, training\n"
        "clients = {'gcsfs', 's3fs', 'aiohttp', 'botocore', 'google.auth'}\n"
        "print(*(clients & sys.modules.keys()))"
    )
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (imported.returncode, imported.stdout) == (0, "\n"), imported.stderr
