import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midijax import statistics
from midijax.performance import NOTE_DTYPE, Performance
from midijax.statistics import STATISTICS, excerpt, measure

SECONDS = 12.0


def performance_of(*notes):
    return Performance(np.array(list(notes), NOTE_DTYPE))


def values(name, *notes):
    return STATISTICS[name].values(performance_of(*notes), SECONDS).tolist()


CHORD_AND_NOTE = [(0.0, 1.0, 60, 40), (0.0, 1.0, 64, 50), (3.5, 5.5, 72, 60)]


def test_values_of_a_chord_and_a_note():
    assert values("note_density", *CHORD_AND_NOTE) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert values("inter_onset", *CHORD_AND_NOTE) == [statistics.SHORTEST_SECONDS, 3.5]
    assert values("duration", *CHORD_AND_NOTE) == [1, 1, 2]
    assert values("velocity", *CHORD_AND_NOTE) == [40, 50, 60]
    assert values("pitch", *CHORD_AND_NOTE) == [60, 64, 72]
    assert values("pitch_class", *CHORD_AND_NOTE) == [0, 4, 0]
    assert values("pedal", *CHORD_AND_NOTE) == [2, 2, 1]
    polyphony = values("polyphony", *CHORD_AND_NOTE)
    each_second = len(polyphony) / SECONDS
    assert polyphony.count(2) == each_second and polyphony.count(1) == 2 * each_second


def test_entropy_of_pitch_classes_by_windows():
    octaves = [(t, t + 1, pitch, 64) for t, pitch in enumerate((36, 48, 60, 72))]
    assert values("pitch_class_entropy", *octaves) == [0]
    four = [(t, t + 1, pitch, 64) for t, pitch in enumerate((60, 62, 64, 65))]
    assert values("pitch_class_entropy", *four) == pytest.approx([2])
    late = (10.5, 11, 60, 64)  # in a window that is not whole
    assert values("pitch_class_entropy", *four, late) == pytest.approx([2])


def test_a_pedal_shows_in_what_ends_together():
    held = performance_of(*((t, 4.0, 60 + t, 64) for t in range(4)))
    lifted = performance_of(*((t, t + 0.9, 60 + t, 64) for t in range(4)))
    of = STATISTICS["pedal"].values
    assert of(held, SECONDS).tolist() == [4] * 4
    assert of(lifted, SECONDS).tolist() == [1] * 4
    assert of(held, 4.0).tolist() == []  # cut there, not released


def test_times_are_compared_by_their_ratios():
    feature = STATISTICS["duration"].feature(np.array([0.5, 2.0]))
    assert feature.tolist() == [0]
    assert STATISTICS["duration"].natural(feature[0]) == 1
    assert STATISTICS["velocity"].feature(np.array([40.0, 60.0])).tolist() == [50]
    assert STATISTICS["pitch_class"].feature(np.array([0.0, 0, 4, 7])).tolist() == [
        *(0.5, 0, 0, 0, 0.25, 0, 0, 0.25, 0, 0, 0, 0),
    ]


def test_silence_has_density_and_polyphony_and_nothing_else():
    measures = measure(performance_of(), SECONDS)
    measured = {name for name, feature in measures.features.items() if not np.isnan(feature).any()}
    assert measured == {"note_density", "polyphony"}
    played = measure(performance_of(*CHORD_AND_NOTE), SECONDS)
    assert statistics.features([measures, played], "pitch").shape == (1, 1)
    mean = statistics.mean_histogram([measures, played], "pitch")
    np.testing.assert_array_equal(mean, played.histograms["pitch"])


def test_performances_count_alike_however_many_notes_they_have():
    low, high = (
        measure(performance_of(*((t / 9, 12, pitch, 64) for t in range(count))), SECONDS)
        for pitch, count in ((40, 1), (90, 100))
    )
    assert sorted(statistics.mean_histogram([low, high], "pitch"))[-2:] == [0.5, 0.5]


def test_an_excerpt_is_what_is_struck_in_it():
    music = performance_of((0, 9, 60, 1), (2, 3, 61, 2), (4, 9, 62, 3), (6, 7, 63, 4))
    assert excerpt(music, 2, 4).notes.tolist() == [(0, 1, 61, 2), (2, 4, 62, 3)]
    assert music.notes["onset"].tolist() == [0, 2, 4, 6]


notes = st.tuples(
    st.floats(0, SECONDS), st.floats(0, 2 * SECONDS), st.integers(0, 127), st.integers(1, 127)
).map(lambda note: (note[0], note[0] + note[1], note[2], note[3]))


@given(st.lists(notes, max_size=20))
def test_any_performance_is_measured(drawn):
    measures = measure(performance_of(*drawn), SECONDS)
    for name, histogram in measures.histograms.items():
        assert len(histogram) == len(STATISTICS[name].edges) - 1
        total = histogram.sum()
        assert math.isnan(total) or total == pytest.approx(1)
        assert math.isnan(total) == np.isnan(measures.features[name]).any()


@given(st.lists(notes, min_size=2, max_size=20), st.integers(1, 11))
def test_transposition_changes_pitch_alone(drawn, semitones):
    lower = performance_of(*((on, off, pitch // 2, loud) for on, off, pitch, loud in drawn))
    here, there = measure(lower, SECONDS), measure(lower.transpose(semitones), SECONDS)
    for name in STATISTICS:
        if name not in ("pitch", "pitch_class"):
            np.testing.assert_allclose(here.features[name], there.features[name], atol=1e-9)
    moved = np.roll(here.features["pitch_class"], semitones)
    np.testing.assert_allclose(moved, there.features["pitch_class"])
