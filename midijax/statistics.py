"""What a performance is like, in figures: density, timing, loudness, polyphony, pitch and pedal.

A performance is measured as it is heard, the pedal folded into the offsets, in excerpts of one
length: longer ones would be steadier, and nothing to compare shorter ones with.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from midijax.performance import Performance

DENSITY_SECONDS = 3.0  # the window of Performance RNN's note density
ENTROPY_SECONDS = 10.0
POLYPHONY_SECONDS = 0.05
SHORTEST_SECONDS = 0.01  # a step; what is shorter counts as this long
HALF_OCTAVES = 0.01 * 2 ** (np.arange(2, 21) / 2)  # seconds, from 20 ms to about 10 s
TIME_EDGES = np.concatenate(([0.005, 0.015], HALF_OCTAVES * 1.25))  # between steps, not on them
PITCH_CLASSES = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Statistic:
    """One thing to measure.

    Attributes:
      title: its name with its unit, for tables and axes.
      values: measures it in a performance without pedal of so many seconds, at every place there
        is one: float64 (values,), perhaps none.
      edges: the bounds of the bins that its values are counted in, (bins + 1,); what lies beyond
        is counted in the first or the last.
      logarithmic: times, whose ratios matter and not their differences.
      categorical: values without order.
    """

    title: str
    values: Callable[[Performance, float], np.ndarray]
    edges: np.ndarray
    logarithmic: bool = False
    categorical: bool = False

    def histogram(self, values: np.ndarray) -> np.ndarray:
        """The share of the values in each bin, (bins,); NaN without values."""
        inside = np.clip(values, self.edges[0], self.edges[-1])
        counts = np.histogram(inside, self.edges)[0]
        return counts / counts.sum() if len(values) else np.full(len(counts), np.nan)

    def feature(self, values: np.ndarray) -> np.ndarray:
        """What stands for the performance where it is compared with others; NaN without values.

        The mean, (1,), of times the mean of their logarithms to base 2; without order, the
        histogram.
        """
        if self.categorical:
            return self.histogram(values)
        values = np.log2(values) if self.logarithmic else values
        return np.array([values.mean() if len(values) else np.nan])

    def natural(self, feature: float) -> float:
        """A feature of one figure in the unit of the values; of times, their geometric mean."""
        return float(np.exp2(feature)) if self.logarithmic else feature


@dataclasses.dataclass(frozen=True, eq=False)
class Measures:
    """An excerpt in figures, by the names of STATISTICS: see `Statistic` for what they hold."""

    features: dict[str, np.ndarray]
    histograms: dict[str, np.ndarray]


def measure(performance: Performance, seconds: float) -> Measures:
    """Every statistic of a performance without pedal, `seconds` long."""
    values = {name: of.values(performance, seconds) for name, of in STATISTICS.items()}
    return Measures(
        {name: of.feature(values[name]) for name, of in STATISTICS.items()},
        {name: of.histogram(values[name]) for name, of in STATISTICS.items()},
    )


def features(measures: Sequence[Measures], name: str) -> np.ndarray:
    """A statistic's features, one row for each performance in which there are any, (rows, D)."""
    rows = np.stack([one.features[name] for one in measures])
    return rows[~np.isnan(rows).any(axis=1)]


def mean_histogram(measures: Sequence[Measures], name: str) -> np.ndarray:
    """A statistic's histogram, each performance counting alike, however many notes it has.

    Empty if no performance has any values.
    """
    rows = np.stack([one.histograms[name] for one in measures])
    rows = rows[~np.isnan(rows).any(axis=1)]
    return rows.sum(axis=0) / max(1, len(rows))


def excerpt(performance: Performance, start: float, seconds: float) -> Performance:
    """The notes struck in `seconds` from `start` on, counted from there; what sounds on is cut.

    The performance is one without pedal.
    """
    notes = performance.notes
    notes = notes[(notes["onset"] >= start) & (notes["onset"] < start + seconds)]
    notes["offset"] = np.minimum(notes["offset"], start + seconds) - start
    notes["onset"] -= start
    return Performance(notes)


