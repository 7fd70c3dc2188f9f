import contextlib
import itertools
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from commands import contents, run_prepare

from midijax import (
    atomic,
    cache,
    collection,
    corpus,
    download,
    etudes,
    ingest,
    midi,
    parts,
    sources,
)
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.parts import Reading
from midijax.performance import NOTE_DTYPE, Performance
from midijax.sources import Source
from midijax.stopping import TRY_AGAIN


def names(manifest, split):
    return [entry.name for entry in manifest.performances.get(split, [])]


@pytest.fixture(scope="module")
def midi_bytes(tmp_path_factory):
    """The bytes of twelve different MIDI files."""
    folder = tmp_path_factory.mktemp("midi")
    for seed in range(12):
        midi.write(etudes.compose(seed), folder / f"{seed:02}.mid")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.fixture
def music(tmp_path, midi_bytes):
    """A folder with good files, one of them twice, hostile ones and clutter."""
    folder = tmp_path / "music"
    (folder / "deep" / "er.mid").mkdir(parents=True)
    for number, data in enumerate(midi_bytes[:8]):
        (folder / f"{number}.mid").write_bytes(data)
    (folder / "deep" / "er.mid" / "UPPER.MIDI").write_bytes(midi_bytes[8])
    (folder / "deep" / "copy.mid").write_bytes(midi_bytes[0])
    (folder / "empty.mid").write_bytes(b"")
    (folder / "text.mid").write_text("dear diary")
    (folder / "gone.mid").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.mid")
    (folder / "._0.mid").write_bytes(b"macOS")
    (folder / "notes.txt").write_text("no music")
    return folder


def test_good_files_are_kept_and_the_others_named_with_their_reasons(music, tmp_path, capsys):
    run_prepare(
        f"--input={music}",
        f"--output_dir={tmp_path / 'out'}",
    )
    manifest = corpus.read_manifest(tmp_path / "out")
    kept = names(manifest, "train") + names(manifest, "validation")
    expected = ["music/0.mid", "music/deep/er.mid/UPPER.MIDI"]
    assert sorted(kept) == sorted(expected + [f"music/{number}.mid" for number in range(1, 8)])
    assert manifest.duplicates == [("music/deep/copy.mid", "music/0.mid")]
    reasons = dict(manifest.skipped)
    assert reasons.keys() == {f"music/{name}.mid" for name in ("empty", "gone", "pipe", "text")}
    assert all(reasons.values())
    printed = capsys.readouterr().out
    assert re.search(r"skipped +4\n", printed) and "music/text.mid" in printed
    assert re.search(r"duplicates +1\n", printed)


def test_what_is_prepared_is_what_midi_reads(music, tmp_path):
    run_prepare(f"--input={music}", f"--output_dir={tmp_path / 'out'}")
    for split in ("train", "validation"):
        for record in corpus.open_split(tmp_path / "out", split):
            name, performance = corpus.unpack(record)
            played = midi.read(tmp_path / name)
            assert performance.notes.tobytes() == played.notes.tobytes()
            assert performance.pedal.tobytes() == played.pedal.tobytes()


def test_the_number_of_workers_changes_no_byte(music, tmp_path):
    for count in (1, 2):
        out = f"--output_dir={tmp_path / str(count)}"
        run_prepare(f"--input={music}", out, f"--num_workers={count}")
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_a_zip_archive_gives_its_files_by_name(tmp_path, midi_bytes):
    archive = tmp_path / "music.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number, data in reversed(list(enumerate(midi_bytes))):
            file.writestr(f"folder/{number:02}.mid", data)
        file.writestr("__MACOSX/folder/._00.mid", b"macOS")
    found = sources.find(archive)
    assert [source.name for source in found] == [
        f"music.zip/folder/{number:02}.mid" for number in range(12)
    ]
    assert [source.read() for source in found] == midi_bytes


