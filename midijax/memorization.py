"""What a performance has in common with a corpus, note for note, in whatever key."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from midijax import progress
from midijax.note_line import note_line
from midijax.performance import Performance

FIRST_LENGTH = 8  # what is looked for first, in intervals
_BASE = 0x9E3779B97F4A7C15  # odd, so that modulo 2^64 there is an inverse
_TABLE_BITS = 22
_BREAK = 999  # stands between two performances, and is no interval


@dataclasses.dataclass(frozen=True)
class Match:
    """The longest passage that a performance shares with a corpus.

    Attributes:
      notes: how many; 0 where there is none.
      seconds: where it begins in the performance.
      source: the name of the performance in the corpus.
      source_seconds: where it begins there.
      transposed: how many semitones higher it is here than there.
    """

    notes: int = 0
    seconds: float = 0.0
    source: str = ""
    source_seconds: float = 0.0
    transposed: int = 0


class Passages:
    """The notes of many performances in one line, in which passages are looked up.

    A passage is pitch intervals from note to note of a `note_line`, in which a chord goes from its
    lowest note to its highest, in whatever order they were struck. When notes are struck otherwise,
    how long and how loud they are is not looked at: a passage is found in any key, at any speed.
    Passages of a length are compared by hashes (Rabin & Karp 1987), and what is found is verified.
    """

    def __init__(self, performances: Iterable[tuple[str, Performance]]):
        """Takes names and performances without pedal; keeps 27 bytes a note."""
        lines = [(name, note_line(performance)) for name, performance in performances]
        lines = [(name, line) for name, line in lines if len(line)]
        self._names = [name for name, _ in lines]
        self._pitches = np.concatenate([line["pitch"] for _, line in lines])
        self._onsets = np.concatenate([line["onset"] for _, line in lines])
        ends = np.cumsum([len(line) for _, line in lines])
        self._firsts = ends - np.diff(ends, prepend=0)
        self._intervals = _intervals(self._pitches)
        self._intervals[ends[:-1] - 1] = _BREAK
        self._hashes = _Hashes(self._intervals)

    @property
    def num_notes(self) -> int:
        """How many notes they are in."""
        return len(self._pitches)

    def longest_matches(self, performances: Sequence[Performance]) -> list[Match]:
        """The longest match of each performance without pedal; of several, any."""
        lines = [note_line(performance) for performance in performances]
        searches = [_Search(_intervals(line["pitch"])) for line in lines]
        with progress.bar(
            total=len(lines), desc="looking for known passages", unit=" performances", leave=False
        ) as bar:
            while unfinished := [search for search in searches if not search.is_finished]:
                bar.update(len(lines) - len(unfinished) - bar.n)
                by_length = collections.defaultdict(list)
                for search in unfinished:
                    by_length[search.next_length].append(search)
                for length, group in by_length.items():
                    self._look_up(length, group)
        return [self._match(line, search) for line, search in zip(lines, searches, strict=True)]

    def _look_up(self, length: int, searches: "list[_Search]") -> None:
        """Tells each search where a passage of so many intervals is found, if one is."""
        passages = [search.hashes.of_passages(length) for search in searches]
        known, places = self._places(length, np.unique(np.concatenate(passages)))
        for search, hashes in zip(searches, passages, strict=True):
            _, here, index = np.intersect1d(hashes, known, return_indices=True)
            pairs = zip(here.tolist(), places[index].tolist(), strict=True)
            same = (pair for pair in pairs if self._is_same(search, length, *pair))
            search.narrow(length, next(same, None))

    def _places(self, length: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of the wanted hashes that passages here have, sorted, and a place of each."""
        hashes = self._hashes.of_passages(length)
        shift = np.uint64(64 - _TABLE_BITS)
        is_likely = np.zeros(2**_TABLE_BITS, bool)
        is_likely[wanted >> shift] = True
        places = np.flatnonzero(is_likely[hashes >> shift])
        places = places[np.isin(hashes[places], wanted)]
        known, first = np.unique(hashes[places], return_index=True)
        return known, places[first]

    def _is_same(self, search: "_Search", length: int, here: int, there: int) -> bool:
        passage = search.intervals[here : here + length]
        return np.array_equal(passage, self._intervals[there : there + length])

    def _match(self, line: np.ndarray, search: "_Search") -> Match:
        if search.place is None:
            return Match()
        here, there = search.place
        source = int(np.searchsorted(self._firsts, there, side="right")) - 1
        return Match(
            notes=search.found + 1,
            seconds=round(float(line["onset"][here]), 2),
            source=self._names[source],
            source_seconds=round(float(self._onsets[there]), 2),
            transposed=int(line["pitch"][here]) - int(self._pitches[there]),
        )


class _Search:
    """Closes in on the length of the longest match of one performance, by bisection."""

    def __init__(self, intervals: np.ndarray):
        self.intervals = intervals
        self.hashes = _Hashes(intervals)
        self.found = 0  # a passage of so many intervals is found,
        self.missing = len(intervals) + 1  # none of so many,
        self.place: tuple[int, int] | None = None  # here and in the corpus

    @property
    def is_finished(self) -> bool:
        return self.missing - self.found == 1

    @property
    def next_length(self) -> int:
        """The middle; as long as that is far off, twice what is found."""
        return min(max(FIRST_LENGTH, 2 * self.found), (self.found + self.missing) // 2)

    def narrow(self, length: int, place: tuple[int, int] | None) -> None:
        if place is None:
            self.missing = length
        else:
            self.found, self.place = length, place


class _Hashes:
    """Hashes of all passages of a line of numbers: polynomials modulo 2^64."""

    def __init__(self, numbers: np.ndarray):
        powers = np.multiply.accumulate(np.full(len(numbers), _BASE, np.uint64))
        sums = np.cumsum(numbers.astype(np.uint64) * powers)
        self._sums = np.concatenate((np.zeros(1, np.uint64), sums))
        inverse = np.full(len(numbers), pow(_BASE, -1, 2**64), np.uint64)
        self._inverse_powers = np.multiply.accumulate(inverse)

    def of_passages(self, length: int) -> np.ndarray:
        """The hash of each passage of so many numbers, uint64."""
        sums = self._sums[length:] - self._sums[: max(0, len(self._sums) - length)]
        return sums * self._inverse_powers[: len(sums)]


def _intervals(pitches: np.ndarray) -> np.ndarray:
    return np.diff(pitches.astype(np.int16))
