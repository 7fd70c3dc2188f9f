import json
import time

import pytest

from midijax import health
from midijax.errors import UserError
from midijax.health import Health
from midijax.log import JsonLines


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_when_it_is_time_and_none_before(tmp_path, monkeypatch):
    told = []
    with Health(tmp_path, events_per_step=100, first_step=5) as watched:
        watched.look(7, told.append)
        assert not told
        monkeypatch.setattr(health, "SECONDS_BETWEEN_LINES", 0.05)
        with watched.waiting_for_data():
            time.sleep(0.06)
        watched.look(8, told.append)
    (line,) = lines(tmp_path / "health-0.jsonl")
    assert (line["step"], line["host"], line["device_memory_bytes"]) == (8, 0, None)
    assert 0 < line["events_per_second"] <= 300 / 0.06
    assert 0.5 < line["data_wait_share"] <= 1
    assert 2**20 < line["memory_bytes"] < 2**40
    (sentence,) = told
    assert "host 0 step 8: " in sentence and "of the time waiting for data" in sentence


def test_each_line_counts_from_the_one_before_and_a_later_run_adds_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "SECONDS_BETWEEN_LINES", 0.0)
    for first in (0, 10):
        with Health(tmp_path, events_per_step=1, first_step=first) as watched:
            with watched.waiting_for_data():
                time.sleep(0.01)
            watched.look(first + 1, str)
            watched.look(first + 1, str)
    found = lines(tmp_path / "health-0.jsonl")
    assert [line["step"] for line in found] == [1, 1, 11, 11]
    assert [line["data_wait_share"] > 0 for line in found] == [True, False, True, False]
    assert [line["events_per_second"] > 0 for line in found] == [True, False, True, False]


class Accelerator:
    def memory_stats(self):
        return {"bytes_in_use": 2**20, "peak_bytes_in_use": 5 * 2**30}


def test_the_most_that_was_used_of_an_accelerator_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("jax.local_devices", lambda: [Accelerator()])
    told = []
    with Health(tmp_path, events_per_step=1, first_step=0) as watched:
        watched.look(1, told.append)
    assert lines(tmp_path / "health-0.jsonl")[0]["device_memory_bytes"] == 5 * 2**30
    assert told[0].endswith("at most 5.00 GiB on the device")


def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    lines = JsonLines(tmp_path / "full.jsonl")
    with pytest.raises(UserError, match=r"full.jsonl' cannot be written: No space left on device"):
        lines.write(1, loss=2.0)
    lines.close()


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        JsonLines(tmp_path)
