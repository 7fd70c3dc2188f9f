"""Preparation on Apache Beam, where that is installed: `pip install '.[beam]'`."""

import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from commands import contents, run_prepare

from midijax import corpus, etudes, midi, parts, sources
from midijax.performance import NOTE_DTYPE, Performance

pytest.importorskip("apache_beam")

TWO_PROCESSES = [
    "--runner=DirectRunner",
    "--",
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
]


def start(*arguments):
    command = [sys.executable, "-m", "midijax.prepare", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Exit code, output and errors."""
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def identities(paths):
    """Inode and time of change by name; what is gone is left out."""
    found = {}
    for path in paths:
        try:
            found[path.name] = path.stat().st_ino, path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder and an archive of études, copies, hostile files, a table, and enough for parts."""
    folder = tmp_path_factory.mktemp("music") / "music"
    folder.mkdir()
    for seed in range(6):
        midi.write(etudes.compose(seed), folder / f"{seed}.mid")
    for number in range(700):
        notes = np.array([(0.0, 1.0, 21 + number // 100, 1 + number % 100)], NOTE_DTYPE)
        midi.write(Performance(notes), folder / f"note-{number:03}.mid")
    (folder / "copy.mid").write_bytes((folder / "0.mid").read_bytes())
    (folder / "text.mid").write_text("no music")
    (folder / "table.csv").write_text("file,split,composer\n1.mid,test,Anon\n")
    with zipfile.ZipFile(folder.parent / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "2.mid", "again.mid")
        archive.write(folder / "text.mid", "text.mid")
    return f"--input={folder},{folder.parent / 'more.zip'}"


@pytest.fixture(scope="module")
def prepared(music, tmp_path_factory):
    """What the processes of one machine make of it."""
    folder = tmp_path_factory.mktemp("prepared") / "corpus"
    run_prepare(music, f"--output_dir={folder}")
    manifest = corpus.read_manifest(folder)
    assert len(manifest.skipped) == len(manifest.duplicates) == 2
    return folder


def test_killed_while_reading_it_goes_on_and_writes_what_one_machine_does(
    music, prepared, tmp_path
):
    out, work = tmp_path / "out", tmp_path / ".out.unfinished"
    arguments = [music, f"--output_dir={out}", *TWO_PROCESSES]
    with start(*arguments) as process:
        while not list(work.glob("parts/*.json")):
            time.sleep(0.001)
            assert process.poll() is None
        process.kill()
    before = identities(work.glob("parts/*.json"))
    with start(*arguments) as process:
        while process.poll() is None and not out.exists():
            now = identities(work.glob("parts/*.json"))
            assert {name: now.get(name, before[name]) for name in before} == before
            time.sleep(0.05)
        code, _, errors = end(process)
    assert code == 0, errors
    assert contents(out) == contents(prepared)
    assert list(tmp_path.iterdir()) == [out]


def test_it_goes_on_from_the_shards_of_another_engine(music, prepared, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write, written = corpus.Shard.write, []

    def write_two(shard):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard.path)
        write(shard)

    monkeypatch.setattr(corpus.Shard, "write", write_two)
    with pytest.raises(KeyboardInterrupt):
        run_prepare(music, f"--output_dir={out}")
    before = identities(written)
    code, _, errors = end(start(music, f"--output_dir={out}", *TWO_PROCESSES))
    assert code == 0, errors
    assert contents(out) == contents(prepared)
    assert identities(out / path.name for path in written) == before


@pytest.mark.parametrize(
    "options, told",
    [
        (["--runner=NoRunner"], "NoRunner"),
        (["--runner=DirectRunner", "--", "--direct_num_workers=x"], "--direct_num_workers"),
        (["--runner=DirectRunner", "--num_workers=2"], "--num_workers"),
        (["--runner=DirectRunner", "--direct_num_workers=2"], "unknown argument"),
    ],
)
def test_options_that_cannot_be_are_told_in_one_sentence(music, tmp_path, options, told):
    code, _, errors = end(start(music, f"--output_dir={tmp_path / 'out'}", *options))
    assert code == 2
    (sentence,) = [line for line in errors.splitlines() if line.startswith("midijax.prepare: ")]
    assert told in sentence and "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_what_a_worker_cannot_write_is_told_in_one_sentence(tmp_path):
    midi.write(etudes.compose(0), tmp_path / "x.mid")
    work = tmp_path / ".out.unfinished"
    (part,) = parts.divide(sources.find(tmp_path / "x.mid"), work / "parts")
    obstacle = part.path.with_suffix(".records")
    obstacle.mkdir(parents=True)
    arguments = [f"--input={tmp_path / 'x.mid'}", f"--output_dir={tmp_path / 'out'}"]
    code, _, errors = end(start(*arguments, "--runner=DirectRunner"))
    assert code == 2
    sentence = errors.splitlines()[-1]
    assert sentence.startswith("midijax.prepare: the Beam pipeline failed")
    assert f"'{obstacle}' cannot be written: Is a directory" in sentence
    assert not (tmp_path / "out").exists()
