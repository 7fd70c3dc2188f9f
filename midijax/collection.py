"""Recordings as they come in: each once, and in the end each in its split."""

import hashlib
from collections.abc import Set

from midijax.corpus import SPLITS, RecordingLike
from midijax.parts import Reading


class Collection:
    """What came of the files: recordings, skips and duplicates.

    Attributes:
      skipped: (file, reason), in order.
      duplicates: (file, the earlier file with exactly the same notes and pedal), in order.
    """

    def __init__(self) -> None:
        self.skipped: list[tuple[str, str]] = []
        self.duplicates: list[tuple[str, str]] = []
        self._recordings: dict[str, RecordingLike] = {}  # by content
        self._given_splits: dict[str, str] = {}  # by content

    def add(self, reading: Reading) -> None:
        """Takes in one file. Of the same content under several names the first counts, and so does
        the first split that a CSV gives to any of them.
        """
        if isinstance(reading.result, str):
            self.skipped.append((reading.name, reading.result))
            return
        sha256 = reading.result.entry.sha256
        if reading.split:
            self._given_splits.setdefault(sha256, reading.split)
        if sha256 in self._recordings:
            self.duplicates.append((reading.name, self._recordings[sha256].entry.name))
            return
        self._recordings[sha256] = reading.result

    def by_split(self, seed: int, validation_fraction: float) -> dict[str, list[RecordingLike]]:
        """The recordings of each split, in order: as given by a metadata CSV, or drawn."""
        undecided = [sha256 for sha256 in self._recordings if sha256 not in self._given_splits]
        given = set(self._given_splits.values())
        splits = self._given_splits | draw_splits(undecided, seed, validation_fraction, given)
        recordings: dict[str, list[RecordingLike]] = {split: [] for split in SPLITS}
        for sha256, recording in self._recordings.items():
            recordings[splits[sha256]].append(recording)
        return recordings


def draw_splits(
    hashes: list[str], seed: int, validation_fraction: float, filled: Set[str] = frozenset()
) -> dict[str, str]:
    """Draws train or validation for each content hash, whatever the others are.

    Only so that no split stays empty, unless it is among the `filled` ones, a performance is moved:
    one that the draw put nearest to the other side.
    """
    draws = {sha256: _draw(seed, sha256) for sha256 in hashes}
    splits = {
        sha256: "validation" if draw < validation_fraction else "train"
        for sha256, draw in draws.items()
    }
    present = {*splits.values(), *filled}
    if splits and "train" not in present:
        splits[max(draws, key=draws.__getitem__)] = "train"
    elif len(splits) > 1 and "validation" not in present and validation_fraction > 0:
        splits[min(draws, key=draws.__getitem__)] = "validation"
    return splits


def _draw(seed: int, sha256: str) -> float:
    """A number from 0 to 1 that depends on the seed and the content alone."""
    digest = hashlib.sha256(f"{seed} {sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
