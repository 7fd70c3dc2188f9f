import hashlib
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from midijax import corpus, etudes
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

SECONDS = st.floats(0, 1e6)
NOTES = st.tuples(SECONDS, SECONDS, st.integers(0, 127), st.integers(1, 127))
PEDAL = st.tuples(SECONDS, st.integers(0, 127))


@st.composite
def performances(draw):
    notes = draw(st_numpy.arrays(NOTE_DTYPE, st.integers(1, 30), elements=NOTES))
    pedal = draw(st_numpy.arrays(PEDAL_DTYPE, st.integers(0, 30), elements=PEDAL))
    return Performance(notes, pedal)


@pytest.fixture(scope="module")
def recordings():
    return [Recording.of(name, performance) for name, performance in etudes.corpus(5)]


@hypothesis.given(st.text().filter(str.isprintable), performances())
def test_a_record_gives_back_the_performance_bit_for_bit(name, performance):
    name_again, again = corpus.unpack(corpus.pack(name, performance))
    assert name_again == name
    assert again.notes.tobytes() == performance.notes.tobytes()
    assert again.pedal.tobytes() == performance.pedal.tobytes()


@hypothesis.given(st.data())
def test_no_damaged_record_is_taken_for_a_sound_one(data):
    record = bytearray(corpus.pack("name", etudes.compose(0)))
    index = data.draw(st.integers(0, len(record) - 1))
    record[index] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(record), bytes(record[:index])):
        with pytest.raises(UserError, match="damaged"):
            corpus.unpack(damaged)


def test_records_and_manifest_come_back_in_order_across_shards(tmp_path, recordings, monkeypatch):
    monkeypatch.setattr(corpus, "_PERFORMANCES_PER_SHARD", 2)
    splits = {"train": recordings, "validation": [], "test": recordings[:1]}
    written = corpus.write(tmp_path / "c", splits)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "manifest.json",
        "test-00000-of-00001.array_record",
        *(f"train-{i:05}-of-00003.array_record" for i in range(3)),
    ]
    records = corpus.open_split(tmp_path / "c", "train")
    assert [records[i] for i in range(len(records))] == [r.record for r in recordings]
    manifest = corpus.read_manifest(tmp_path / "c")
    assert manifest == written
    assert manifest.performances["train"] == [recording.entry for recording in recordings]


def test_totals_are_those_of_the_performances(tmp_path, recordings):
    manifest = corpus.write(tmp_path / "c", {"train": recordings})
    played = [performance for _, performance in etudes.corpus(5)]
    totals = manifest.totals("train")
    assert totals["files"] == 5
    assert totals["notes"] == sum(len(performance.notes) for performance in played)
    assert totals["hours"] == pytest.approx(sum(p.duration for p in played) / 3600, abs=1e-3)
    assert manifest.totals("test") == {"files": 0, "hours": 0, "notes": 0, "events": 0}
    about = json.loads((tmp_path / "c" / "manifest.json").read_text())["splits"]["train"]
    assert {name: about[name] for name in totals} == totals


def test_the_content_hash_sees_notes_and_pedal_but_no_name():
    first = etudes.compose(0)
    louder = first.notes.copy()
    louder["velocity"][0] += 1
    hashes = {
        Recording.of("a", first).entry.sha256,
        Recording.of("b", first).entry.sha256,
        Recording.of("a", Performance(louder, first.pedal)).entry.sha256,
        Recording.of("a", Performance(first.notes, first.pedal[:-1])).entry.sha256,
    }
    assert len(hashes) == 3


def test_what_is_missing_or_broken_is_told_with_a_cure(tmp_path, recordings):
    with pytest.raises(UserError, match=r"midijax\.prepare --input"):
        corpus.open_split(tmp_path, "train")
    corpus.write(tmp_path / "c", {"train": recordings})
    with pytest.raises(UserError, match="no validation split, only train"):
        corpus.open_split(tmp_path / "c", "validation")
    shard = tmp_path / "c" / "train-00000-of-00001.array_record"
    content = bytearray(shard.read_bytes())
    content[2000:2004] = b"xxxx"
    shard.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        list(corpus.open_split(tmp_path / "c", "train"))
    shard.write_bytes(content[:1000])
    with pytest.raises(UserError, match="damaged"):
        corpus.open_split(tmp_path / "c", "train")
    shard.unlink()
    with pytest.raises(UserError, match="damaged"):
        corpus.open_split(tmp_path / "c", "train")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 99}', "\0"])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="prepare again"):
        corpus.read_manifest(tmp_path)


def test_a_folder_in_use_is_left_alone(tmp_path, recordings):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="already holds something"):
        corpus.write(tmp_path, {"train": recordings})
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_failure_leaves_nothing(tmp_path, recordings):
    class Lost:
        entry = recordings[0].entry

        @property
        def record(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        corpus.write(tmp_path / "c", {"train": [recordings[1], Lost()]})
    assert not list(tmp_path.iterdir())


def test_the_same_recordings_give_the_same_bytes(tmp_path, recordings):
    def digests(folder):
        corpus.write(folder, {"train": recordings})
        return [hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.iterdir())]

    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_times_survive_beyond_float32():
    onset = 3600.0 + 1 / 3
    notes = np.array([(onset, onset + 1e-9, 60, 64)], NOTE_DTYPE)
    again = corpus.unpack(corpus.pack("", Performance(notes)))[1]
    assert again.notes["onset"][0] == onset
    assert again.notes["offset"][0] == onset + 1e-9
