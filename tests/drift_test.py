import numpy as np
import pytest

from midijax import drift
from midijax.performance import NOTE_DTYPE, Performance
from midijax.statistics import measure

SECONDS = 10.0


def part(notes, velocity):
    onsets = np.linspace(0, SECONDS, notes, endpoint=False)
    rows = [(onset, onset + 0.5, 60, velocity) for onset in onsets]
    return measure(Performance(np.array(rows, NOTE_DTYPE)), SECONDS)


REAL = [(part(20, velocity), part(20, velocity + 2)) for velocity in range(40, 61)]


def test_what_stays_is_within_and_what_trails_off_is_not():
    stays, trails_off = (part(20, 50), part(20, 51)), (part(20, 50), part(20, 10))
    compared = drift.compare([stays, stays, stays, trails_off], REAL)
    velocity = compared["velocity"]
    assert (velocity["first"], velocity["last"], velocity["change"]) == (50, 51, 1)
    assert velocity["real_last_spread"] == pytest.approx([43, 61])
    assert velocity["last_within"] == 0.75
    assert velocity["change_within"] == 0  # real ones all change by 2
    assert compared["note_density"]["change_within"] == 1


def test_of_real_ones_nine_of_ten_are_within():
    assert drift.compare(REAL, REAL)["velocity"]["last_within"] == pytest.approx(0.9, abs=0.02)


def test_an_end_in_silence_is_outside():
    compared = drift.compare([(part(20, 50), part(0, 50))], REAL)
    assert compared["velocity"]["last"] is None
    assert compared["velocity"]["last_within"] == compared["velocity"]["change_within"] == 0
    assert compared["note_density"]["last"] == 0


def test_times_are_told_in_seconds():
    duration = drift.compare(REAL, REAL)["duration"]
    assert duration["first"] == pytest.approx(0.5)
    assert "pitch_class" not in drift.compare(REAL, REAL)  # twelve figures, not one


def test_shares_are_averaged_over_the_statistics():
    compared = {
        "velocity": {"last_within": 0.5, "change_within": 1.0},
        "pitch": {"last_within": 0.25, "change_within": 0.5},
    }
    assert drift.mean_share(compared, "last_within") == 0.375
    assert drift.mean_share(compared, "change_within") == 0.75
