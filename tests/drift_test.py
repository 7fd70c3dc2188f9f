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
    parts=[part(20 + 10 * (velocity % 2), velocity) for velocity in range(40, 61)],
    ends=[(part(20, 50), part(20, 50 + change)) for change in range(21)],
)
OTHERS = drift.Reference(
    parts=[part(20, velocity) for velocity in (30, 50, 51, 70)],
    ends=[(part(20, 60), part(20, velocity)) for velocity in (70, 59)],
)


def compare(performances, real=REAL, others=OTHERS):
    return drift.compare(performances, real, others, seed=0)


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


def test_times_are_told_in_seconds():
    compared = compare([(part(20, 50), part(40, 50))])
    assert compared["inter_onset"]["first"] == pytest.approx(0.5)
    assert compared["inter_onset"]["last"] == pytest.approx(0.25)


def test_only_what_has_one_figure_and_differs_is_compared():
    compared = compare(REAL.ends)
    assert "velocity" in compared
    assert (
        not {"pitch_class", "duration", "pitch"} & compared.keys()
    )  # of twelve figures; all alike


def test_figures_are_averaged_over_the_statistics():
    compared = {
        "velocity": {"last_within": 0.5, "change_within": 1.0},
        "pitch": {"last_within": 0.25, "change_within": 0.5},
    }
    assert drift.mean_of(compared, "last_within") == 0.375
    assert drift.mean_of(compared, "change_within") == 0.75
