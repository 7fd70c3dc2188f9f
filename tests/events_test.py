import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midijax.events import (
    DEFAULT_VELOCITY,
    NOTE_OFF,
    NOTE_ON,
    NOTEBOOK,
    OORE_2018,
    PERFORMANCE_RNN,
    TIME_SHIFT,
    VELOCITY,
    EventVocabulary,
)
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

PRESETS = {"oore_2018": OORE_2018, "performance_rnn": PERFORMANCE_RNN, "notebook": NOTEBOOK}
every_preset = pytest.mark.parametrize("vocabulary", PRESETS.values(), ids=PRESETS.keys())
ROUNDING = 1e-9  # seconds


def play(*notes, pedal=()):
    """A performance from (onset, offset, pitch, velocity) and (time, value)."""
    return Performance(np.array(list(notes), NOTE_DTYPE), np.array(list(pedal), PEDAL_DTYPE))


def off(pitch):
    return 128 + pitch


def shift(steps):
    return 255 + steps


def encoded(vocabulary, *notes, pedal=()):
    return vocabulary.encode(play(*notes, pedal=pedal)).tolist()


def decoded(vocabulary, *tokens):
    """Notes as (onset step, offset step, pitch, velocity)."""
    notes = vocabulary.decode(np.array(tokens, np.int32)).notes
    steps = [np.rint(notes[f] * vocabulary.steps_per_second) for f in ("onset", "offset")]
    return list(
        zip(
            *[c.astype(int).tolist() for c in (*steps, notes["pitch"])],
            notes["velocity"].tolist(),
            strict=True,
        )
    )


# Vocabulary.


@every_preset
def test_sizes(vocabulary):
    sizes = {OORE_2018: 413, PERFORMANCE_RNN: 388, NOTEBOOK: 381}
    assert vocabulary.size == sizes[vocabulary]
    assert len(vocabulary.kinds) == len(vocabulary.values) == vocabulary.size


def test_ids_are_note_on_note_off_time_shift_velocity():
    kinds, values = PERFORMANCE_RNN.kinds, PERFORMANCE_RNN.values
    assert (kinds[0], values[0]) == (NOTE_ON, 0)
    assert (kinds[127], values[127]) == (NOTE_ON, 127)
    assert (kinds[128], values[128]) == (NOTE_OFF, 0)
    assert (kinds[255], values[255]) == (NOTE_OFF, 127)
    assert (kinds[256], values[256]) == (TIME_SHIFT, 1)
    assert (kinds[355], values[355]) == (TIME_SHIFT, 100)
    assert (kinds[356], values[356]) == (VELOCITY, 0)
    assert (kinds[387], values[387]) == (VELOCITY, 31)


def test_velocity_bins_are_four_wide_and_decode_to_their_middle():
    bins = OORE_2018.velocity_to_bin(np.array([1, 4, 5, 64, 124, 125, 127]))
    assert bins.tolist() == [0, 0, 1, 15, 30, 31, 31]
    assert OORE_2018.bin_to_velocity(np.array([0, 15, 31])).tolist() == [2, 62, 126]


@pytest.mark.parametrize("num_bins", [1, 2, 10, 32, 64, 100, 127])
def test_every_velocity_returns_to_its_own_bin(num_bins):
    vocabulary = EventVocabulary(100, 100, num_bins)
    velocities = np.arange(1, 128)
    bins = vocabulary.velocity_to_bin(velocities)
    assert bins.min() == 0 and bins.max() < num_bins
    middles = vocabulary.bin_to_velocity(bins)
    assert middles.min() >= 1 and middles.max() <= 127
    np.testing.assert_array_equal(vocabulary.velocity_to_bin(middles), bins)


# Encoding, by literal lists.

TWO_NOTES = ((0.0, 0.5, 60, 64), (0.5, 1.0, 64, 64))


@pytest.mark.parametrize(
    ("vocabulary", "events"),
    [
        (PERFORMANCE_RNN, [356 + 15, 60, shift(50), off(60), 64, shift(50), off(64)]),
        (OORE_2018, [381 + 15, 60, shift(63), off(60), 64, shift(62), off(64)]),
        (NOTEBOOK, [60, shift(63), off(60), 64, shift(62), off(64)]),
    ],
    ids=["performance_rnn", "oore_2018", "notebook"],
)
def test_two_notes(vocabulary, events):
    assert encoded(vocabulary, *TWO_NOTES) == events