def test_a_single_file_is_prepared_under_its_name(tmp_path, midi_bytes, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Sonata No. 1.MID").write_bytes(midi_bytes[0])
    run_prepare(f"--input={tmp_path / 'Sonata No. 1.MID'}")
    manifest = corpus.read_manifest(tmp_path / "runs" / "data" / "Sonata No. 1")
    assert names(manifest, "train") == ["Sonata No. 1.MID"]


def test_an_evil_archive_writes_nothing_and_eats_nothing(tmp_path, midi_bytes):
    link = zipfile.ZipInfo("link.mid")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../up.mid", midi_bytes[0])
        file.writestr("/etc/absolute.mid", midi_bytes[1])
        file.writestr("bell\a.mid", midi_bytes[2])
        file.writestr(link, "/etc/passwd")
        file.writestr("bomb.mid", bytes(midi.MAX_BYTES + 1))
        file.writestr("locked.mid", midi_bytes[3])
        file.writestr("torn.mid", midi_bytes[4])
    spoil(archive, "locked.mid", offset_in_entry=8, value=1)  # the flag of encryption
    with zipfile.ZipFile(archive) as file:
        torn = file.getinfo("torn.mid").header_offset
    data = bytearray(archive.read_bytes())
    data[torn + 60 : torn + 90] = bytes(30)
    archive.write_bytes(data)
    run_prepare(f"--input={archive}", f"--output_dir={tmp_path / 'out' / 'corpus'}")
    manifest = corpus.read_manifest(tmp_path / "out" / "corpus")
    reasons = {name.removeprefix("evil.zip/"): reason for name, reason in manifest.skipped}
    assert reasons.keys() == {"link.mid", "bomb.mid", "locked.mid", "torn.mid"}
    assert "larger" in reasons["bomb.mid"] and "encrypted" in reasons["locked.mid"]
    assert reasons["link.mid"] == "is a link"
    kept = {*names(manifest, "train"), *names(manifest, "validation")}
    assert len(kept) == 3 and "evil.zip/bell?.mid" in kept
    assert {*tmp_path.iterdir()} == {archive, tmp_path / "out"}
    assert [*(tmp_path / "out").iterdir()] == [tmp_path / "out" / "corpus"]


def spoil(archive, name, offset_in_entry, value):
    """Sets a byte of a member's entry in the central directory."""
    data = bytearray(archive.read_bytes())
    entry = data.rindex(name.encode()) - 46
    assert data[entry : entry + 4] == b"PK\1\2"
    data[entry + offset_in_entry] = value
    archive.write_bytes(data)


def test_a_member_that_lies_about_its_size_is_bounded(tmp_path):
    archive = tmp_path / "liar.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.mid", bytes(4 * midi.MAX_BYTES))
    spoil(archive, "bomb.mid", offset_in_entry=27, value=0)  # the highest byte of its size
    spoil(archive, "bomb.mid", offset_in_entry=26, value=0)
    with pytest.raises(UserError, match="cannot be unpacked"):
        sources.find(archive)[0].read()


def test_the_maestro_table_decides_the_splits(tmp_path, midi_bytes):
    folder = tmp_path / "maestro"
    (folder / "2018").mkdir(parents=True)
    rows = ["canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration"]
    for number, split in enumerate(("train", "test", "validation")):
        (folder / "2018" / f"{number}.midi").write_bytes(midi_bytes[number])
        rows.append(f'Liszt,"Étude, No. {number}",{split},2018,2018/{number}.midi,x.wav,1.0')
    (folder / "maestro-v3.0.0.csv").write_text("\n".join(rows), "utf-8")
    run_prepare(f"--input={folder}", f"--output_dir={tmp_path / 'out'}")
    manifest = corpus.read_manifest(tmp_path / "out")
    for number, split in enumerate(("train", "test", "validation")):
        (entry,) = manifest.performances[split]
        assert entry.name == f"maestro/2018/{number}.midi"
        assert (entry.composer, entry.title) == ("Liszt", f"Étude, No. {number}")


