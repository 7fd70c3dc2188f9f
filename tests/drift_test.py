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


REAL = drift.Reference(
    parts=[part(20, velocity) for velocity in range(40, 61)],
    ends=[(part(20, 50), part(20, 50 + change)) for change in range(21)],
)
OTHERS = drift.Reference(
    parts=[part(20, velocity) for velocity in (30, 50, 51, 70)],
    ends=[(part(20, 60), part(20, velocity)) for velocity in (70, 59)],
)


def test_what_stays_is_within_and_what_trails_off_is_not():
    stays, trails_off = (part(20, 50), part(20, 51)), (part(20, 50), part(20, 10))
    compared = drift.compare([stays, stays, stays, trails_off], REAL, OTHERS)
    velocity = compared["velocity"]
    assert (velocity["first"], velocity["last"], velocity["change"]) == (50, 51, 1)
    assert (velocity["real_first"], velocity["real_last"], velocity["real_change"]) == (50, 60, 10)
    assert velocity["spread"] == pytest.approx([41, 59])  # of parts from anywhere, not of ends
    assert velocity["change_spread"] == pytest.approx([1, 19])
    assert velocity["last_within"] == velocity["change_within"] == 0.75
    assert compared["note_density"]["change_within"] == 1


def test_the_ceiling_is_what_other_real_performances_reach():
    velocity = drift.compare([(part(20, 50), part(20, 50))], REAL, OTHERS)["velocity"]
    assert velocity["last_within_ceiling"] == velocity["change_within_ceiling"] == 0.5


def test_of_real_ones_nine_of_ten_are_within():
    velocity = drift.compare(REAL.ends, REAL, REAL)["velocity"]
    assert velocity["last_within_ceiling"] == pytest.approx(0.9, abs=0.02)
    assert velocity["change_within"] == velocity["change_within_ceiling"]
    assert velocity["change_within"] == pytest.approx(0.9, abs=0.02)


def test_an_end_in_silence_is_outside():
    compared = drift.compare([(part(20, 50), part(0, 50))], REAL, OTHERS)
    assert compared["velocity"]["last"] is None
    assert compared["velocity"]["last_within"] == compared["velocity"]["change_within"] == 0
    assert compared["note_density"]["last"] == 0


def test_times_are_told_in_seconds():
    compared = drift.compare(REAL.ends, REAL, OTHERS)
    assert compared["duration"]["first"] == pytest.approx(0.5)
    assert "pitch_class" not in compared  # twelve figures, not one


def test_shares_are_averaged_over_the_statistics():
    compared = {
        "velocity": {"last_within": 0.5, "change_within": 1.0},
        "pitch": {"last_within": 0.25, "change_within": 0.5},
    }
    assert drift.mean_share(compared, "last_within") == 0.375
    assert drift.mean_share(compared, "change_within") == 0.75
