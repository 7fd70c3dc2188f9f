import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midijax.memorization import Match, Passages
from midijax.performance import NOTE_DTYPE, Performance


def performance_of(pitches, seconds_apart=0.25):
    notes = np.empty(len(pitches), NOTE_DTYPE)
    notes["onset"] = np.arange(len(pitches)) * seconds_apart
    notes["offset"], notes["pitch"], notes["velocity"] = notes["onset"] + 0.1, pitches, 64
    return Performance(notes)


def random_pitches(seed, count):
    return np.random.default_rng(seed).integers(30, 90, count)


CORPUS = {f"piece {seed}": random_pitches(seed, 500) for seed in range(5)}
PASSAGES = Passages((name, performance_of(pitches)) for name, pitches in CORPUS.items())


@pytest.mark.parametrize("length", [5, 8, 9, 10, 17, 33, 100, 500])
@pytest.mark.parametrize("semitones", [0, -7, 12])
def test_a_planted_passage_is_found_with_its_length_and_place(length, semitones):
    planted = CORPUS["piece 3"][500 - length :] + semitones
    around = 120 * (np.arange(20) % 2)  # leaps that are nowhere in the corpus
    pitches = np.concatenate((around, planted, around))
    (match,) = PASSAGES.longest_matches([performance_of(pitches, seconds_apart=0.1)])
    assert match == Match(length, 2.0, "piece 3", (500 - length) * 0.25, semitones)


def test_a_passage_does_not_go_on_from_one_piece_to_the_next():
    pitches = np.concatenate((CORPUS["piece 0"][-20:], CORPUS["piece 1"][:30]))
    (match,) = PASSAGES.longest_matches([performance_of(pitches)])
    assert (match.notes, match.source) == (30, "piece 1")


def test_each_performance_has_its_own_match():
    lengths = [12, 40, 3, 25]
    group = [performance_of(CORPUS["piece 2"][50 : 50 + length]) for length in lengths]
    matches = PASSAGES.longest_matches([*group, performance_of([]), performance_of([60])])
    assert [match.notes for match in matches] == [*lengths, 0, 0]
    assert matches[-1] == Match()


def longest_common(intervals, others):
    return max(
        length
        for length in range(len(intervals) + 1)
        for first in range(len(intervals) - length + 1)
        if length == 0
        or any(
            (intervals[first : first + length] == other[i : i + length]).all()
            for other in others
            for i in range(len(other) - length + 1)
        )
    )


pieces = st.lists(st.integers(60, 62), min_size=2, max_size=14)


@given(st.lists(pieces, min_size=1, max_size=3), pieces, st.integers(-20, 20))
@settings(deadline=None)
def test_matches_agree_with_a_search_for_each_passage_in_any_key(corpus, pitches, semitones):
    passages = Passages((f"{i}", performance_of(piece)) for i, piece in enumerate(corpus))
    (match,) = passages.longest_matches([performance_of(np.array(pitches) + semitones)])
    expected = longest_common(np.diff(pitches), [np.diff(piece) for piece in corpus])
    assert match.notes == (expected + 1 if expected else 0)
    if expected:
        there = round(match.source_seconds / 0.25)
        here = round(match.seconds / 0.25)
        source = np.array(corpus[int(match.source)][there : there + match.notes])
        played = np.array(pitches[here : here + match.notes]) + semitones
        assert (played - source == match.transposed).all()


def test_a_hash_alone_is_no_match(monkeypatch):
    monkeypatch.setattr(
        "midijax.memorization._Hashes.of_passages",
        lambda self, length: np.zeros(max(0, len(self._sums) - length), np.uint64),
    )
    (match,) = PASSAGES.longest_matches([performance_of([0, 120, 0, 120])])
    assert match == Match()


def test_a_million_notes_are_searched_in_seconds():
    corpus = Passages(
        (f"{seed}", performance_of(random_pitches(seed, 10_000))) for seed in range(100)
    )
    played = [performance_of(random_pitches(1000 + seed, 600)) for seed in range(60)]
    start = time.process_time()
    matches = corpus.longest_matches(played)
    assert time.process_time() - start < 10
    assert all(2 <= match.notes <= 8 for match in matches)
