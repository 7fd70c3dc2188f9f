"""Which window of which performance each row of a batch sees."""

from collections.abc import Sequence

import numpy as np

from midijax.config import DataConfig


class RandomWindows:
    """Windows cut anywhere: each performance as many as it fills, their beginnings spread evenly
    over its notes.
    """

    def __init__(self, num_events: Sequence[int], data: DataConfig, seed: int):
        """Takes the number of events of each performance, and the seed that draws among them."""
        chosen = _chosen(num_events, data, seed)
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
    """Windows that follow one another: each row of a batch goes on where it ended in the last.

    In each epoch the performances are laid end to end in another order, and the line is cut into
    as many equal parts as there are rows, which all rows then follow side by side. What is left
    over at its end, less than a window for each row, is left out in that epoch.
    """

    def __init__(self, num_events: Sequence[int], data: DataConfig, seed: int):
        """Takes the number of events of each performance, and the seed that orders them."""
        self._chosen = _chosen(num_events, data, seed)
        self._counts = -(-np.asarray(num_events)[self._chosen] // data.sequence_length)
        self._rows = data.batch_size
        self._seed = seed
        self._line: tuple[int, np.ndarray, np.ndarray] = (-1, self._chosen, self._chosen)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch holds; at least one."""
        return max(1, int(self._counts.sum()) // self._rows)

    def batch(self, index: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """What batch `index` holds of which performances.

        Returns:
          The epoch; of each row the record's number, the number of the window in it, and whether
          its state begins anew, since a performance or an epoch does: arrays of shape (B,).
        """
        epoch, step = divmod(index, self.batches_per_epoch)
        record, place = self._lay_out(epoch)
        position = (np.arange(self._rows) * self.batches_per_epoch + step) % len(record)
        begins = (place[position] == 0) | (step == 0)
        return epoch, record[position], place[position], begins

    def _lay_out(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Record and place of each window in the epoch's line."""
        if self._line[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._chosen))
            counts = self._counts[order]
            self._line = (epoch, np.repeat(self._chosen[order], counts), _places(counts))
        return self._line[1:]


def _chosen(num_events: Sequence[int], data: DataConfig, seed: int) -> np.ndarray:
    """The numbers of the performances to train on."""
    numbers = np.arange(len(num_events))
    if data.max_performances:
        numbers = np.random.default_rng(seed).permutation(numbers)[: data.max_performances]
    return numbers


def _places(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each count, one after the other."""
    return np.concatenate([np.arange(count) for count in counts])
