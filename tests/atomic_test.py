import subprocess
import sys
from pathlib import Path

import pytest

from midijax import atomic
from midijax.errors import UserError


def test_a_file_appears_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "deep" / "x.txt"
    with atomic.new_file(path) as partial:
        partial.write_text("music")
        assert not path.exists()
        assert partial.parent == path.parent
    assert path.read_text() == "music"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_at_once_or_kept(tmp_path):
    path = tmp_path / "x.txt"
    atomic.write_text(path, "première")
    with pytest.raises(ZeroDivisionError), atomic.new_file(path) as partial:
        partial.write_text("half")
        1 // 0  # noqa: B018
    assert path.read_text("utf-8") == "première"
    atomic.write_text(str(path), "second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    for path in (tmp_path / "file" / "x", tmp_path / "folder", Path(), Path("..")):
        with pytest.raises(UserError, match=rf"'{path}' cannot be written: .+"):
            atomic.write_text(path, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="no text in UTF-8"), atomic.new_folder(tmp_path / "\udcff"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    told = pytest.raises(UserError, match="No space left on device")
    with told, atomic.new_file(tmp_path / "x") as partial:
        partial.write_text("half")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_whole_or_absent(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic.new_folder(tmp_path / "x") as partial:
        (partial / "half").write_text("")
        1 // 0  # noqa: B018
    assert not list(tmp_path.iterdir())
    with atomic.new_folder(tmp_path / "x") as partial:
        (partial / "whole").write_text("")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["whole"]


def test_what_a_killed_run_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path):
    program = (
        "import os, sys; from midijax import atomic\n"
        "with atomic.new_folder(sys.argv[1]): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic.new_folder(tmp_path / "x") as one:
        assert list(tmp_path.iterdir()) == [one]
        with atomic.new_folder(tmp_path / "x") as other:
            assert one.exists()
        other_content = list((tmp_path / "x").iterdir())
        assert other_content == [] and not other.exists()
        (tmp_path / "x").rmdir()
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
