import subprocess

import pytest

from midijax import checksums
from midijax.checksums import Damage


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "params").mkdir()
    (tmp_path / "optimizer").mkdir()
    for name in ("params/weights", "params/two  spaces", "optimizer/moments", "é"):
        (tmp_path / name).write_text(f"content of {name}")
    checksums.write(tmp_path)
    return tmp_path


def test_what_was_written_is_sound(folder):
    checksums.verify(folder)


def test_sha256sum_agrees(folder):
    subprocess.run(["sha256sum", "--check", "--strict", checksums.NAME], cwd=folder, check=True)


def test_a_change_a_loss_and_a_gain_are_named(folder):
    weights = folder / "params" / "weights"
    weights.write_text("content of params/weighty")
    with pytest.raises(Damage, match="its file params/weights is not what was saved"):
        checksums.verify(folder)
    weights.unlink()
    with pytest.raises(Damage, match="its file params/weights is missing"):
        checksums.verify(folder)
    weights.write_text("content of params/weights")
    (folder / "new").touch()
    with pytest.raises(Damage, match="its file new is not what was saved"):
        checksums.verify(folder)


def test_a_part_can_be_left_out(folder):
    (folder / "optimizer" / "moments").unlink()
    checksums.verify(folder, except_under="optimizer")
    with pytest.raises(Damage):
        checksums.verify(folder)


@pytest.mark.parametrize("content", [None, b"", b"garbage\n", b"\xff\xfe"])
def test_without_sums_to_go_by_nothing_is_sound(folder, content):
    path = folder / checksums.NAME
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Damage):
        checksums.verify(folder)


def test_no_bit_of_the_sums_can_change_unnoticed(folder):
    path = folder / checksums.NAME
    content = path.read_bytes()
    for position in range(8 * len(content)):
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(Damage):
            checksums.verify(folder)
