"""From a prepared corpus to batches of events, cut, transposed, stretched and tokenized on the fly.

Shapes: B batch, T time, C features of controls.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np

from midijax import corpus, progress
from midijax.config import Config, DataConfig
from midijax.controls import COMPOSER, KINDS, Ahead, Controls
from midijax.events import PAD, PERFORMANCE_RNN, TIME_SHIFT, EventVocabulary
from midijax.performance import Performance
from midijax.windows import ConsecutiveWindows, Place, RandomWindows

CACHED_PERFORMANCES = 1024  # with the pedal folded in: some 100 kB each
# What random numbers are drawn for; without, (seed, epoch, record) and (..., 0) would be one seed.
_AUGMENTED, _TOLD = 2**32 - 1, 2**32 - 2
_MAX_BATCHES = 2**40  # of an endless stream


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


class Passage:
    """Events of one performance, transposed and stretched, and what lies ahead of each."""

    def __init__(
        self, tokens: np.ndarray, start: float, music: Performance, vocabulary: EventVocabulary
    ):
        """Takes events, when in `music` (seconds) the first comes, and the music they tell of."""
        self.tokens = tokens
        steps = np.concatenate(([0], vocabulary.steps(tokens)))[: len(tokens)]
        self._moments = start + steps / vocabulary.steps_per_second
        self._music = music

    def features(
        self, span: slice, controls: Controls, composer: str, kept: Sequence[bool]
    ) -> np.ndarray:
        """What the model is told before each event of a span: the controls `kept`, (events, C)."""
        moments = self._moments[span]
        measured: dict[str, Any] = {**self._ahead.measure(moments), COMPOSER: composer}
        told = {kind: measured[kind] for kind, keep in zip(KINDS, kept, strict=True) if keep}
        return controls.features(**told, num_moments=len(moments))

    @functools.cached_property
    def _ahead(self) -> Ahead:
        return Ahead(self._music)


class Cutter:
    """Turns places in a corpus into batches.

    The random numbers of a row depend on its place in the whole batch, not on the number of
    processes that share it.
    """

    def __init__(self, folder: str | Path, config: Config):
        """Opens the training split of a prepared corpus."""
        self._records = corpus.open_split(folder, "train")
        self._entries = corpus.read_manifest(folder).performances["train"]
        self._config = config
        self._performance = functools.lru_cache(CACHED_PERFORMANCES)(self._read)
        num_passages = -(-config.data.num_streams // jax.process_count())  # about 1 MB each
        self._passage = functools.lru_cache(num_passages)(self._encode)

    @functools.cached_property
    def random_windows(self) -> RandomWindows:
        """Of a run without streams."""
        num_events = [entry.events for entry in self._entries]
        return RandomWindows(num_events, self._config.data, self._config.seed)

    @functools.cached_property
    def consecutive_windows(self) -> ConsecutiveWindows:
        """Of a run with streams."""
        return ConsecutiveWindows(self._count_events(), self._config.data, self._config.seed)

    def _count_events(self) -> list[int]:
        """Of each performance, unstretched; the manifest knows those of one vocabulary."""
        vocabulary = self._config.vocabulary
        if vocabulary == PERFORMANCE_RNN:
            return [entry.events for entry in self._entries]
        every = progress.bar(
            range(len(self._entries)), desc="counting events", unit=" performances", leave=False
        )
        return [len(vocabulary.encode(self._performance(record))) for record in every]

    def random_batch(self, windows_B: np.ndarray, rng: np.random.Generator) -> Batch:
        """Random windows, by their numbers, as a batch: this process's rows of it."""
        seeds_B = rng.integers(2**63, size=len(windows_B))
        rows = []
        drawn = list(zip(range(len(windows_B)), windows_B, seeds_B, strict=True))
        for stream, window, seed in _share(drawn):
            row_rng = np.random.default_rng(seed)
            record, moment = self.random_windows.draw(window, row_rng)
            passage = cut(
                self._performance(record),
                moment,
                self._config.vocabulary,
                self._config.data,
                row_rng,
            )
            rows.append(self._row(passage, Place(stream, record, 0, True), row_rng))
        return stack(rows)

    def consecutive_batch(self, index: int) -> Batch:
        """Batch `index` of windows that follow one another: this process's rows of it."""
        epoch, places = self.consecutive_windows.batch(index)
        rows = []
        for place in _share(places):
            drawn_for = (self._config.seed, _TOLD, epoch, place.record, place.window)
            rng = np.random.default_rng(drawn_for)
            rows.append(self._row(self._passage(epoch, place.record), place, rng))
        return stack(rows)

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
            kept = rng.random(len(KINDS)) >= config.data.control_dropout
            span = slice(first, first + length)
            composer = self._entries[place.record].composer
            features = passage.features(span, config.controls, composer, kept.tolist())
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


class _CutRandomly(grain.transforms.RandomMap):
    """`Cutter.random_batch` as grain wants it."""

    def __init__(self, cutter: Cutter):
        self._cutter = cutter

    def random_map(self, windows_B: np.ndarray, rng: np.random.Generator) -> Batch:
        return self._cutter.random_batch(windows_B, rng)


def augment(
    performance: Performance, data: DataConfig, rng: np.random.Generator
) -> tuple[Performance, float]:
    """Transposes and stretches at random, and tells the stretch.

    The transposition is drawn only among those that keep every pitch.
    """
    lowest, highest = performance.transposition_range()
    limit = data.max_transpose
    semitones = int(rng.integers(max(lowest, -limit), min(highest, limit), endpoint=True))
    stretch = 1 + rng.uniform(-1, 1) * data.max_stretch
    return performance.transpose(semitones).stretch(stretch), stretch


def cut(
    performance: Performance,
    moment: float,
    vocabulary: EventVocabulary,
    data: DataConfig,
    rng: np.random.Generator,
) -> Passage:
    """Cuts a window out of a performance without pedal, randomly transposed and stretched.

    Args:
      performance: at least one note, sustain applied.
      moment: where the window starts, from 0 to 1, counted in notes.
      vocabulary: how it is tokenized.
      data: the window's length and the ranges of transposition and stretch.
      rng: draws the transposition and the stretch.

    Returns:
      Up to `data.sequence_length` events; fewer where the performance ends.
    """
    first_note = int(moment * len(performance.notes))
    excerpt, start = _around(performance, first_note, data.sequence_length)
    music, stretch = augment(excerpt, data, rng)
    start *= stretch
    tokens = _from_moment(vocabulary.encode(music), start, vocabulary)[: data.sequence_length]
    return Passage(tokens, start, music, vocabulary)


def training_batches(folder: str | Path, config: Config) -> grain.DatasetIterator:
    """An endless stream of `Batch`es, B this process's share.

    The iterator's state is its position: saved with a checkpoint, it goes on where it was.
    """
    cutter = Cutter(folder, config)
    if config.data.num_streams:
        batches = grain.MapDataset.range(_MAX_BATCHES).map(cutter.consecutive_batch)
    else:
        batches = (
            grain.MapDataset.range(len(cutter.random_windows))
            .seed(config.seed)
            .shuffle()
            .repeat(None)
            .batch(config.data.batch_size)
            .random_map(_CutRandomly(cutter))
        )
    read_options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    return iter(batches.to_iter_dataset(read_options))


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


def _share(values_B: Sequence[Any]) -> Sequence[Any]:
    """The part of this process."""
    share = len(values_B) // jax.process_count()
    return values_B[jax.process_index() * share : (jax.process_index() + 1) * share]


def stack(parts: Sequence[Batch]) -> Batch:
    """Rows as one batch, or batches as those of one dispatch: along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


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