def _note_density(performance: Performance, seconds: float) -> np.ndarray:
    """Notes per second in windows of DENSITY_SECONDS, one after the other."""
    windows = max(1, int(seconds / DENSITY_SECONDS))
    edges = np.arange(windows + 1) * DENSITY_SECONDS
    return np.histogram(performance.notes["onset"], edges)[0] / DENSITY_SECONDS


def _inter_onset(performance: Performance, _: float) -> np.ndarray:
    """From each note to the next, in seconds; those of a chord are a step or so apart."""
    return np.maximum(np.diff(performance.notes["onset"]), SHORTEST_SECONDS)


def _duration(performance: Performance, _: float) -> np.ndarray:
    notes = performance.notes
    return np.maximum(notes["offset"] - notes["onset"], SHORTEST_SECONDS)


def _polyphony(performance: Performance, seconds: float) -> np.ndarray:
    """How many notes sound, looked at every POLYPHONY_SECONDS."""
    moments = (np.arange(int(seconds / POLYPHONY_SECONDS)) + 0.5) * POLYPHONY_SECONDS
    begun = np.searchsorted(performance.notes["onset"], moments)
    ended = np.searchsorted(np.sort(performance.notes["offset"]), moments)
    return (begun - ended).astype(float)


def _pitch_class_entropy(performance: Performance, seconds: float) -> np.ndarray:
    """Bits of the pitch-class histogram of each ENTROPY_SECONDS in which there are notes."""
    notes = performance.notes
    windows = max(1, int(seconds / ENTROPY_SECONDS))
    window = (notes["onset"] / ENTROPY_SECONDS).astype(int)
    counts = np.zeros((windows, PITCH_CLASSES))
    inside = window < windows
    np.add.at(counts, (window[inside], notes["pitch"][inside] % PITCH_CLASSES), 1)
    counts = counts[counts.any(axis=1)]
    shares = counts / counts.sum(axis=1, keepdims=True)
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)


def _released_together(performance: Performance, seconds: float) -> np.ndarray:
    """For each note, how many end at the same moment, itself included.

    This is how the pedal shows once it is folded into the offsets: where it lifts, all that it
    held ends at once, be it struck a second ago or ten, whereas fingers end a note or a chord. It
    does not depend on how dense or how slow the music is, as how long notes last does. What
    sounds to the excerpt's end was cut there, and is left out.
    """
    offset = performance.notes["offset"]
    _, moment, counts = np.unique(
        np.round(offset[offset < seconds - SHORTEST_SECONDS / 2], 3),
        return_inverse=True,
        return_counts=True,
    )
    return counts[moment].astype(float)


def _field(name: str, performance: Performance, _: float) -> np.ndarray:
    return performance.notes[name].astype(float)


def _pitch_class(performance: Performance, _: float) -> np.ndarray:
    return (performance.notes["pitch"] % PITCH_CLASSES).astype(float)


STATISTICS = {
    "note_density": Statistic(
        f"notes per second, over {DENSITY_SECONDS:g} s", _note_density, np.arange(0, 41, 2) - 1 / 6
    ),
    "inter_onset": Statistic(
        "seconds from onset to onset", _inter_onset, TIME_EDGES, logarithmic=True
    ),
    "duration": Statistic("seconds a note sounds", _duration, TIME_EDGES, logarithmic=True),
    "velocity": Statistic(
        "velocity", functools.partial(_field, "velocity"), np.arange(17) * 8 + 0.5
    ),
    "polyphony": Statistic("notes sounding at once", _polyphony, np.arange(26) - 0.5),
    "pitch": Statistic("pitch", functools.partial(_field, "pitch"), np.arange(20.5, 111, 3)),
    "pitch_class": Statistic(
        "pitch class", _pitch_class, np.arange(PITCH_CLASSES + 1) - 0.5, categorical=True
    ),
    "pitch_class_entropy": Statistic(
        f"bits of pitch class, over {ENTROPY_SECONDS:g} s",
        _pitch_class_entropy,
        np.linspace(0, 3.6, 10),
    ),
    "pedal": Statistic("notes released together", _released_together, np.arange(26) + 0.5),
}