def test_a_table_with_an_unknown_split_is_refused(tmp_path, midi_bytes):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mid").write_bytes(midi_bytes[0])
    (tmp_path / "in" / "table.csv").write_text("file,split\nx.mid,valid\n")
    with pytest.raises(UserError, match="'valid'"):
        run_prepare(f"--input={tmp_path / 'in'}", f"--output_dir={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_a_table_outweighs_the_draw_for_a_copy_read_before():
    recording = Recording.of("a", etudes.compose(0))
    gathered = collection.Collection()
    gathered.add(Reading("a", recording))
    gathered.add(Reading("b", recording, "test"))
    splits = gathered.by_split(seed=0, validation_fraction=0.1)
    assert [len(splits[split]) for split in corpus.SPLITS] == [0, 0, 1]


HASHES = [f"{number:064x}" for number in range(2000)]


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_even_a_tiny_corpus_fills_both_splits(fraction):
    for count, seed in itertools.product(range(1, 30), range(5)):
        splits = collection.draw_splits(HASHES[:count], seed, fraction)
        assert set(splits.values()) == ({"train", "validation"} if count > 1 else {"train"})


def test_the_draw_has_the_right_share_and_depends_on_the_content_alone():
    splits = collection.draw_splits(HASHES, 0, 0.1)
    assert 150 < list(splits.values()).count("validation") < 250
    half = collection.draw_splits(HASHES[::-2], 0, 0.1)
    assert half.items() <= splits.items()
    assert splits != collection.draw_splits(HASHES, 1, 0.1)
    assert set(collection.draw_splits(HASHES, 0, 0.0).values()) == {"train"}


def parse_or_die(name, data):
    if name == "deadly":
        os._exit(9)
    return ingest.Recording.of(name, midi.read_bytes(data, name))


def test_a_file_that_kills_its_process_costs_no_other(monkeypatch, midi_bytes):
    monkeypatch.setattr(ingest, "parse", parse_or_die)
    files = [(f"{number}", data) for number, data in enumerate(midi_bytes)]
    files.insert(2, ("deadly", b""))
    found = [Source(name, lambda data=data: data) for name, data in files]
    with contextlib.closing(ingest.Reader(num_workers=1)) as reader:
        results = list(reader.read(found))
    assert len(results) == len(files)
    assert "ended the process" in results.pop(2)
    assert [result.entry.name for result in results] == [f"{number}" for number in range(12)]


def test_a_fault_of_ours_is_a_skip(monkeypatch):
    monkeypatch.setattr(midi, "read_bytes", lambda data, name: 1 // 0)
    assert "ZeroDivisionError" in ingest.parse("x.mid", b"")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder with files enough for several parts, and what becomes of it without a break."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "music").mkdir()
    for number in range(3 * 256 + 10):
        pitch, velocity = divmod(number, 100)
        notes = np.array([(0.0, 1.0, 21 + pitch, 1 + velocity)], NOTE_DTYPE)
        midi.write(Performance(notes), folder / "music" / f"{number:04}.mid")
    (folder / "music" / "0500.mid").write_text("no music")
    run_prepare(f"--input={folder / 'music'}", f"--output_dir={folder / 'out'}")
    return folder


def finished(work):
    """Inode and time of change of each file that an unfinished run has finished."""
    paths = [*work.glob("parts/*.json"), *work.glob("corpus-*/[!.]*")]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def start(*arguments):
    command = [sys.executable, "-m", "midijax.prepare", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_again_and_again_it_goes_on_and_ends_as_if_never_stopped(many, tmp_path):
    out, work = tmp_path / "out" / "corpus", tmp_path / "out" / ".corpus.unfinished"
    arguments = [f"--input={many / 'music'}", f"--output_dir={out}"]
    moments, before = random.Random(0), {}
    while not out.exists():
        with start(*arguments) as process:
            while process.poll() is None and len(finished(work)) <= len(before):
                time.sleep(0.001)
            time.sleep(moments.uniform(0.0, 0.1))
            process.send_signal(signal.SIGKILL)
        if not out.exists():
            assert before.items() < finished(work).items()
            before = finished(work)
    assert before
    assert contents(out) == contents(many / "out")


def stop(*_):
    signal.raise_signal(signal.SIGTERM)


def test_finished_shards_stay_as_they_are(many, tmp_path, monkeypatch):
    arguments = [f"--input={many / 'music'}", f"--output_dir={tmp_path / 'out'}"]
    write, written = corpus.Shard.write, []

    def write_two(shard):
        written.append(shard) if len(written) < 2 else stop()
        write(shard)

    monkeypatch.setattr(corpus.Shard, "write", write_two)
    assert run_prepare(*arguments) == TRY_AGAIN
    before = finished(tmp_path / ".out.unfinished")
    shards = {name: kept for name, kept in before.items() if name.endswith(".array_record")}
    assert len(shards) == 2
    (corpus_folder,) = tmp_path.glob(".out.unfinished/corpus-*")
    (corpus_folder / ".train-00002-of-00003.array_record.partial-0").write_text("of a killed run")
    monkeypatch.setattr(corpus.Shard, "write", write)
    monkeypatch.setattr(parts.Part, "write", stop)
    run_prepare(*arguments)
    assert contents(tmp_path / "out") == contents(many / "out")
    for name, (inode, changed) in shards.items():
        status = (tmp_path / "out" / name).stat()
        assert (status.st_ino, status.st_mtime_ns) == (inode, changed)


def test_going_on_with_other_files_or_flags_gives_what_they_give(
    music, tmp_path, midi_bytes, monkeypatch
):
    arguments = [f"--input={music}", f"--output_dir={tmp_path / 'out'}"]
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_to_json", stop)
        assert run_prepare(*arguments) == TRY_AGAIN
    (music / "text.mid").write_bytes(midi_bytes[9])
    (music / "table.csv").write_text("file,split\n0.mid,test\n")
    run_prepare(*arguments, "--seed=3")
    run_prepare(f"--input={music}", f"--output_dir={tmp_path / 'new'}", "--seed=3")
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


def test_what_was_finished_of_other_files_is_not_dropped_without_a_word(
    many, music, tmp_path, monkeypatch, capsys
):
    def prepare(folder, *arguments):
        code = run_prepare(f"--input={folder}", f"--output_dir={tmp_path / 'out'}", *arguments)
        told = [line for line in capsys.readouterr().err.splitlines() if "not used" in line]
        return code, told

    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_to_json", stop)
        assert prepare(many / "music") == (TRY_AGAIN, [])
        assert prepare(many / "music", "--seed=3") == (TRY_AGAIN, [])
        folder = tmp_path / ".out.unfinished" / "parts"
        line = (
            f"'{folder}' holds finished parts (4) of other files, or of these before they changed"
        )
        code, told = prepare(music)
        assert code == TRY_AGAIN
        assert told == [f"{line}: they are not used, and go when this run is finished"]
    monkeypatch.setattr(parts.Part, "write", lambda *_: pytest.fail("read again"))
    code, told = prepare(many / "music")
    assert code == 0 and "finished parts (1)" in told[0]
    assert contents(tmp_path / "out") == contents(many / "out")


def test_two_runs_do_not_write_the_same_folder(music, tmp_path, monkeypatch):
    arguments = [f"--input={music}", f"--output_dir={tmp_path / 'out'}"]
    with atomic.workspace(tmp_path / "out"), pytest.raises(UserError, match="by another run"):
        run_prepare(*arguments)
    run_prepare(*arguments)


def test_a_damaged_part_is_named(music, tmp_path, monkeypatch):
    arguments = [f"--input={music}", f"--output_dir={tmp_path / 'out'}"]
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_to_json", stop)
        assert run_prepare(*arguments) == TRY_AGAIN
    (part,) = tmp_path.glob(".out.unfinished/parts/*.json")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match=f"'{re.escape(str(part))}' is damaged"):
        run_prepare(*arguments)
    part.unlink()
    run_prepare(*arguments)


@pytest.mark.parametrize("request_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_keeps_what_is_finished(many, tmp_path, request_to_stop):
    out, work = tmp_path / "out" / "corpus", tmp_path / "out" / ".corpus.unfinished"
    with start(f"--input={many / 'music'}", f"--output_dir={out}", "--num_workers=1") as process:
        while not finished(work):
            time.sleep(0.001)
        process.send_signal(request_to_stop)
        output, errors = process.communicate()
    assert process.returncode == TRY_AGAIN
    assert output == "Stopped; what is finished is kept: the same command goes on from there.\n"
    assert all(line.startswith("reading: ") for line in errors.splitlines())
    assert list(out.parent.iterdir()) == [work]


@pytest.mark.parametrize("arguments", [[], ["--validation_fraction=0.5", "--seed=3"]])
def test_without_input_the_etudes_are_prepared(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    run_prepare(*arguments)
    manifest = corpus.read_manifest(tmp_path / "runs" / "data" / "etudes")
    total = sum(manifest.totals(split)["files"] for split in corpus.SPLITS)
    assert total == etudes.NUM_ETUDES
    with pytest.raises(UserError, match="already holds something"):
        run_prepare(*arguments)


def test_the_dataset_is_downloaded_into_the_cache(tmp_path, monkeypatch, midi_bytes):
    def fetch(url, path, sha256, max_bytes):
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("maestro-v3.0.0/2018/a.midi", midi_bytes[0])
        return path

    monkeypatch.setattr(download, "fetch", fetch)
    flags = [f"--cache_dir={tmp_path / 'cache'}", f"--output_dir={tmp_path / 'out'}"]
    run_prepare("--dataset=maestro-v3", *flags)
    provenance = json.loads((tmp_path / "out" / "manifest.json").read_text())["provenance"]
    assert provenance["dataset"] == "maestro-v3"
    assert names(corpus.read_manifest(tmp_path / "out"), "train") == [
        "maestro-v3.0.0-midi.zip/maestro-v3.0.0/2018/a.midi"
    ]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, midi_bytes):
    (tmp_path / "x.mid").write_bytes(midi_bytes[0])
    monkeypatch.setenv("HOME", str(tmp_path))
    run_prepare("--input=~/x.mid", "--output_dir=~/out")
    assert names(corpus.read_manifest(tmp_path / "out"), "train") == ["x.mid"]
    fetched = []
    monkeypatch.setattr(download, "fetch", lambda url, path, *_: fetched.append(path) or "x.mid")
    with pytest.raises(UserError, match="'x\\.mid' does not exist"):
        run_prepare("--dataset=maestro-v3", "--cache_dir=~/cache", "--output_dir=~/other")
    assert fetched == [tmp_path / "cache" / "maestro-v3.0.0-midi.zip"]


def test_downloads_are_kept_in_the_users_cache_folder(tmp_path, monkeypatch):
    def fetch(url, path, *_):
        raise UserError(f"to {path.parent}")

    monkeypatch.setattr(download, "fetch", fetch)
    arguments = ["--dataset=maestro-v3", f"--output_dir={tmp_path / 'out'}"]
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, folder in (("", ".cache/midijax"), (f"{tmp_path}/xdg", "xdg/midijax")):
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
        with pytest.raises(UserError, match=f"^to {tmp_path / folder}$"):
            run_prepare(*arguments)

    def no_home():
        raise RuntimeError

    monkeypatch.setattr(cache, "folder", no_home)
    with pytest.raises(UserError, match="no home folder; name one by --cache_dir"):
        run_prepare(*arguments)


def test_what_cannot_be_prepared_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\5\6" + bytes(10))
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.mid").write_text("no music")
    out = tmp_path / "out"
    for path, told in (
        ("nowhere", "does not exist"),
        ("broken.zip", "is no MIDI file, folder or whole zip archive"),
        ("none", "holds no .mid or .midi files"),
        ("bad", "not one of the files could be read; 'bad/x.mid'"),
    ):
        with pytest.raises(UserError, match=told):
            run_prepare(f"--input={tmp_path / path}", f"--output_dir={out / 'corpus'}")
        assert not list(out.iterdir())
    with pytest.raises(UserError, match="exclude each other"):
        run_prepare("--input=x", "--dataset=maestro-v3")


def test_a_record_that_was_cut_is_not_taken_for_whole(tmp_path):
    recording = Recording.of("étude", etudes.compose(0))
    part = parts.Part(tmp_path / "part.json", [Source("étude", lambda: b"")])
    part.write([recording])
    (reading,) = part.readings()
    assert reading.result.record == recording.record
    records = tmp_path / "part.records"
    records.write_bytes(recording.record[:-1])
    with pytest.raises(UserError, match=r"part\.records' is damaged"):
        _ = reading.result.record
