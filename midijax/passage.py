"""A performance, or a window of one, as the events a model sees: transposed, stretched, tokenized.

Shapes: T moments, C features of controls.
"""

import functools
from collections.abc import Collection
from typing import Any

import numpy as np

from midijax.config import DataConfig
from midijax.controls import COMPOSER, Ahead, Controls
from midijax.events import TIME_SHIFT, EventVocabulary
from midijax.performance import Performance


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
        self, span: slice, controls: Controls, composer: str, kinds: Collection[str]
    ) -> np.ndarray:
        """What the model is told before each event of a span: controls of `kinds`, (events, C)."""
        moments = self._moments[span]
        told: dict[str, Any] = {**self._ahead.measure(moments, kinds)}
        if COMPOSER in kinds:
            told[COMPOSER] = composer
        return controls.features(**told, num_moments=len(moments))

    @functools.cached_property
    def _ahead(self) -> Ahead:
        return Ahead(self._music)


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
