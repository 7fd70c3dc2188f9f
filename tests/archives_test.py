"""Archives, folders and tables from strangers: nothing is unpacked to disk, and little in memory.

What each says of itself is forged here by the bytes, as zipfile would not write it.
"""

import os
import pickle
import stat
import struct
import subprocess
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from midijax import midi, sources
from midijax.errors import UserError

MIDI = b"MThd\0\0\0\6\0\0\0\1\1\xe0"  # whatever a file holds is not looked at here
MEGABYTE = 2**20


def member(name, data=MIDI, **header):
    """Name, packed bytes and what the header says of them."""
    about = {"flags": 0x800, "method": 0, "crc": zlib.crc32(data), "size": len(data), "mode": 0}
    return name.encode() if isinstance(name, str) else name, data, about | header


def write_zip(path, *members, prefix=b"", shared=False):
    """An archive byte by byte; with `shared`, every member is the bytes of the first."""
    local, directory = bytearray(prefix), bytearray()
    for name, data, about in members:
        fields = [about["flags"], about["method"], 0, 0, about["crc"], len(data), about["size"]]
        offset = len(prefix) if shared else len(local)
        if not shared or len(local) == len(prefix):
            local += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *fields, len(name), 0) + name + data
        directory += (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                3 << 8 | 20,
                20,
                *fields,
                len(name),
                0,
                0,
                0,
                0,
                about["mode"] << 16,
                offset,
            )
            + name
        )
    end = len(members), len(members), len(directory), len(local)
    path.write_bytes(local + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *end, 0))
    return path


def outcomes(path):
    """The bytes of each file, or the reason why there are none, by name without the archive's."""
    found = []
    for source in sources.find(path):
        root, _, name = source.name.partition("/")
        assert root == path.name
        try:
            found.append((name, source.read()))
        except UserError as error:
            found.append((name, str(error)))
    return found


def deflate(data):
    compress = zlib.compressobj(9, wbits=-15)
    return compress.compress(data) + compress.flush()


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "a.zip"


def test_names_that_lead_elsewhere_are_but_labels(archive, tmp_path):
    names = ["/etc/a.mid", "../../b.mid", "C:\\c.mid", "//host/d.mid", "x/../../e.mid"]
    write_zip(archive, *(member(name) for name in names))
    assert sorted(outcomes(archive)) == sorted(
        (name, MIDI)
        for name in ("etc/a.mid", "../../b.mid", "C:\\c.mid", "host/d.mid", "x/../../e.mid")
    )
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("Étude.mid".encode("cp437"), 0, "Étude.mid"),
        ("Étude.mid".encode(), 0, "Étude.mid"),  # as macOS writes it
        ("Étude.mid".encode(), 0x800, "Étude.mid"),
        ("練習曲.mid".encode("shift_jis"), 0, "ù√ÅKï╚.mid"),
        (b"bell\a\x1b[31m.mid", 0, "bell??[31m.mid"),
        ("\u202edim.mid".encode(), 0x800, "?dim.mid"),
    ],
)
def test_names_of_any_encoding_are_text(archive, name, flags, told):
    write_zip(archive, member(name, flags=flags))
    assert outcomes(archive) == [(told, MIDI)]


def test_a_name_that_is_not_the_utf8_it_says_is_told(archive):
    write_zip(archive, member(b"\xff.mid", flags=0x800))
    with pytest.raises(UserError, match=r"archive '.*a\.zip' cannot be opened: 'utf-8' codec"):
        sources.find(archive)


def test_names_that_differ_by_case_are_two_files_and_of_one_name_the_last_counts(archive):
    write_zip(
        archive,
        member("A.mid", b"1"),
        member("a.mid", b"2"),
        member("a.MID", b"3"),
        member("a.mid", b"4"),
    )
    assert outcomes(archive) == [
        ("A.mid", b"1"),
        ("a.MID", b"3"),
        ("a.mid", "is followed by another of the same name"),
        ("a.mid", b"4"),
    ]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"mode": stat.S_IFLNK | 0o777}, "is a link"),
        ({"flags": 0x1}, "is encrypted"),
        ({"method": 12}, "is compressed in an unusual way"),  # bzip2
        ({"method": 14}, "is compressed in an unusual way"),  # lzma
        ({"method": 9}, "is compressed in an unusual way"),  # deflate64
        ({"method": 8}, "cannot be unpacked: Error -3 while decompressing"),
        ({"crc": 1}, "cannot be unpacked: Bad CRC-32"),
        ({"size": midi.MAX_BYTES + 1}, "is larger than 16 MiB"),
        ({"size": 2**32 - 2}, "is larger than 16 MiB"),
    ],
)
def test_a_file_that_cannot_be_had_has_one_reason_and_costs_no_other(archive, header, reason):
    write_zip(archive, member("bad.mid", **header), member("good.mid"))
    (_, told), good = outcomes(archive)
    assert told.startswith(reason) and "\n" not in told
    assert good == ("good.mid", MIDI)


