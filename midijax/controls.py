"""What can be asked of music to come: how dense, in which pitch classes, how loud, by whom.

Shapes: T moments, N notes, C features, K parts of a schedule.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from midijax.errors import UserError, require
from midijax.performance import Performance

NOTES_PER_SECOND, PITCH_CLASSES, LOUDNESS, COMPOSER = KINDS = (
    "notes_per_second",
    "pitch_classes",
    "loudness",
    "composer",
)
DENSITY_SECONDS = LOUDNESS_SECONDS = 3.0  # looked ahead, as Performance RNN does for density
HARMONY_SECONDS = 5.0  # the same for its pitch classes; no note counts for longer
PITCH_CLASS_PRIOR = 0.01
NUM_PITCH_CLASSES = 12
DENSITY_KNOTS = np.array([0, 1, 2, 3, 4, 6, 8, 11, 16, 22, 32], np.float64)  # notes per second
LOUDNESS_KNOTS = np.linspace(20, 116, 9)  # MIDI velocities
MAX_WEIGHT = 1_000_000
MAX_GUIDANCE = 10
ROUNDING = 1e-9
_PITCH_CLASS_SCALE = 4.0  # brings shares near the size of the other features


@dataclasses.dataclass(frozen=True)
class Controls:
    """Which features a model is told of the music to come.

    Each control is some neighbouring features, all 0 where nothing is said of it. A number
    (density, loudness) is two of them, the knots that it lies between, weighted by its nearness.

    Attributes:
      enabled: whether the model is told anything.
      composers: those it can be told, by the names in the corpus.
    """

    enabled: bool = False
    composers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unique = len(set(self.composers)) == len(self.composers)
        require(unique, "controls.composers", self.composers, "different names")

    @functools.cached_property
    def spans(self) -> dict[str, slice]:
        """The features of each control."""
        sizes = (len(DENSITY_KNOTS), NUM_PITCH_CLASSES, len(LOUDNESS_KNOTS), len(self.composers))
        ends = np.cumsum(sizes)
        return {
            kind: slice(int(end - size), int(end))
            for kind, size, end in zip(KINDS, sizes, ends, strict=True)
        }

    @property
    def num_features(self) -> int:
        """C; 0 for a model that is told nothing."""
        return self.spans[COMPOSER].stop if self.enabled else 0

    def features(
        self,
        notes_per_second: np.ndarray | None = None,
        pitch_classes: np.ndarray | None = None,
        loudness: np.ndarray | None = None,
        composer: str | None = None,
        num_moments: int = 1,
    ) -> np.ndarray:
        """Controls as a model sees them, float32 (T, C), T = num_moments; NaN or None says nothing.

        Args:
          notes_per_second: (T,).
          pitch_classes: shares or weights of C, C sharp, ... B, (T, 12).
          loudness: mean MIDI velocity, (T,).
          composer: one of `composers`; another says nothing.
          num_moments: T.
        """
        features_TxC = np.zeros((num_moments, self.num_features), np.float32)
        if notes_per_second is not None:
            features_TxC[:, self.spans[NOTES_PER_SECOND]] = _between(
                notes_per_second, DENSITY_KNOTS
            )
        if pitch_classes is not None:
            shares = pitch_classes / pitch_classes.sum(axis=1, keepdims=True)
            features_TxC[:, self.spans[PITCH_CLASSES]] = _PITCH_CLASS_SCALE * np.nan_to_num(shares)
        if loudness is not None:
            features_TxC[:, self.spans[LOUDNESS]] = _between(loudness, LOUDNESS_KNOTS)
        if composer in self.composers:
            features_TxC[:, self.spans[COMPOSER].start + self.composers.index(composer)] = 1
        return features_TxC


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What is asked of a performance: of each control none, one or several values.

    Several follow one another, each for an equal part of the new music.

    Attributes:
      notes_per_second: notes struck in a second, from 0 to 32.
      pitch_classes: how much of each of C, C sharp, ... B there is, twelve weights.
      loudness: the mean MIDI velocity, from 1 to 127.
      composer: names that the model knows, or words of them.
      guidance: how strongly the wishes are followed: 1 as learned, more exaggerates them
        (classifier-free guidance, Ho & Salimans 2022), 0 not at all.

    Raises:
      UserError: a value out of its range.
    """

    notes_per_second: tuple[float, ...] = ()
    pitch_classes: tuple[tuple[float, ...], ...] = ()
    loudness: tuple[float, ...] = ()
    composer: tuple[str, ...] = ()
    guidance: float = 1.0

    def __post_init__(self) -> None:
        for density in self.notes_per_second:
            most = DENSITY_KNOTS[-1]
            require(0 <= density <= most, NOTES_PER_SECOND, density, f"from 0 to {most:g}")
        for velocity in self.loudness:
            require(1 <= velocity <= 127, LOUDNESS, velocity, "a MIDI velocity, from 1 to 127")
        for weights in self.pitch_classes:
            is_histogram = (
                len(weights) == NUM_PITCH_CLASSES
                and all(0 <= weight <= MAX_WEIGHT for weight in weights)
                and any(weights)
            )
            allowed = f"{NUM_PITCH_CLASSES} weights from 0 to {MAX_WEIGHT}, not all of them 0"
            require(is_histogram, PITCH_CLASSES, ",".join(f"{w:g}" for w in weights), allowed)
        in_range = 0 <= self.guidance <= MAX_GUIDANCE
        require(in_range, "guidance", self.guidance, f"from 0 to {MAX_GUIDANCE}")

    @property
    def asked(self) -> dict[str, tuple]:
        """The values of the controls that something is asked of."""
        return {kind: values for kind in KINDS if (values := getattr(self, kind))}

    @property
    def is_schedule(self) -> bool:
        """Whether something is to change on the way."""
        return any(len(values) > 1 for values in self.asked.values())


