"""How much a performance repeats itself."""

from typing import NamedTuple

import numpy as np

NGRAM_NOTES = (4, 8, 16)


class Loop(NamedTuple):
    """A passage that is played again at once.

    Attributes:
      first_note: where it begins, counted in notes of the line.
      num_notes: how long it is, all its rounds together; 0 where there is none.
      period: the notes of one round.
    """

    first_note: int
    num_notes: int
    period: int


def repeated_share(pitches: np.ndarray, length: int) -> float:
    """The share of passages of `length` notes that have been played before, from 0 to 1.

    Args:
      pitches: of a note line, uint8 (notes,).
      length: of a passage, which may begin at any note; 0 is the share of fewer notes than that.
    """
    if len(pitches) < length:
        return 0.0
    passages = np.lib.stride_tricks.sliding_window_view(pitches, length)
    return 1 - len(np.unique(passages, axis=0)) / len(passages)


def longest_loop(pitches: np.ndarray) -> Loop:
    """The longest stretch that is one passage played twice or more, without a note between.

    A trill is a loop of two notes, a repeated note a loop of one; a round begun counts as far as
    it goes. Of several as long, that of the shortest period.

    Args:
      pitches: of a note line, uint8 (notes,).
    """
    longest = Loop(0, 0, 0)
    for period in range(1, len(pitches) // 2 + 1):
        first, run = _longest_run(pitches[period:] == pitches[:-period])
        if run >= period and run + period > longest.num_notes:
            longest = Loop(first, run + period, period)
    return longest


def _longest_run(is_same: np.ndarray) -> tuple[int, int]:
    """Where the longest run of True begins, and how long it is."""
    bounds = np.flatnonzero(np.diff(is_same, prepend=False, append=False))
    begins, ends = bounds[::2], bounds[1::2]
    if not len(begins):
        return 0, 0
    index = int(np.argmax(ends - begins))
    return int(begins[index]), int(ends[index] - begins[index])
