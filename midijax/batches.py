"""Rows of training batches, cut out of a prepared corpus, transposed and stretched on the fly.

Shapes: B batch, T time, C features of controls.
"""

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from midijax import corpus, progress
from midijax.config import Config
from midijax.controls import KINDS
from midijax.events import PAD, PERFORMANCE_RNN
from midijax.passage import Passage, augment, cut
from midijax.performance import Performance
from midijax.windows import ConsecutiveWindows, Place, RandomWindows

CACHED_PERFORMANCES = 1024  # with the pedal folded in: some 100 kB each
# What random numbers are drawn for; without, (seed, epoch, record) and (..., 0) would be one seed.
_AUGMENTED, _TOLD = 2**32 - 1, 2**32 - 2


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
      inputs_BxT: the event before each target, or START; int32.
      targets_BxT: the events to predict, padded with PAD; int32.
      streams_B: the stream that each row belongs to, int32.
      begins_B: whether a row starts from nothing, and not from the state its stream ended in.
      controls_BxTxC: what each position is told of the music ahead, float32; None without controls.
    """

    inputs_BxT: np.ndarray
    targets_BxT: np.ndarray
    streams_B: np.ndarray
    begins_B: np.ndarray
    controls_BxTxC: np.ndarray | None = None

    @classmethod
    def of(cls, tokens_BxT: np.ndarray, start: int) -> "Batch":
        """Rows that each begin with their first event, before which the input is `start`."""
        streams_B = np.arange(len(tokens_BxT), dtype=np.int32)
        inputs_BxT = np.pad(tokens_BxT[:, :-1], ((0, 0), (1, 0)), constant_values=start)
        begins_B = np.ones(len(tokens_BxT), bool)
        return cls(np.maximum(inputs_BxT, 0), tokens_BxT, streams_B, begins_B)


class Cutter:
    """Turns places in a corpus into batches, or into parts of their rows for others to join.

    The random numbers of a row depend on its place in the whole batch, not on the number of
    processes and parts that share it. A pickled cutter opens the corpus anew where it is used.
    """

    def __init__(self, folder: str | Path, config: Config, num_parts: int = 1):
        """Takes a prepared corpus, and the number of parts for this process's rows of a batch."""
        self._folder = folder
        self._config = config
        self.num_parts = num_parts
        self._first_part = jax.process_index() * num_parts
        self._all_parts = jax.process_count() * num_parts
        self._open()
        self._entries = corpus.read_manifest(folder).performances["train"]
        if config.data.num_streams:
            self.consecutive_windows = ConsecutiveWindows(
                self._count_events(), config.data, config.seed
            )
        else:
            num_events = [entry.events for entry in self._entries]
            self.random_windows = RandomWindows(num_events, config.data, config.seed)

    def __getstate__(self) -> dict[str, Any]:
        opened = ("_records", "_performance", "_passage")
        return {name: value for name, value in vars(self).items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        self._records = corpus.open_split(self._folder, "train")
        self._performance = functools.lru_cache(CACHED_PERFORMANCES)(self._read)
        data = self._config.data
        turns = -(-data.num_streams // data.batch_size)
        streams = turns * -(-data.batch_size // self._all_parts)
        self._passage = functools.lru_cache(streams)(self._encode)  # about 1 MB each

    def _count_events(self) -> list[int]:
        """Of each performance, unstretched; the manifest knows those of one vocabulary."""
        vocabulary = self._config.vocabulary
        if vocabulary == PERFORMANCE_RNN:
            return [entry.events for entry in self._entries]
        every = progress.bar(
            range(len(self._entries)), desc="counting events", unit=" performances", leave=False
        )
        return [len(vocabulary.encode(self._performance(record))) for record in every]

    def random(self, windows_B: np.ndarray, seeds_B: np.ndarray, part: int = 0) -> Batch:
        """Random windows, by their numbers, each with the seed of its random numbers."""
        rows = []
        drawn = list(zip(range(len(windows_B)), windows_B, seeds_B, strict=True))
        for stream, window, seed in self._share(drawn, part):
            rng = np.random.default_rng(seed)
            record, moment = self.random_windows.draw(window, rng)
            vocabulary, data = self._config.vocabulary, self._config.data
            passage = cut(self._performance(record), moment, vocabulary, data, rng)
            rows.append(self._row(passage, Place(stream, record, 0, True), rng))
        return stack(rows)

    def consecutive(self, index: int, part: int = 0) -> Batch:
        """Batch `index` of windows that follow one another."""
        epoch, places = self.consecutive_windows.batch(index)
        rows = []
        for place in self._share(places, part):
            drawn_for = (self._config.seed, _TOLD, epoch, place.record, place.window)
            rng = np.random.default_rng(drawn_for)
            rows.append(self._row(self._passage(epoch, place.record), place, rng))
        return stack(rows)

    def _share(self, values_B: Sequence[Any], part: int) -> Sequence[Any]:
        """The values of the rows of one part of this process's."""
        number = self._first_part + part
        first, end = (len(values_B) * n // self._all_parts for n in (number, number + 1))
        return values_B[first:end]

    def _row(self, passage: Passage, place: Place, rng: np.random.Generator) -> Batch:
        """A window of a passage as a batch of no axis B."""
        config = self._config
        length = config.data.sequence_length
        first = place.window * length
        tokens = passage.tokens[first : first + length]
        missing = length - len(tokens)
        targets_T = np.pad(tokens, (0, missing), constant_values=PAD)
        goes_on = 0 < first <= len(passage.tokens)
        before = passage.tokens[first - 1] if goes_on else config.vocabulary.size
        inputs_T = np.append(before, np.maximum(targets_T[:-1], 0)).astype(np.int32)
        features_TxC = None
        if config.controls.enabled:
            is_kept = rng.random(len(KINDS)) >= config.data.control_dropout
            kinds = list(itertools.compress(KINDS, is_kept))
            span = slice(first, first + length)
            composer = self._entries[place.record].composer
            features = passage.features(span, config.controls, composer, kinds)
            features_TxC = np.pad(features, ((0, missing), (0, 0)))
        stream, begins = np.array(place.stream, np.int32), np.array(place.begins)
        return Batch(inputs_T, targets_T, stream, begins, features_TxC)

    def _encode(self, epoch: int, record: int) -> Passage:
        """A whole performance as it is heard in one epoch."""
        vocabulary = self._config.vocabulary
        rng = np.random.default_rng((self._config.seed, _AUGMENTED, epoch, record))
        music, _ = augment(self._performance(record), self._config.data, rng)
        return Passage(vocabulary.encode(music), 0.0, music, vocabulary)

    def _read(self, record: int) -> Performance:
        return corpus.unpack(self._records[record])[1].apply_sustain()


def stack(parts: Sequence[Batch]) -> Batch:
    """Rows as one batch, or batches as those of one dispatch: along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


def join(parts: Sequence[Batch]) -> Batch:
    """Parts of a batch as the whole."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