def test_literal_ids():
    assert encoded(PERFORMANCE_RNN, *TWO_NOTES) == [371, 60, 305, 188, 64, 305, 192]
    assert encoded(OORE_2018, *TWO_NOTES) == [396, 60, 318, 188, 64, 317, 192]


def test_tokens_are_one_row_of_int32():
    tokens = OORE_2018.encode(play(*TWO_NOTES))
    assert tokens.dtype == np.int32
    assert tokens.ndim == 1


@every_preset
def test_silence_has_no_events(vocabulary):
    tokens = vocabulary.encode(play())
    assert tokens.shape == (0,)
    assert tokens.dtype == np.int32


def test_halves_round_up_and_times_are_counted_from_the_start():
    # Steps 0.5, 1.5, 2.5 and 3.4999: rounding each gap by itself would lose the halves.
    assert encoded(
        NOTEBOOK, (0.004, 0.012, 60, 64), (0.012, 0.02, 61, 64), (0.02, 0.0279992, 62, 64)
    ) == [shift(1), 60, shift(1), off(60), 61, shift(1), off(61), 62, shift(1), off(62)]
    assert encoded(PERFORMANCE_RNN, (0.00499, 0.02499, 60, 1)) == [356, 60, shift(2), off(60)]
    assert encoded(PERFORMANCE_RNN, (0.125, 0.135, 60, 1))[0] == shift(13)


@pytest.mark.parametrize(
    ("steps", "shifts"),
    [(1, [1]), (99, [99]), (100, [100]), (101, [100, 1]), (200, [100, 100]), (299, [100, 100, 99])],
)
def test_long_gaps_are_whole_shifts_and_a_remainder(steps, shifts):
    shifts = [shift(s) for s in shifts]
    assert encoded(PERFORMANCE_RNN, (0, steps / 100, 60, 1)) == [356, 60, *shifts, off(60)]
    silence_first = encoded(PERFORMANCE_RNN, (steps / 100, steps / 100 + 0.01, 60, 1))
    assert silence_first == [*shifts, 356, 60, shift(1), off(60)]


def test_the_longest_shift_of_the_eight_millisecond_grid_is_a_second():
    assert encoded(NOTEBOOK, (1, 2.008, 60, 1)) == [shift(125), 60, shift(125), shift(1), off(60)]


def test_velocities_come_where_the_bin_changes_only():
    notes = [(t, t + 1, 60 + t, velocity) for t, velocity in enumerate([64, 61, 60, 57, 64])]
    events = encoded(PERFORMANCE_RNN, *notes)
    struck = [event for event in events if event < 128 or event >= 356]
    assert struck == [356 + 15, 60, 61, 356 + 14, 62, 63, 356 + 15, 64]


def test_extreme_pitches_and_velocities():
    events = encoded(PERFORMANCE_RNN, (0, 0.01, 0, 1), (0, 0.01, 127, 127))
    assert events == [356, 0, 387, 127, shift(1), 128, 255]


def test_a_chord_goes_upwards_and_ends_in_the_order_it_began():
    events = encoded(NOTEBOOK, (0, 0.8, 67, 9), (0, 0.8, 60, 9), (0, 0.8, 64, 9))
    assert events == [60, 64, 67, shift(100), off(60), off(64), off(67)]
    late_bass = encoded(NOTEBOOK, (0, 0.8, 67, 9), (0.4, 0.8, 60, 9))
    assert late_bass == [67, shift(50), 60, shift(50), off(67), off(60)]


def test_notes_of_one_step_go_by_their_true_onsets():
    assert encoded(PERFORMANCE_RNN, (0.001, 1, 60, 1), (0.0, 1, 72, 1))[:3] == [356, 72, 60]


def test_an_earlier_note_ends_before_a_later_one_of_that_step_starts():
    # The later note starts before the earlier one is released, though in the same step.
    events = encoded(NOTEBOOK, (0, 0.0802, 72, 1), (0.0798, 0.16, 48, 1))
    assert events == [72, shift(10), off(72), 48, shift(10), off(48)]


