"""Prepared corpora and checkpoints from strangers: sound, or refused by name; they run no code."""

import io
import itertools
import json
import os
import pickle
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from midijax import checkpoint, checksums, corpus, etudes
from midijax.config import Config, ModelConfig
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.events import PERFORMANCE_RNN
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


CONFIG = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=1, hidden_size=4))
CHECKPOINT = "checkpoints/7"
METADATA = [
    "_CHECKPOINT_METADATA",
    "params/_METADATA",
    "params/_sharding",
    "params/array_metadatas/process_0",
    "params/manifest.ocdbt",
    "run/metadata",
]


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, save_run):
    return save_run(tmp_path_factory.mktemp("saved") / "run", CONFIG)


@pytest.fixture
def run(tmp_path, saved):
    """A workdir to be spoilt."""
    return shutil.copytree(saved, tmp_path / "run")


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A file that is there once a payload was unpickled, or the module `canary` imported."""
    trace = tmp_path / "trace"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "canary.py").write_text(f"open({str(trace)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield trace
    assert "canary" not in sys.modules


def forge(run, name, content):
    """Writes a file of the checkpoint, and the checksums anew: they are no signature."""
    (run / CHECKPOINT / name).write_bytes(content)
    (run / CHECKPOINT / checksums.NAME).unlink()
    checksums.write(run / CHECKPOINT)


def with_strings(node, text):
    """JSON with each string in it, but for the keys, replaced."""
    if isinstance(node, dict):
        return {key: with_strings(value, text) for key, value in node.items()}
    if isinstance(node, list):
        return [with_strings(value, text) for value in node]
    return text if isinstance(node, str) else node


def assert_loads_or_is_refused(run):
    try:
        assert checkpoint.load(run).config == CONFIG
    except UserError as error:
        assert CHECKPOINT in str(error) and "\n" not in str(error)


def test_the_payload_would_be_noticed(trace):
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


@pytest.mark.parametrize("name", METADATA)
def test_no_metadata_of_a_checkpoint_is_unpickled(run, trace, name):
    array = io.BytesIO()
    np.save(array, np.array([Payload(trace)], object), allow_pickle=True)
    for content in (pickle.dumps(Payload(trace)), array.getvalue()):
        forge(run, name, content)
        assert_loads_or_is_refused(run)
        assert not trace.exists()


@pytest.mark.parametrize("name", [name for name in METADATA if not name.endswith("ocdbt")])
def test_no_name_in_the_metadata_of_a_checkpoint_is_imported(run, trace, name):
    fields = json.loads((run / CHECKPOINT / name).read_text())
    reduction = {"py/object": "canary.Canary", "py/reduce": [{"py/function": "canary.run"}]}
    for content in (with_strings(fields, "canary.Canary"), fields | reduction, reduction):
        forge(run, name, json.dumps(content).encode())
        assert_loads_or_is_refused(run)
        assert not trace.exists()


def test_named_tuples_in_the_metadata_are_not_looked_up(run, trace):
    tuple_type = {"category": "namedtuple", "module": "canary", "clazz": "Canary", "entries": []}
    fields = json.loads((run / CHECKPOINT / "params/_METADATA").read_text())
    forge(
        run,
        "params/_METADATA",
        json.dumps(
            fields | {"value_metadata_tree": tuple_type, "custom_metadata": tuple_type}
        ).encode(),
    )
    assert_loads_or_is_refused(run)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config", {"py/object": "canary.Canary"}),
        ("config", "canary.Canary"),
        ("config", None),
        ("metrics", {"nats_per_event": "canary.Canary"}),
        ("metrics", "canary.Canary"),
        ("metrics", {}),
        ("metrics", []),
    ],
)
def test_what_a_checkpoint_says_of_its_run_is_checked(run, trace, field, value):
    fields = json.loads((run / CHECKPOINT / "run/metadata").read_text())
    forge(run, "run/metadata", json.dumps(fields | {field: value}).encode())
    with pytest.raises(UserError, match=CHECKPOINT):
        checkpoint.load(run)
    assert not trace.exists()


def test_checksums_of_files_elsewhere_are_not_taken(run):
    sums = run / CHECKPOINT / checksums.NAME
    sums.write_text(sums.read_text() + f"{'0' * 64}  ../../../etc/passwd\n")
    with pytest.raises(UserError, match="is missing"):
        checkpoint.load(run)


def test_a_pipe_in_a_checkpoint_is_not_waited_for(run):
    (run / CHECKPOINT / "params/_METADATA").unlink()
    (run / CHECKPOINT / checksums.NAME).unlink()
    checksums.write(run / CHECKPOINT)
    os.mkfifo(run / CHECKPOINT / "params/_METADATA")
    with pytest.raises(UserError, match="params/_METADATA is no plain file"):
        checkpoint.load(run)
