"""What is heard of a primer, and where it ends up."""

import numpy as np
import pytest

from midijax import etudes, primer
from midijax.errors import UserError
from midijax.events import NOTEBOOK, PERFORMANCE_RNN
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

SHIFT = PERFORMANCE_RNN.shift_base - 1
ON, OFF = 0, 128


def notes(*rows):
    return Performance(np.array(list(rows), NOTE_DTYPE))


def encode(performance, seconds, vocabulary=NOTEBOOK):
    return primer.encode(vocabulary, performance, seconds).tolist()


def test_starts_at_the_first_note_and_stops_at_the_cut_without_releasing():
    performance = notes((8.0, 8.4, 60, 64), (8.2, 9.8, 64, 64), (9.0, 9.4, 67, 64))
    shifts = NOTEBOOK.shift_base - 1
    assert encode(performance, 0.6) == [60, shifts + 25, 64, shifts + 25, OFF + 60, shifts + 25]


def test_what_happens_at_the_cut_itself_is_not_heard():
    performance = notes((0.0, 0.4, 60, 64), (0.4, 0.6, 64, 64))
    assert encode(performance, 0.4) == [60, NOTEBOOK.shift_base - 1 + 50]


def test_a_short_recording_is_heard_whole():
    performance = etudes.compose(1)
    first = performance.notes["onset"].min()
    rest = performance.notes.copy()
    rest["onset"] -= first
    rest["offset"] -= first
    pedal = performance.pedal.copy()
    pedal["time"] -= first
    moved = Performance(rest, pedal)
    heard = primer.encode(PERFORMANCE_RNN, performance, 1e4)
    np.testing.assert_array_equal(heard, primer.encode(PERFORMANCE_RNN, moved, 1e4))
    assert PERFORMANCE_RNN.decode(heard).notes["onset"].min() == 0


@pytest.mark.parametrize("seconds", [1e4, 1e17, 1e308])
def test_however_much_is_asked_for_the_whole_is_heard(seconds):
    performance = notes((0.0, 0.1, 60, 64), (8.0, 9.0, 64, 64))
    assert encode(performance, seconds) == NOTEBOOK.encode(performance).tolist()


@pytest.mark.parametrize("seconds", [1e-9, 1e-300])
def test_however_little_is_asked_for_the_first_note_is_heard(seconds):
    assert encode(notes((3.0, 3.1, 60, 64)), seconds) == [60, NOTEBOOK.shift_base]


def test_the_pedal_holds_notes():
    pedal = np.array([(0.0, 127), (0.5, 0)], PEDAL_DTYPE)
    performance = Performance(notes((0.0, 0.1, 60, 64)).notes, pedal)
    shifts = NOTEBOOK.shift_base - 1
    assert encode(performance, 9.0) == [60, shifts + 63, OFF + 60]


def test_a_key_struck_again_ends_its_note():
    performance = notes((0.0, 0.8, 60, 64), (0.4, 0.6, 60, 64), (0.401, 0.6, 60, 64))
    shifts = NOTEBOOK.shift_base - 1
    assert encode(performance, 9.0) == [60, shifts + 50, OFF + 60, 60, shifts + 25, OFF + 60]


def test_join_with_the_primer_plays_both_and_without_it_only_what_is_new():
    heard = np.array([PERFORMANCE_RNN.velocity_base + 20, 60, 62, SHIFT + 50], np.int32)
    new = np.array([OFF + 60, 60, SHIFT + 10, 64, SHIFT + 40, OFF + 62], np.int32)
    loudness = PERFORMANCE_RNN.bin_to_velocity(20)
    both = primer.join(PERFORMANCE_RNN, heard, new, include_primer=True)
    assert both.notes["pitch"].tolist() == [60, 62, 60, 64]
    np.testing.assert_allclose(both.notes["offset"], [0.5, 1.0, 1.0, 1.0])
    alone = primer.join(PERFORMANCE_RNN, heard, new, include_primer=False)
    assert alone.notes["pitch"].tolist() == [60, 64]
    np.testing.assert_allclose(alone.notes["onset"], [0.0, 0.1])
    np.testing.assert_allclose(alone.notes["offset"], [0.5, 0.5])
    assert (alone.notes["velocity"] == loudness).all()


def test_join_without_a_primer_is_decoding():
    tokens = PERFORMANCE_RNN.encode(etudes.compose(2))
    joined = primer.join(PERFORMANCE_RNN, np.empty(0, np.int32), tokens, include_primer=False)
    np.testing.assert_array_equal(joined.notes, PERFORMANCE_RNN.decode(tokens).notes)


def test_a_primer_without_notes_or_length_is_refused():
    with pytest.raises(UserError, match="no notes"):
        encode(notes(), 10.0)
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="primer_seconds"):
            encode(etudes.compose(0), seconds)
