"""From a prepared corpus to batches of events, cut, transposed, stretched and tokenized on the fly.

Shapes: B batch, T time.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import grain
import jax
import numpy as np

from midijax import corpus
from midijax.config import Config, DataConfig
from midijax.events import PAD, TIME_SHIFT, EventVocabulary
from midijax.performance import Performance

CACHED_PERFORMANCES = 1024  # with the pedal folded in: some 100 kB each


class Windows:
    """Which windows an epoch holds: each performance as many as it fills, their beginnings spread
    evenly over its notes.
    """

    def __init__(self, num_events: Sequence[int], data: DataConfig, seed: int):
        """Takes the number of events of each performance, and the seed that draws among them."""
        chosen = np.arange(len(num_events))
        if data.max_performances:
            chosen = np.random.default_rng(seed).permutation(chosen)[: data.max_performances]
        counts = np.maximum(1, np.asarray(num_events)[chosen] // data.sequence_length)
        self._record = np.repeat(chosen, counts)
        self._count = np.repeat(counts, counts)
        self._place = np.concatenate([np.arange(count) for count in counts])

    def __len__(self) -> int:
        """The number of windows in an epoch."""
        return len(self._record)

    def draw(self, window: int, rng: np.random.Generator) -> tuple[int, float]:
        """A record's number, and a random moment in that window's share of it, from 0 to 1."""
        moment = (self._place[window] + rng.random()) / self._count[window]
        return int(self._record[window]), moment


class CutWindows(grain.transforms.RandomMap):
    """Cuts this process's rows of a batch, each randomly placed, transposed and stretched.

    The random numbers of a row depend on its place in the whole batch, not on the number of
    processes that share it.
    """

    def __init__(
        self,
        records: Sequence[bytes],
        windows: Windows,
        vocabulary: EventVocabulary,
        data: DataConfig,
    ):
        """Takes the records of a split and how to cut them."""
        self._records = records
        self._performance = functools.lru_cache(CACHED_PERFORMANCES)(self._read)
        self._windows = windows
        self._vocabulary = vocabulary
        self._data = data

    def random_map(self, windows_B: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Numbers of windows to tokens_BxT, int32, padded with PAD; B this process's share."""
        seeds_B = rng.integers(2**63, size=len(windows_B))
        share = len(windows_B) // jax.process_count()
        rows = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
        pairs = zip(windows_B[rows], seeds_B[rows], strict=True)
        return np.stack([self._cut(window, np.random.default_rng(seed)) for window, seed in pairs])

    def _cut(self, window: int, rng: np.random.Generator) -> np.ndarray:
        record, moment = self._windows.draw(window, rng)
        tokens_T = cut(self._performance(record), moment, self._vocabulary, self._data, rng)
        missing = self._data.sequence_length - len(tokens_T)
        return np.pad(tokens_T, (0, missing), constant_values=PAD)

    def _read(self, record: int) -> Performance:
        return corpus.unpack(self._records[record])[1].apply_sustain()


def cut(
    performance: Performance,
    moment: float,
    vocabulary: EventVocabulary,
    data: DataConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Cuts a window out of a performance without pedal, randomly transposed and stretched.

    Args:
      performance: at least one note, sustain applied.
      moment: where the window starts, from 0 to 1, counted in notes.
      vocabulary: how it is tokenized.
      data: the window's length and the ranges of transposition and stretch.
      rng: draws the transposition (only among those that keep every pitch) and the stretch.

    Returns:
      Up to `data.sequence_length` event ids, int32; fewer where the performance ends.
    """
    first_note = int(moment * len(performance.notes))
    excerpt, start = _around(performance, first_note, data.sequence_length)
    lowest, highest = excerpt.transposition_range()
    limit = data.max_transpose
    semitones = int(rng.integers(max(lowest, -limit), min(highest, limit), endpoint=True))
    stretch = 1 + rng.uniform(-1, 1) * data.max_stretch
    tokens = vocabulary.encode(excerpt.transpose(semitones).stretch(stretch))
    return _from_moment(tokens, start * stretch, vocabulary)[: data.sequence_length]


def training_batches(folder: str | Path, config: Config) -> grain.DatasetIterator:
    """An endless, shuffled stream of tokens_BxT (int32, padded with PAD), B this process's share.

    The iterator's state is its position: saved with a checkpoint, it goes on where it was.
    """
    records = corpus.open_split(folder, "train")
    entries = corpus.read_manifest(folder).performances["train"]
    windows = Windows([entry.events for entry in entries], config.data, config.seed)
    return iter(
        grain.MapDataset.range(len(windows))
        .seed(config.seed)
        .shuffle()
        .repeat(None)
        .batch(config.data.batch_size)
        .random_map(CutWindows(records, windows, config.vocabulary, config.data))
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=8))
    )


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


def _around(performance: Performance, first: int, length: int) -> tuple[Performance, float]:
    """The notes that `length` events from note `first` on can tell of, and when that note starts.

    Times count from the second in which the excerpt starts. Notes that sound at that moment come
    along, as does the note before it, which sets the velocity.
    """
    notes = performance.notes[: first + length]
    moment = notes["onset"][first]
    index = np.arange(len(notes))
    excerpt = notes[(notes["offset"] > moment) | (index >= first - 1)]
    start = np.floor(excerpt["onset"][0])  # a whole second is a whole step
    excerpt["onset"] -= start
    excerpt["offset"] -= start
    return Performance(excerpt), moment - start


def _from_moment(tokens: np.ndarray, moment: float, vocabulary: EventVocabulary) -> np.ndarray:
    """The events from `moment` (seconds) on."""
    step = vocabulary.seconds_to_steps(np.asarray(moment))
    reached = np.searchsorted(vocabulary.steps(tokens), step)
    is_arrival = reached < len(tokens) and vocabulary.kinds[tokens[reached]] == TIME_SHIFT
    return tokens[reached + is_arrival :]