def test_data_before_an_archive_does_no_harm(archive):
    write_zip(archive, member("a.mid"))
    archive.write_bytes(b"#!/bin/sh\nexit\n" * 1000 + archive.read_bytes())
    assert outcomes(archive) == [("a.mid", MIDI)]


def test_an_archive_cut_anywhere_is_told_in_one_sentence(archive):
    write_zip(archive, member("a.mid"), member("b.mid"))
    whole = archive.read_bytes()
    for end in range(len(whole)):
        archive.write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"no MIDI file, folder or whole zip archive"):
            sources.find(archive)


@pytest.mark.parametrize("index", range(22))
def test_an_end_record_with_any_number_in_it_is_told_in_one_sentence(archive, index):
    write_zip(archive, member("a.mid"))
    whole = archive.read_bytes()
    for value in (b"\0", b"\x7f", b"\xff" * 4):
        at = len(whole) - 22 + index
        archive.write_bytes((whole[:at] + value + whole[at + len(value) :])[: len(whole)])
        try:
            assert [name for name, _ in outcomes(archive)] == ["a.mid"]
        except UserError as error:
            assert "a.zip" in str(error) and "\n" not in str(error)


def test_nameless_members_and_archives_within_archives_are_passed_over(archive, tmp_path):
    inner = write_zip(tmp_path / "inner.zip", member("deep.mid"))
    write_zip(archive, member(""), member("/"), member("inner.zip", inner.read_bytes()))
    with pytest.raises(UserError, match=r"holds no \.mid or \.midi files"):
        sources.find(archive)


def test_members_that_share_their_bytes_are_left_out(archive):
    bomb = deflate(bytes(16 * MEGABYTE))
    about = {"method": 8, "crc": zlib.crc32(bytes(16 * MEGABYTE)), "size": 16 * MEGABYTE}
    write_zip(archive, *(member(f"{i:05}.mid", bomb, **about) for i in range(20_000)), shared=True)
    assert archive.stat().st_size < 2 * MEGABYTE  # and 312 GiB if all were unpacked
    found = outcomes(archive)
    assert len(found) == 20_000
    assert {told for _, told in found[:-1]} == {"shares its bytes with another (a zip bomb?)"}


def test_a_directory_without_end_is_refused_before_it_is_read(archive, monkeypatch):
    write_zip(archive, *(member(f"{i}.mid") for i in range(100)))
    assert len(sources.find(archive)) == 100
    monkeypatch.setattr(sources, "MAX_DIRECTORY_BYTES", 100 * 46)
    os.utime(archive, (0, 0))
    with pytest.raises(UserError, match="too many files in it; give the unpacked folder"):
        sources.find(archive)


def peak_megabytes(path):
    """What it takes to read all files."""
    tracemalloc.start()
    try:
        found = outcomes(path)
        return found, tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_bomb_that_says_it_is_small_is_never_whole_in_memory(archive, method):
    with zipfile.ZipFile(archive, "w", method) as file, file.open("bomb.mid", "w") as bomb:
        for _ in range(128):
            bomb.write(bytes(MEGABYTE + 99))
    sizes = (struct.pack("<L", size) for size in (128 * (MEGABYTE + 99), 1000))
    archive.write_bytes(archive.read_bytes().replace(*sizes))
    [(_, reason)], megabytes = peak_megabytes(archive)
    assert reason.startswith(("is compressed in an unusual way", "cannot be unpacked: Bad CRC"))
    assert megabytes < 64


