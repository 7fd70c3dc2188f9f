import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midijax.note_line import note_line
from midijax.performance import NOTE_DTYPE, Performance
from midijax.repetition import Loop, longest_loop, repeated_share

lines = st.lists(st.integers(60, 63), max_size=40).map(lambda line: np.array(line, np.uint8))


def line(*pitches):
    return np.array(pitches, np.uint8)


def performance_of(*notes):
    return Performance(np.array([(on, on + 1, pitch, 64) for on, pitch in notes], NOTE_DTYPE))


def test_the_share_of_passages_played_before():
    assert repeated_share(line(1, 2, 3, 1, 2, 3), 3) == pytest.approx(1 / 4)
    assert repeated_share(line(1, 2, 3, 4), 2) == 0
    assert repeated_share(line(7, 7, 7, 7, 7), 2) == pytest.approx(3 / 4)
    assert repeated_share(line(1, 2), 3) == repeated_share(line(), 4) == 0


@given(lines, st.integers(1, 6))
def test_shares_agree_with_a_search_for_each_passage(pitches, length):
    passages = [tuple(pitches[i : i + length]) for i in range(len(pitches) - length + 1)]
    again = sum(passage in passages[:index] for index, passage in enumerate(passages))
    assert repeated_share(pitches, length) == pytest.approx(again / max(len(passages), 1))


def test_a_planted_loop_is_found():
    rng = np.random.default_rng(0)
    before, after = rng.permutation(np.arange(10, 60))[:40], rng.permutation(np.arange(70, 120))
    planted = np.tile(line(1, 2, 3, 2, 5), 4)
    assert longest_loop(np.concatenate((before, planted, after))) == Loop(40, 20, 5)


def test_loops_by_hand():
    assert longest_loop(line(1, 2, 3, 4)) == longest_loop(line()) == Loop(0, 0, 0)
    assert longest_loop(line(9, 1, 1, 8)) == Loop(1, 2, 1)
    assert longest_loop(line(0, 1, 2, 1, 2, 1, 9)) == Loop(1, 5, 2)  # a round begun counts
    assert longest_loop(line(1, 2, 3, 9, 1, 2, 3)) == Loop(0, 0, 0)  # not at once


@given(lines)
def test_a_loop_is_one_and_no_longer_one_is_there(pitches):
    def is_loop(first, length, period):
        passage = pitches[first : first + length]
        return length >= 2 * period and (passage[period:] == passage[:-period]).all()

    first, length, period = longest_loop(pitches)
    assert length == 0 or is_loop(first, length, period)
    longer = range(length + 1, len(pitches) + 1)
    assert not any(
        is_loop(first, more, period)
        for more in longer
        for first in range(len(pitches) - more + 1)
        for period in range(1, more // 2 + 1)
    )


def test_a_chord_is_in_order_however_it_is_struck():
    up = performance_of((0, 60), (0.01, 64), (0.03, 67), (0.5, 72))
    down = performance_of((0, 67), (0.02, 64), (0.03, 60), (0.6, 72))
    apart = performance_of((0, 67), (0.04, 64), (0.08, 60), (0.6, 72))
    assert note_line(up)["pitch"].tolist() == note_line(down)["pitch"].tolist() == [60, 64, 67, 72]
    assert note_line(apart)["pitch"].tolist() == [67, 64, 60, 72]
    assert note_line(performance_of()).tolist() == []
