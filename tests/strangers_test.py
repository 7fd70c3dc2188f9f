"""Prepared corpora from strangers: refused by name, nothing read outside their folder."""

import itertools
import json
import os
import shutil
import struct
import zlib

import numpy as np
import pytest

from midijax import corpus, etudes
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

SHARD = "train-00000-of-00001.array_record"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(3)]
    folder = tmp_path_factory.mktemp("sound") / "corpus"
    corpus.write(folder, {"train": recordings})
    return folder


@pytest.fixture
def folder(tmp_path, sound):
    """A corpus of three performances to be spoilt."""
    return shutil.copytree(sound, tmp_path / "corpus")


def refusal(folder):
    with pytest.raises(UserError) as error_info:
        list(map(corpus.unpack, corpus.open_split(folder, "train")))
    assert str(folder) in str(error_info.value)
    assert str(error_info.value).isprintable() and len(str(error_info.value)) < 1000
    return str(error_info.value)


def change(folder, *path_and_value):
    """Sets a field of the manifest, or with `...` takes it away."""
    *path, last, value = path_and_value
    manifest = json.loads((folder / "manifest.json").read_text())
    node = manifest
    for step in path:
        node = node[step]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "name",
    [
        "/absolute/outside.array_record",
        "../outside.array_record",
        "..",
        ".",
        "",
        ".hidden",
        "a/b",
        "a\\b",
        "a\0b",
        "a\n\x1b[2J",
        f"{SHARD}[0:3]",  # which array_record would take for a range of records
        "gs:bucket",
        "*",
        7,
        None,
        [SHARD],
    ],
)
def test_a_shard_that_is_no_file_of_the_folder_is_refused(folder, tmp_path, name):
    outside = tmp_path / "outside.array_record"
    (folder / SHARD).rename(outside)
    if name == "/absolute/outside.array_record":
        name = str(outside)
    change(folder, "splits", "train", "shards", [name])
    assert f"{name!r:.99} is no file name of a shard" in refusal(folder)


def test_the_same_shard_twice_is_more_than_the_manifest_lists(folder):
    change(folder, "splits", "train", "shards", [SHARD, SHARD])
    assert "it holds 6 performances, manifest.json lists 3" in refusal(folder)


def test_a_manifest_that_lists_fewer_or_more_is_refused(folder):
    change(folder, "performances", 2, ...)
    assert "it holds 3 performances, manifest.json lists 2" in refusal(folder)
    listed = json.loads((folder / "manifest.json").read_text())["performances"]
    change(folder, "performances", 2 * listed)
    assert "it holds 3 performances, manifest.json lists 4" in refusal(folder)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "empty", "cut", "text"])
def test_a_shard_that_is_none_is_told_by_name(folder, kind):
    shard = folder / SHARD
    content = shard.read_bytes()
    shard.unlink()
    if kind == "folder":
        shard.mkdir()
    elif kind == "pipe":
        os.mkfifo(shard)
    elif kind != "missing":
        contents = {"empty": b"", "cut": content[:-1], "text": b"dear diary" * 10_000}
        shard.write_bytes(contents[kind])
    assert "damaged" in refusal(folder)