def test_a_repeated_key_is_released_before_it_is_struck():
    events = encoded(NOTEBOOK, (0, 0.08, 60, 1), (0.08, 0.16, 60, 1))
    assert events == [60, shift(10), off(60), 60, shift(10), off(60)]


@pytest.mark.parametrize("length", [0, 0.001, 0.0119])
def test_short_notes_last_a_step(length):
    assert encoded(NOTEBOOK, (0, length, 60, 1)) == [60, shift(1), off(60)]


def test_the_pedal_is_folded_into_the_offsets():
    notes = (0, 0.2, 60, 1), (1, 1.5, 64, 1)
    held = encoded(NOTEBOOK, *notes, pedal=[(0.1, 127), (0.8, 0)])
    assert held == [60, shift(100), off(60), shift(25), 64, shift(63), off(64)]


# Decoding, by literal lists.


def test_decode_two_notes():
    assert decoded(PERFORMANCE_RNN, 371, 60, 305, 188, 64, 305, 192) == [
        (0, 50, 60, 62),
        (50, 100, 64, 62),
    ]


def test_decoded_times_are_seconds():
    notes = OORE_2018.decode(np.array([60, shift(125), shift(1), off(60)])).notes
    assert notes["offset"].tolist() == [1.008]


@every_preset
def test_no_events_are_silence(vocabulary):
    performance = vocabulary.decode(np.empty(0, np.int32))
    assert len(performance.notes) == len(performance.pedal) == 0
    assert performance.duration == 0


def test_orphan_note_offs_are_passed_over():
    assert decoded(NOTEBOOK, off(60), shift(3), 60, shift(2), off(61), off(60), off(60)) == [
        (3, 5, 60, DEFAULT_VELOCITY)
    ]


def test_what_never_ends_stops_with_the_last_event():
    assert decoded(NOTEBOOK, 60, shift(5), 64, shift(7)) == [
        (0, 12, 60, DEFAULT_VELOCITY),
        (5, 12, 64, DEFAULT_VELOCITY),
    ]


@pytest.mark.parametrize("tokens", [[60], [60, off(60)], [60, off(60), shift(9)]])
def test_a_note_ended_in_its_own_step_lasts_one_step(tokens):
    assert decoded(NOTEBOOK, *tokens) == [(0, 1, 60, DEFAULT_VELOCITY)]


def test_a_velocity_stays_in_force():
    tokens = [60, 356, 357, 61, 62, 387, 63, shift(1)]
    assert [v for *_, v in decoded(PERFORMANCE_RNN, *tokens)] == [DEFAULT_VELOCITY, 6, 6, 126]


def test_a_vocabulary_without_velocities_plays_at_one():
    assert decoded(NOTEBOOK, 0, 127, shift(1), 128, 255) == [(0, 1, 0, 64), (0, 1, 127, 64)]


@pytest.mark.parametrize("token", [-1, 413, 2**31 - 1])
def test_ids_that_are_no_events_are_passed_over(token):
    assert decoded(OORE_2018, token, 60, token, shift(5), 188) == decoded(
        OORE_2018, 60, shift(5), 188
    )


# Round trips.


@st.composite
def performances(draw, vocabulary):
    """No pedal; the same key is struck again a step later at the soonest, and once released."""
    step = 1 / vocabulary.steps_per_second
    rests = st.floats(0, 4) | st.sampled_from([0, step / 2, step])
    lengths = st.floats(0, 4) | st.sampled_from([0, step / 2, step, 100 * step])
    notes = []
    for pitch in draw(st.lists(st.sampled_from([0, 21, 60, 61, 127]), unique=True)):
        free_at = 0.0
        for rest, length, velocity in draw(
            st.lists(st.tuples(rests, lengths, st.integers(1, 127)), max_size=8)
        ):
            onset = free_at + rest
            notes.append((onset, onset + length, pitch, velocity))
            free_at = onset + max(length, step + ROUNDING)
    return play(*notes)