def schedule(controls: Controls, wishes: Wishes) -> tuple[np.ndarray, np.ndarray]:
    """Wishes as parts of the music in which all stay the same.

    Returns:
      Where each part begins, as a share of the music's length, ascending from 0, (K,); and the
      features that it is told, (K, C).

    Raises:
      UserError: the model knows no controls, or not that composer.
    """
    asked = wishes.asked
    if asked and not controls.enabled:
        raise UserError(
            f"the model was trained without controls: leave out --{next(iter(asked))}, or train "
            "one with --config.controls.enabled=true"
        )
    if wishes.composer:
        asked[COMPOSER] = tuple(_known_as(name, controls.composers) for name in wishes.composer)
    counts = {len(values) for values in asked.values()}
    begins_K = sorted({0.0} | {part / count for count in counts for part in range(count)})
    rows = [
        controls.features(**{kind: _at(kind, values, begin) for kind, values in asked.items()})
        for begin in begins_K
    ]
    return np.array(begins_K), np.concatenate(rows)


def _known_as(name: str, composers: Collection[str]) -> str:
    """The composer that is meant: by the whole name or words of it, whatever case and accents."""
    if name in composers:
        return name
    words = _words(name)
    meant = [known for known in composers if words and words <= _words(known)]
    allowed = ", ".join(meant or composers) or "none, for the model knows no composer"
    require(len(meant) == 1, COMPOSER, name, f"one the model knows: {allowed}")
    return meant[0]


def _words(name: str) -> set[str]:
    letters = (c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return set("".join(letters).casefold().split())


def _at(kind: str, values: Sequence[Any], begin: float) -> Any:
    """The value of a wish from `begin` on, a share of the length, in the form `features` takes."""
    value = values[int(begin * len(values) + ROUNDING)]
    return value if kind == COMPOSER else np.array([value])


class Ahead:
    """What a performance holds ahead of any moment in it."""

    def __init__(self, performance: Performance):
        """Takes a performance without pedal."""
        notes = performance.notes
        self._onset_N = notes["onset"]
        self._velocity_sums = _sums(notes["velocity"].astype(np.float64))
        self._class_sums = _sums(seconds_by_class(notes))

    def measure(self, moments_T: np.ndarray, kinds: Collection[str]) -> dict[str, np.ndarray]:
        """What is among `kinds` of the seconds after each moment.

        Density (T,), pitch classes (T, 12) and loudness (T,); the loudness of no notes is NaN.
        """
        measures = {
            NOTES_PER_SECOND: self._density,
            PITCH_CLASSES: self._pitch_classes,
            LOUDNESS: self._loudness,
        }
        return {kind: of(moments_T) for kind, of in measures.items() if kind in kinds}

    def _density(self, moments_T: np.ndarray) -> np.ndarray:
        first, beyond = self._notes_within(moments_T, DENSITY_SECONDS)
        return (beyond - first) / DENSITY_SECONDS

    def _pitch_classes(self, moments_T: np.ndarray) -> np.ndarray:
        first, beyond = self._notes_within(moments_T, HARMONY_SECONDS)
        return self._class_sums[beyond] - self._class_sums[first] + PITCH_CLASS_PRIOR

    def _loudness(self, moments_T: np.ndarray) -> np.ndarray:
        first, beyond = self._notes_within(moments_T, LOUDNESS_SECONDS)
        velocities = self._velocity_sums[beyond] - self._velocity_sums[first]
        counts = beyond - first
        return np.where(counts > 0, velocities / np.maximum(counts, 1), np.nan)

    def _notes_within(self, moments_T: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """The first note after each moment, and the first beyond so many seconds."""
        first = np.searchsorted(self._onset_N, moments_T)
        return first, np.searchsorted(self._onset_N, moments_T + seconds)


def seconds_by_class(notes: np.ndarray) -> np.ndarray:
    """How long each of N notes sounds, in its pitch class, (N, 12); never above HARMONY_SECONDS."""
    by_class_Nx12 = np.zeros((len(notes), NUM_PITCH_CLASSES))
    lasting_N = np.minimum(notes["offset"] - notes["onset"], HARMONY_SECONDS)
    by_class_Nx12[np.arange(len(notes)), notes["pitch"] % NUM_PITCH_CLASSES] = lasting_N
    return by_class_Nx12


def _sums(values_N: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... N values."""
    return np.concatenate((np.zeros_like(values_N[:1]), np.cumsum(values_N, axis=0)))


def _between(values_T: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """How near each value is to the knots that it lies between, (T, knots); NaN: to none."""
    values_Tx1 = np.clip(np.asarray(values_T, np.float64), knots[0], knots[-1])[:, None]
    rise = np.diff(knots, prepend=knots[0] - 1)
    fall = np.diff(knots, append=knots[-1] + 1)
    up, down = 1 + (values_Tx1 - knots) / rise, 1 - (values_Tx1 - knots) / fall
    return np.nan_to_num(np.clip(np.minimum(up, down), 0, 1))