def test_a_bit_flipped_anywhere_is_noticed_or_changes_nothing(folder):
    shard = folder / SHARD
    sound = shard.read_bytes()
    expected = list(corpus.open_split(folder, "train"))
    noticed = 0
    for position in range(0, len(sound), 613):
        flipped = bytearray(sound)
        flipped[position] ^= 1 << position % 8
        shard.write_bytes(flipped)
        try:
            assert list(corpus.open_split(folder, "train")) == expected
        except UserError as error:
            assert "damaged" in str(error)
            noticed += 1
    assert noticed > 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("notes", value) for value in (-1, 0, 2**63, 10**300, 1.5, "9", None, True)),
        *(("events", value) for value in (-1, 0, 10**6, 10**18, 1.5, "9", None, True)),
        *(("seconds", value) for value in (-1.0, 1e7, float("nan"), float("inf"), 10**400, "9")),
        *(("name", value) for value in ("a\nb", "\x1b[2J", "a\0", "\u202e", "\ud800", 7, None)),
        *(("split", value) for value in ("test", "trian", "", "../train", 7, None)),
        *(("sha256", value) for value in (7, None)),
        ("title", ["a"]),
    ],
)
def test_an_entry_that_cannot_be_true_is_refused(folder, field, value):
    change(folder, "performances", 1, field, value)
    assert "manifest.json cannot be read (" in refusal(folder)
    change(folder, "performances", 1, field, ...)
    assert f"there is no '{field}' in" in refusal(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *itertools.product([("format_version",)], [0, 2, -1, 1.0, "1", True, None, [], {}]),
        *itertools.product([("splits",)], [None, 7, "train", [], [["train"]], {"trian": {}}]),
        *itertools.product([("splits", "train")], [None, 7, "shards", [], {}]),
        *itertools.product([("splits", "train", "shards")], [None, 7, SHARD, {SHARD: 1}, {}]),
        *itertools.product([("performances",)], [None, 7, "a", {}, [7], [None], [[]], [{}]]),
        *itertools.product([("provenance",)], [None, 7, "a", []]),
        *itertools.product([("skipped",), ("duplicates",)], [None, 7, "a", {}, [7], [{}], ["ab"]]),
    ],
)
def test_a_manifest_of_another_form_is_refused(folder, path, value):
    change(folder, *path, value)
    assert "manifest.json cannot be read (" in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "7",
        "[" * 100_000,
        '{"format_version":' * 100_000,
        '{"format_version": ' + "9" * 5000 + "}",
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",
        "__import__('os').mkdir('pwned')",
    ],
)
def test_what_is_no_json_is_refused(folder, text, monkeypatch):
    monkeypatch.chdir(folder)
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "manifest.json").write_bytes(content)
    assert "manifest.json cannot be read (" in refusal(folder)
    assert len(list(folder.iterdir())) == 2


def forged(name=b"a", num_notes=1, num_pedal=0, notes=b""):
    """A record with a good checksum, whatever it holds."""
    body = struct.pack("<III", len(name), num_notes, num_pedal) + name + notes
    return b"MJX1" + struct.pack("<I", zlib.crc32(body)) + body


@pytest.mark.parametrize("counts", [(2**32 - 1, 0), (0, 2**32 - 1), (2**32 - 1,) * 2, (2, 0)])
def test_a_record_that_claims_more_than_it_holds_is_damaged(counts):
    with pytest.raises(UserError, match="damaged"):
        corpus.unpack(forged(b"a", *counts, bytes(18)))


NOTE, PEDAL = (1.0, 2.0, 60, 64), (1.0, 127)
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("notes", "pedal"),
    [
        ([], []),
        ([], [PEDAL]),
        *(([NOTE, (onset, 2.0, 60, 64)], []) for onset in (-1e-9, NAN, INF, -INF, 1e300)),
        *(([NOTE, (1.0, offset, 60, 64)], []) for offset in (-1e-9, NAN, INF, -INF, 1e300)),
        *(([NOTE, (1.0, 2.0, pitch, 64)], []) for pitch in (128, 255)),
        *(([NOTE, (1.0, 2.0, 60, velocity)], []) for velocity in (0, 128, 255)),
        *(([NOTE], [PEDAL, (time, 0)]) for time in (-1e-9, NAN, INF, 1e300)),
        *(([NOTE], [PEDAL, (1.0, value)]) for value in (128, 255)),
    ],
)
def test_a_record_of_what_no_piano_can_play_is_refused_by_name(notes, pedal):
    performance = Performance(np.array(notes, NOTE_DTYPE), np.array(pedal, PEDAL_DTYPE))
    with pytest.raises(UserError, match=r"the record 'strange' of .* is no music"):
        corpus.unpack(corpus.pack("strange", performance))


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "a\0", "\u202e"])
def test_a_record_whose_name_is_not_printable_is_refused_and_the_name_told_safely(name):
    with pytest.raises(UserError) as error_info:
        corpus.unpack(corpus.pack(name, etudes.compose(0)))
    assert str(error_info.value).isprintable()
