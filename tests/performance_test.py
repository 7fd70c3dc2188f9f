import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

DOWN, UP = 127, 0


def play(*notes, pedal=()):
    """A performance from (onset, offset, pitch, velocity) and (time, value)."""
    return Performance(np.array(list(notes), NOTE_DTYPE), np.array(list(pedal), PEDAL_DTYPE))


def sustained(*notes, pedal):
    """What sounds, as (onset, offset, pitch)."""
    result = play(*((*note, 64) for note in notes), pedal=pedal).apply_sustain()
    assert not len(result.pedal)
    return [(onset, offset, pitch) for onset, offset, pitch, _ in result.notes.tolist()]


# The sustain rule, case by case.


def test_released_note_sounds_until_the_pedal_lifts():
    assert sustained((0, 1, 60), pedal=[(0.5, DOWN), (3, UP)]) == [(0, 3, 60)]


def test_held_note_is_not_ended_by_the_pedal():
    assert sustained((0, 4, 60), pedal=[(0.5, DOWN), (3, UP)]) == [(0, 4, 60)]


def test_pedal_pressed_after_the_release_holds_nothing():
    assert sustained((0, 1, 60), pedal=[(1.5, DOWN), (3, UP)]) == [(0, 1, 60)]


@pytest.mark.parametrize(("value", "end"), [(63, 1), (64, 3)])
def test_pedal_is_down_from_64_on(value, end):
    assert sustained((0, 1, 60), pedal=[(0.5, value), (3, UP)]) == [(0, end, 60)]


def test_restrike_under_the_pedal_ends_the_note_before():
    played = (0, 1, 60), (2, 2.5, 60), (2, 2.5, 61)
    pedal = [(0, DOWN), (4, UP)]
    assert sustained(*played, pedal=pedal) == [(0, 2, 60), (2, 4, 60), (2, 4, 61)]


def test_restrike_under_the_pedal_ends_even_a_held_note():
    played = (0, 9, 60), (2, 3, 60)
    assert sustained(*played, pedal=[(1, DOWN), (4, UP)]) == [(0, 2, 60), (2, 4, 60)]


def test_restrike_without_the_pedal_lets_the_note_before_sound():
    played = (0, 9, 60), (2, 3, 60)
    assert sustained(*played, pedal=[(0, DOWN), (1, UP)]) == [(0, 9, 60), (2, 3, 60)]


def test_what_still_sounds_at_the_end_stops_with_the_last_event():
    assert sustained((0, 1, 60), (2, 5, 62), pedal=[(0, DOWN)]) == [(0, 5, 60), (2, 5, 62)]
    assert sustained((0, 1, 60), pedal=[(0, DOWN), (7, DOWN)]) == [(0, 7, 60)]


def test_note_that_a_restrike_leaves_without_length_is_dropped():
    assert sustained((1, 2, 60), (1, 3, 60), pedal=[(0, DOWN), (4, UP)]) == [(1, 4, 60)]


def test_note_struck_and_released_at_once_is_held_by_the_pedal():
    assert sustained((1, 1, 60), pedal=[(0, DOWN), (4, UP)]) == [(1, 4, 60)]
    assert sustained((1, 1, 60), pedal=[(2, DOWN), (4, UP)]) == [(1, 1, 60)]


def test_ties_pedal_down_comes_before_the_release():
    assert sustained((0, 1, 60), pedal=[(1, DOWN), (3, UP)]) == [(0, 3, 60)]


def test_ties_pedal_up_comes_before_the_release():
    assert sustained((0, 1, 60), pedal=[(0, DOWN), (1, UP), (2, DOWN), (3, UP)]) == [(0, 1, 60)]


def test_ties_pedal_down_comes_before_pedal_up():
    for pedal in ([(0, DOWN), (2, DOWN), (2, UP)], [(0, DOWN), (2, UP), (2, DOWN)]):
        assert sustained((0, 1, 60), (2, 3, 62), pedal=pedal) == [(0, 2, 60), (2, 3, 62)]


def test_ties_pedal_changes_come_before_the_strike():
    played = (0, 5, 60), (2, 3, 60)
    assert sustained(*played, pedal=[(2, DOWN), (4, UP)]) == [(0, 2, 60), (2, 4, 60)]
    assert sustained(*played, pedal=[(1, DOWN), (2, UP)]) == [(0, 5, 60), (2, 3, 60)]


def test_no_pedal_no_change():
    original = play((0, 1, 60, 64), (0, 1, 60, 65))
    assert original.apply_sustain().notes.tolist() == original.notes.tolist()


# The sustain rule, against a loop over events.


def test_a_pedal_without_notes_is_silence():
    silent = play(pedal=[(0, DOWN), (1, UP)]).apply_sustain()
    assert len(silent.notes) == len(silent.pedal) == 0


