"""What a training run reads of a prepared corpus: endless batches, and what it is validated on."""

import hashlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from midijax import batches, corpus, workers
from midijax.batches import Batch, Cutter
from midijax.config import Config
from midijax.errors import TryAgain, in_one_line
from midijax.events import EventVocabulary

MAX_WORKERS = 8
SHARED_MEMORY = Path("/dev/shm")  # through which workers hand on what they cut
_MAX_BATCHES = 2**40  # of an endless stream
_BATCHES_AHEAD = 4


class Batches(Iterator[Batch]):
    """An endless stream of `Batch`es, B this process's share.

    Its state is its position: saved with a checkpoint, it goes on where it was, whatever the
    number of workers.
    """

    def __init__(self, cutter: Cutter, config: Config, in_workers: bool):
        """Takes what cuts the batches, and whether a process for each part does, or a thread."""
        self._cutter = cutter
        self._config = config
        self._in_workers = in_workers
        self._next_index = 0
        self._batches: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        if self._batches is None:
            with workers.held_back(signal.SIGINT, signal.SIGTERM):  # by the workers for good
                self._batches = iter(self._dataset(self._next_index))
                batch = self._take(self._batches)
        else:
            batch = self._take(self._batches)
        self._next_index += 1
        return batch

    def _take(self, batches: grain.DatasetIterator) -> Batch:
        try:
            return next(batches)
        except RuntimeError as error:
            if not self._in_workers:
                raise
            raise TryAgain(
                f"a process that cuts batches has ended ({in_one_line(error)}); if the machine ran "
                "out of memory, give it more; the same command goes on from the last checkpoint"
            ) from error

    def get_state(self) -> dict[str, Any]:
        """The position: the number of the batch that comes next."""
        return {"next_index": self._next_index}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position; raises KeyError, TypeError or ValueError if it is none."""
        index = state["next_index"]
        if type(index) is not int:
            raise TypeError(f"{index!r} is no number of a batch")
        if not 0 <= index < _MAX_BATCHES:
            raise ValueError(f"there is no batch {index}")
        self.close()
        self._next_index = index

    def close(self) -> None:
        """Ends the workers; the next batch starts them anew."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None

    def _dataset(self, first: int) -> grain.IterDataset:
        num_parts = self._cutter.num_parts
        numbers = grain.MapDataset.range(first * num_parts, _MAX_BATCHES * num_parts)
        parts = numbers.map(_Parts(self._cutter, self._config))
        if not self._in_workers:
            return parts.to_iter_dataset(
                grain.ReadOptions(num_threads=1, prefetch_buffer_size=_BATCHES_AHEAD)
            )
        flags.FLAGS.mark_as_parsed()  # grain reads flags of its own there
        in_worker = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        by_workers = grain.MultiprocessingOptions(num_parts, per_worker_buffer_size=_BATCHES_AHEAD)
        return (
            parts.to_iter_dataset(in_worker)
            .mp_prefetch(by_workers, worker_init_fn=_begin_worker)
            .batch(num_parts, batch_fn=batches.join)
        )


class _Parts(grain.transforms.Map):
    """Part n % P of batch n // P."""

    def __init__(self, cutter: Cutter, config: Config):
        self._cutter = cutter
        self._drawn: grain.MapDataset | None = None
        if not config.data.num_streams:
            self._drawn = (
                grain.MapDataset.range(len(cutter.random_windows))
                .seed(config.seed)
                .shuffle()
                .repeat(None)
                .batch(config.data.batch_size)
                .random_map(_DrawSeeds())
            )

    def map(self, number: int) -> Batch:
        index, part = divmod(number, self._cutter.num_parts)
        if self._drawn is None:
            return self._cutter.consecutive(index, part)
        windows_B, seeds_B = self._drawn[index]
        return self._cutter.random(windows_B, seeds_B, part)


class _DrawSeeds(grain.transforms.RandomMap):
    """Gives each window of a batch the seed of its own random numbers."""

    def random_map(
        self, windows_B: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        return windows_B, rng.integers(2**63, size=len(windows_B))


def _begin_worker(worker: int, num_workers: int) -> None:
    workers.end_with_parent()


def training_batches(folder: str | Path, config: Config, num_workers: int = 0) -> Batches:
    """Endless batches of the training split; raises UserError if it is missing or damaged.

    Args:
      folder: a prepared corpus.
      config: the run.
      num_workers: processes that cut the batches, each its own rows of all of them; 0: a thread.
        The batches are the same.
    """
    rows = config.data.batch_size // jax.process_count()
    cutter = Cutter(folder, config, num_parts=max(1, min(num_workers, rows)))
    return Batches(cutter, config, in_workers=num_workers > 0)


def useful_workers(config: Config) -> int:
    """How many workers keep an accelerator busy.

    None beside a CPU, whose cores are the network's; nor where too little memory can be shared, as
    in many containers.
    """
    if jax.default_backend() == "cpu" or not SHARED_MEMORY.exists():
        return 0
    bytes_per_event = 4 * (2 + config.controls.num_features)
    batch_bytes = bytes_per_event * config.data.batch_size * config.data.sequence_length
    if shutil.disk_usage(SHARED_MEMORY).free < 2 * _BATCHES_AHEAD * batch_bytes:
        return 0
    return min(MAX_WORKERS, workers.num_cores() - 1)


def validation_sequences(folder: str | Path, vocabulary: EventVocabulary) -> list[np.ndarray]:
    """Every performance of the validation split as events, as played: always the same.

    Empty where the corpus has no such split.
    """
    if "validation" not in corpus.read_manifest(folder).shards:
        return []
    records = corpus.open_split(folder, "validation")
    return [vocabulary.encode(corpus.unpack(record)[1]) for record in records]


def fingerprint(folder: str | Path) -> str:
    """A short name for exactly this content, whatever its folder is called."""
    performances = corpus.read_manifest(folder).performances
    parts = [f"{split}:{e.sha256}" for split, entries in performances.items() for e in entries]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
