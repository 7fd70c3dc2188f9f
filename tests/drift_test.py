import numpy as np
import pytest

from midijax import drift
from midijax.performance import NOTE_DTYPE, Performance
from midijax.statistics import measure

SECONDS = 10.0


def part(notes, velocity, pitch=60):
    onsets = np.linspace(0, SECONDS, notes, endpoint=False)
    rows = [(onset, onset + 0.5, pitch, velocity) for onset in onsets]
    return measure(Performance(np.array(rows, NOTE_DTYPE)), SECONDS)


REAL = drift.Long(
    parts=[part(20 + 10 * (velocity % 2), velocity) for velocity in range(40, 61)],
    ends=[(part(20, 50), part(20, 50 + change)) for change in range(21)],
)
OTHERS = drift.Long(
    parts=[part(20, velocity) for velocity in (30, 50, 51, 70)],
    ends=[(part(20, 60), part(20, velocity)) for velocity in (70, 59)],
)
SCALES = drift.Long(parts=[part(20, 50, pitch) for pitch in range(60, 67)], ends=[])


def compare(performances, others=OTHERS):
    reference = drift.reference(REAL, others, len(performances), seed=0)
    return drift.compare(performances, reference)["statistics"]


def test_what_stays_is_within_and_what_trails_off_is_not():
    stays, trails_off = (part(20, 50), part(20, 51)), (part(20, 50), part(20, 10))
    compared = compare([stays, stays, stays, trails_off])
    velocity = compared["velocity"]
    assert (velocity["first"], velocity["last"], velocity["change"]) == (50, 51, 1)
    assert (velocity["real_first"], velocity["real_last"], velocity["real_change"]) == (50, 60, 10)
    assert velocity["spread"] == pytest.approx([41, 59])  # of parts from anywhere, not of ends
    assert velocity["change_spread"] == pytest.approx([1, 19])
    assert velocity["last_within"] == velocity["change_within"] == 0.75
    assert compared["note_density"]["change_within"] == 1


def test_the_area_is_of_the_last_parts_and_the_real_ones():
    real = [(part(50, 10), last) for last in REAL.parts]
    assert compare(real)["velocity"]["last_area"] == pytest.approx(1)
    wrong = [(first, part(50, 10)) for _, first in real]
    assert compare(wrong)["velocity"]["last_area"] == 0


def test_the_ceiling_is_what_other_real_performances_reach():
    velocity = compare([(part(20, 50), part(20, 50))])["velocity"]
    assert velocity["last_within_ceiling"] == velocity["change_within_ceiling"] == 0.5
    assert 0 < velocity["last_area_ceiling"] < 0.5  # half of the draws of one are far from all
    of_all = compare([(part(20, 50), part(20, 50))] * len(REAL.parts), others=REAL)
    assert of_all["velocity"]["last_area_ceiling"] == pytest.approx(1)


def test_of_real_ones_nine_of_ten_are_within():
    velocity = compare(REAL.ends, others=REAL)["velocity"]
    assert velocity["last_within_ceiling"] == pytest.approx(0.9, abs=0.02)
    assert velocity["change_within"] == velocity["change_within_ceiling"]
    assert velocity["change_within"] == pytest.approx(0.9, abs=0.02)


def test_an_end_in_silence_is_outside():
    compared = compare([(part(20, 50), part(0, 50))])
    assert compared["velocity"]["last"] is None
    assert compared["velocity"]["last_within"] == compared["velocity"]["change_within"] == 0
    assert compared["note_density"]["last"] == compared["velocity"]["last_area"] == 0


def test_silence_takes_from_the_area_of_what_it_ends():
    real = [(part(50, 10), last) for last in REAL.parts]
    half = [*real, *[(part(20, 50), part(0, 50))] * len(real)]
    assert compare(half)["velocity"]["last_area"] == pytest.approx(0.5)


def test_times_are_told_in_seconds():
    compared = compare([(part(20, 50), part(40, 50))])
    assert compared["inter_onset"]["first"] == pytest.approx(0.5)
    assert compared["inter_onset"]["last"] == pytest.approx(0.25)


def test_what_has_no_order_does_not_change_and_what_is_alike_in_all_is_left_out():
    pitches = drift.Long(parts=[*REAL.parts[:4], *SCALES.parts], ends=REAL.ends)
    reference = drift.reference(pitches, OTHERS, count=1, seed=0)
    compared = drift.compare([(part(20, 50), part(20, 50))], reference)
    statistics = compared["statistics"]
    assert statistics["pitch_class"].keys() == {"last_area", "last_area_ceiling"}
    assert "change" in statistics["pitch"] and "duration" not in statistics
    areas = [of["last_area"] for of in statistics.values()]
    assert compared["mean_overlapping_area"]["generated"] == pytest.approx(np.mean(areas))


def test_shares_are_averaged_over_the_statistics_that_have_them():
    compared = {
        "velocity": {"last_within": 0.5, "change_within": 1.0},
        "pitch": {"last_within": 0.25, "change_within": 0.5},
        "pitch_class": {"last_area": 0.5},
    }
    assert drift.mean_share(compared, "last_within") == 0.375
    assert drift.mean_share(compared, "change_within") == 0.75