def test_a_source_reads_the_same_in_another_process(archive, tmp_path):
    write_zip(archive, member("a.mid"))
    (source,) = sources.find(archive)
    sources._archive.cache_clear()
    assert pickle.loads(pickle.dumps(source)).read() == MIDI
    write_zip(archive, member("longer.mid", MIDI * 2))
    (source,) = sources.find(archive)
    assert source.read() == MIDI * 2


def test_links_to_files_are_read_and_links_to_folders_are_not_followed(tmp_path):
    folder, elsewhere = tmp_path / "music", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.mid").write_bytes(MIDI)
    (folder / "linked.mid").symlink_to(elsewhere / "a.mid")
    (folder / "folder").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (folder / "own.mid").symlink_to("own.mid")
    (folder / "zero.mid").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.mid")
    reasons = dict(outcomes(folder))
    assert reasons.pop("linked.mid") == MIDI
    assert reasons == {
        "own.mid": "cannot be read: Too many levels of symbolic links",
        "pipe.mid": "is no plain file",
        "zero.mid": "is no plain file",
    }


@pytest.mark.parametrize("name", ["pipe.zip", "pipe.mid"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is neither file nor folder"):
        sources.find(tmp_path / name)


def test_folders_a_thousand_deep_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    monkeypatch.undo()
    try:
        with pytest.raises(UserError, match=r"a thousand deep|holds no"):
            sources.find(tmp_path)
    finally:  # pytest cannot remove it
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


HOSTILE_TABLES = [
    ("file,split\na.mid,Train\n", "puts 'a.mid' into 'Train', but each file must be in one of"),
    ("file,split\na.mid,train\na.mid,test\n", "puts 'a.mid' into 'test', but each file"),
    ("file,split\na.mid,\x1b[2J\n", r"into '\?\[2J'"),
    (f"file,split\na.mid,{'x' * 100_000}\n", "into 'x{40}',"),
    (f"file,split\na.mid,{'x' * 200_000}\n", "'t.csv' field larger than field limit"),
    ("x" * 17 * MEGABYTE, "'t.csv' is larger than 16 MiB"),
]


@pytest.mark.parametrize(("table", "told"), HOSTILE_TABLES, ids=range(len(HOSTILE_TABLES)))
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_table_that_cannot_be_followed_is_refused_by_name(tmp_path, table, told, kind):
    path = tmp_path / kind
    if kind == "archive":
        write_zip(path, member("a.mid"), member("t.csv", table.encode()))
    else:
        path.mkdir()
        (path / "a.mid").write_bytes(MIDI)
        (path / "t.csv").write_text(table)
    with pytest.raises(UserError, match=told) as error_info:
        sources.find(path)
    assert len(str(error_info.value)) < 400 and "\n" not in str(error_info.value)


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"\n\n\n",
        b"file",
        b"file,split\n",
        b"\0" * 1000,
        bytes(range(256)) * 100,
        b'file,split\n"a.mid',
        b"split,colour\nnonsense,blue\n",  # names no files
        b"file,split\nelsewhere.mid,nonsense\n",  # not of this folder
        b"file,split\n../a.mid,nonsense\n/a.mid,nonsense\n",
        b"file,split\na.mid\na.mid,,,,,\n",
        "\ufefffile,split\r\na.mid,\r\n".encode(),
        "file,split\na.mid,x".encode("utf-16"),
    ],
)
def test_a_table_that_says_nothing_of_the_files_does_no_harm(archive, table):
    write_zip(archive, member("a.mid"), member("t.csv", table))
    (source,) = sources.find(archive)
    assert (source.read(), source.split) == (MIDI, "")


def test_two_tables_add_up(archive):
    first, second = b"file,split\na.mid,test\n", b"file,title,split\na.mid,Nocturne\n"
    write_zip(archive, member("a.mid"), member("1.csv", first), member("2.csv", second))
    (source,) = sources.find(archive)
    assert (source.split, source.title) == ("test", "Nocturne")


def test_a_table_of_ever_so_many_columns_and_rows_takes_little_memory(tmp_path):
    (tmp_path / "t.csv").write_text("file," * 200_000 + "\n" + "a\n" * 200_000)
    (tmp_path / "a.mid").write_bytes(MIDI)
    assert peak_megabytes(tmp_path)[1] < 64