def assert_kept(vocabulary, ours, truth):
    """Every note is there, its times within half a step (or one step long), its velocity binned."""
    half = 0.5 / vocabulary.steps_per_second + ROUNDING
    by_pitch = [p.notes[np.argsort(p.notes["pitch"], kind="stable")] for p in (ours, truth)]
    ours, truth = by_pitch
    np.testing.assert_array_equal(ours["pitch"], truth["pitch"])
    assert (np.abs(ours["onset"] - truth["onset"]) <= half).all()
    lengths = np.rint((ours["offset"] - ours["onset"]) * vocabulary.steps_per_second)
    assert (lengths >= 1).all()
    assert ((np.abs(ours["offset"] - truth["offset"]) <= half) | (lengths == 1)).all()
    if vocabulary.num_velocity_bins:
        bins = [vocabulary.velocity_to_bin(notes["velocity"]) for notes in by_pitch]
        np.testing.assert_array_equal(*bins)


@every_preset
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_note_survives(vocabulary, data):
    truth = data.draw(performances(vocabulary))
    tokens = vocabulary.encode(truth)
    ours = vocabulary.decode(tokens)
    assert_kept(vocabulary, ours, truth)
    # Notes of one step now go by pitch; from here on nothing changes any more.
    once = vocabulary.encode(ours)
    assert len(ours.notes) == len(vocabulary.decode(once).notes)
    np.testing.assert_array_equal(vocabulary.encode(vocabulary.decode(once)), once)


@every_preset
def test_an_hour_does_not_drift(vocabulary):
    onsets = np.arange(0, 3600, 1 / 3)
    notes = np.zeros(len(onsets), NOTE_DTYPE)
    notes["onset"], notes["offset"] = onsets, onsets + 0.3
    notes["pitch"], notes["velocity"] = 60, 80
    truth = Performance(notes)
    assert_kept(vocabulary, vocabulary.decode(vocabulary.encode(truth)), truth)


def test_overlapping_notes_of_one_pitch_end_first_in_first_out():
    truth = play((0, 2, 60, 64), (1, 3, 60, 64))
    assert_kept(OORE_2018, OORE_2018.decode(OORE_2018.encode(truth)), truth)


def test_a_key_struck_again_within_a_step_keeps_its_second_length():
    notes = decoded(NOTEBOOK, *encoded(NOTEBOOK, (0, 0.001, 60, 64), (0.002, 2, 60, 64)))
    assert [(onset, offset) for onset, offset, *_ in notes] == [(0, 1), (0, 250)]


def any_tokens(vocabulary):
    few_pitches = st.sampled_from([60, 61, off(60), off(61), shift(1), shift(7)])
    return st.lists(few_pitches | st.integers(0, vocabulary.size - 1), max_size=60)


@every_preset
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_sequence_decodes(vocabulary, data):
    tokens = np.array(data.draw(any_tokens(vocabulary)), np.int64)
    notes = vocabulary.decode(tokens).notes
    kinds, values = vocabulary.kinds[tokens], vocabulary.values[tokens]
    assert sorted(notes["pitch"].tolist()) == sorted(values[kinds == NOTE_ON].tolist())
    end = values[kinds == TIME_SHIFT].sum() / vocabulary.steps_per_second
    step = 1 / vocabulary.steps_per_second
    assert (notes["onset"] <= end + ROUNDING).all()
    assert (notes["offset"] >= notes["onset"] + step - ROUNDING).all()
    assert (notes["offset"] <= end + step + ROUNDING).all()
    assert ((notes["velocity"] >= 1) & (notes["velocity"] <= 127)).all()


@every_preset
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_decoding_agrees_with_a_player_that_reads_one_event_at_a_time(vocabulary, data):
    tokens = data.draw(any_tokens(vocabulary))
    step, velocity, sounding, notes = 0, DEFAULT_VELOCITY, {}, []
    for token in tokens:
        kind, value = vocabulary.kinds[token], int(vocabulary.values[token])
        if kind == NOTE_ON:
            notes.append([step, None, value, velocity])
            sounding.setdefault(value, []).append(notes[-1])
        elif kind == NOTE_OFF and sounding.get(value):
            sounding[value].pop(0)[1] = step
        elif kind == TIME_SHIFT:
            step += value
        elif kind == VELOCITY:
            velocity = 4 * value + 2
    expected = [
        (onset, max(onset + 1, step if offset is None else offset), pitch, velocity)
        for onset, offset, pitch, velocity in notes
    ]
    assert sorted(decoded(vocabulary, *tokens)) == sorted(expected)