def reference_sustain(performance):
    """The same rule as one would play it: event after event, with a list of what sounds."""
    notes = [dict(zip(NOTE_DTYPE.names, row, strict=True)) for row in performance.notes.tolist()]
    events = [(time, int(value < 64), None) for time, value in performance.pedal.tolist()]
    events += [(note["onset"], 2, note) for note in notes]
    events += [(note["offset"], 3, note) for note in notes]
    sounding, pedal_is_down, time = [], False, 0.0
    for time, kind, note in sorted(events, key=lambda event: event[:2]):
        if kind < 2:
            pedal_is_down = kind == 0
        ending = [
            other
            for other in sounding
            if (kind == 1 and other["offset"] < time)
            or (kind == 2 and pedal_is_down and other["pitch"] == note["pitch"])
            or (kind == 3 and not pedal_is_down and other is note)
        ]
        for other in ending:
            other["end"] = time
        sounding = [other for other in sounding if "end" not in other]
        if kind == 2:
            sounding.append(note)
    ends = [(note["onset"], note.get("end", time), note) for note in notes]
    return sorted(
        (onset, end, note["pitch"], note["velocity"])
        for onset, end, note in ends
        if end > onset or note["offset"] == onset
    )


moments = st.integers(0, 12)  # few, so that events coincide


@st.composite
def played(draw):
    key = st.tuples(moments, moments, st.integers(60, 62), st.integers(1, 127))
    notes = [(min(a, b), max(a, b), *rest) for a, b, *rest in draw(st.lists(key, max_size=12))]
    changes = st.tuples(moments, st.sampled_from([0, 63, 64, 127]))
    return play(*notes, pedal=draw(st.lists(changes, max_size=8)))


@given(played())
@settings(deadline=None)
def test_sustain_equals_a_loop_over_events(performance):
    assert sorted(performance.apply_sustain().notes.tolist()) == reference_sustain(performance)


@given(played())
@settings(deadline=None)
def test_sustain_is_done_once(performance):
    once = performance.apply_sustain()
    assert once.apply_sustain().notes.tolist() == once.notes.tolist()


# Order, length, transposition, tempo.


def test_rows_are_sorted():
    performance = play((2, 3, 60, 1), (1, 3, 62, 2), (1, 2, 61, 3), pedal=[(5, 0), (4, 127)])
    assert performance.notes["velocity"].tolist() == [3, 2, 1]
    assert performance.pedal["value"].tolist() == [127, 0]


def test_duration_is_that_of_the_last_release_or_pedal():
    assert play().duration == 0
    assert play((0, 3, 60, 64), (1, 2, 60, 64)).duration == 3
    assert play((0, 3, 60, 64), pedal=[(4, 0)]).duration == 4


@given(played(), st.integers(-140, 140))
@settings(deadline=None)
def test_transposition_moves_every_pitch_or_is_refused(performance, semitones):
    lowest, highest = performance.transposition_range()
    if not lowest <= semitones <= highest:
        with pytest.raises(ValueError, match=f"transposition {semitones} is outside"):
            performance.transpose(semitones)
        return
    moved = performance.transpose(semitones)
    assert moved.transpose(-semitones).notes.tolist() == performance.notes.tolist()
    assert moved.pedal.tolist() == performance.pedal.tolist()
    pitches = performance.notes["pitch"].astype(int) + semitones
    assert moved.notes["pitch"].tolist() == pitches.tolist()


def test_transposition_reaches_the_ends_of_the_range():
    performance = play((0, 1, 5, 64), (0, 1, 120, 64))
    assert performance.transposition_range() == (-5, 7)
    assert performance.transpose(-5).notes["pitch"].tolist() == [0, 115]
    assert performance.transpose(7).notes["pitch"].tolist() == [12, 127]
    assert play().transposition_range() == (0, 0)


@given(played(), st.sampled_from([0.5, 1.0, 2.0]))
@settings(deadline=None)
def test_stretch_multiplies_every_time(performance, factor):
    stretched = performance.stretch(factor)
    for field in ("onset", "offset"):
        expected = performance.notes[field] * factor
        assert stretched.notes[field].tolist() == expected.tolist()
    assert stretched.pedal["time"].tolist() == (performance.pedal["time"] * factor).tolist()
    for field in ("pitch", "velocity"):
        assert stretched.notes[field].tolist() == performance.notes[field].tolist()
    assert stretched.duration == performance.duration * factor


def test_what_is_made_from_a_performance_leaves_it_unchanged():
    performance = play((0, 1, 60, 64), (0.5, 2, 60, 64), pedal=[(0, DOWN), (3, UP)])
    notes, pedal = performance.notes.copy(), performance.pedal.copy()
    performance.apply_sustain(), performance.transpose(2), performance.stretch(2)
    assert performance.notes.tolist() == notes.tolist()
    assert performance.pedal.tolist() == pedal.tolist()
