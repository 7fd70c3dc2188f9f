"""Which window of which performance each row of a batch sees."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from midijax.config import DataConfig

FEWEST_WINDOWS = 8  # of a stream in an epoch, at whose beginning its state is lost


class Place(NamedTuple):
    """What a row of a batch holds.

    Attributes:
      stream: the number of the stream that it belongs to.
      record: the number of the performance.
      window: the number of the window in it.
      begins: whether the state begins anew, since a performance or an epoch does.
    """

    stream: int
    record: int
    window: int
    begins: bool


class RandomWindows:
    """Windows cut anywhere: each performance as many as it fills, their beginnings spread evenly
    over its notes.
    """

    def __init__(self, num_events: Sequence[int], data: DataConfig, seed: int):
        """Takes the number of events of each performance, and the seed that draws among them."""
        chosen = chosen_performances(len(num_events), data, seed)
        counts = np.maximum(1, np.asarray(num_events)[chosen] // data.sequence_length)
        self._record = np.repeat(chosen, counts)
        self._count = np.repeat(counts, counts)
        self._place = _places(counts)

    def __len__(self) -> int:
        """The number of windows in an epoch."""
        return len(self._record)

    def draw(self, window: int, rng: np.random.Generator) -> tuple[int, float]:
        """A record's number, and a random moment in that window's share of it, from 0 to 1."""
        moment = (self._place[window] + rng.random()) / self._count[window]
        return int(self._record[window]), moment


class ConsecutiveWindows:
    """Windows that follow one another, in streams: each goes on where it ended when last seen.

    In each epoch the performances are laid end to end in another order, and the line is cut into
    as many equal parts as there are streams. Batches take a window of each stream in turn: the
    first of the first B streams, of the next B, ..., and when all have had theirs, the second.
    What is left over at the line's end, less than a window for each stream, is left out in that
    epoch. Of a small corpus there are fewer streams, that none be shorter than
    FEWEST_WINDOWS where it can be.
    """

    def __init__(self, num_events: Sequence[int], data: DataConfig, seed: int):
        """Takes the number of events of each performance, and the seed that orders them."""
        self._chosen = chosen_performances(len(num_events), data, seed)
        self._counts = -(-np.asarray(num_events)[self._chosen] // data.sequence_length)
        self._batch_size = data.batch_size
        most = int(self._counts.sum()) // FEWEST_WINDOWS // self._batch_size * self._batch_size
        self._num_streams = max(self._batch_size, min(data.num_streams, most))
        self._seed = seed
        self._line: tuple[int, np.ndarray, np.ndarray] = (-1, self._chosen, self._chosen)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch holds; at least one."""
        return self._windows_per_stream * (self._num_streams // self._batch_size)

    @property
    def _windows_per_stream(self) -> int:
        return max(1, int(self._counts.sum()) // self._num_streams)

    def batch(self, index: int) -> tuple[int, list[Place]]:
        """The epoch of batch `index`, and what each of its B rows holds."""
        epoch, turn = divmod(index, self.batches_per_epoch)
        step, group = divmod(turn, self._num_streams // self._batch_size)
        records, windows = self._lay_out(epoch)
        places = []
        for stream in range(group * self._batch_size, (group + 1) * self._batch_size):
            position = (stream * self._windows_per_stream + step) % len(records)
            window = int(windows[position])
            places.append(Place(stream, int(records[position]), window, window == 0 or step == 0))
        return epoch, places

    def _lay_out(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each window in the epoch's line: its record, and its number in it."""
        if self._line[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._chosen))
            counts = self._counts[order]
            self._line = (epoch, np.repeat(self._chosen[order], counts), _places(counts))
        return self._line[1:]


def chosen_performances(count: int, data: DataConfig, seed: int) -> np.ndarray:
    """The numbers of the performances to train on, of as many as there are."""
    numbers = np.arange(count)
    if data.max_performances:
        numbers = np.random.default_rng(seed).permutation(numbers)[: data.max_performances]
    return numbers


def _places(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each count, one after the other."""
    return np.concatenate([np.arange(count) for count in counts])
