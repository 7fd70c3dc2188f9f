"""How well a model with controls does what it is asked: asked against got, control by control.

A grid of samples asks for densities, loudnesses and pitch classes, each alone and all together.
Densities and loudnesses run over what pianists play; the pitch classes asked for are those of
scales, in all keys. What is got is measured over the whole sample:

    python experiments/checks/obedience.py --num_samples=200 --guidance=1.5

The table has the correlation of asked and got for numbers, and their mean difference; for pitch
classes the mean cosine similarity, beside that with the sample of which another scale was asked.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import trained_model
from absl import flags

from midijax import cli, generate, progress
from midijax.checkpoint import Loaded
from midijax.controls import (
    LOUDNESS,
    NOTES_PER_SECOND,
    NUM_PITCH_CLASSES,
    PITCH_CLASSES,
    Wishes,
    seconds_by_class,
)
from midijax.generate import Length
from midijax.performance import Performance
from midijax.sampling import SamplingSettings

DENSITIES = (2.0, 18.0)  # notes per second, from sparse to dense playing
VELOCITIES = (40.0, 95.0)
SCALES = {
    "major": (5, 0, 3, 0, 4, 3, 0, 5, 0, 3, 0, 2),
    "minor": (5, 0, 3, 4, 0, 3, 0, 5, 3, 0, 2, 1),
    "triad": (5, 0, 0, 0, 4, 0, 0, 4, 0, 0, 0, 0),
    "pentatonic": (4, 0, 3, 0, 3, 0, 0, 4, 0, 3, 0, 0),
}
TOGETHER = "all together"

FLAGS = flags.FlagValues()
trained_model.define_workdir(FLAGS)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 200, "Samples of each grid.", lower_bound=2, flag_values=FLAGS
)
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Length of each.", 1.0, flag_values=FLAGS)
_GUIDANCE = flags.DEFINE_float("guidance", 1.0, "As of midijax.sample.", 0.0, flag_values=FLAGS)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", SamplingSettings().temperature, "As of midijax.sample.", 0.0, flag_values=FLAGS
)
_JSON = flags.DEFINE_string("json", None, "Also write all pairs to this file.", flag_values=FLAGS)


def main(arguments: list[str]) -> None:
    """Plays the grids and prints the table."""
    cli.reject(arguments, FLAGS)
    loaded = trained_model.load(FLAGS)
    kinds = (NOTES_PER_SECOND, LOUDNESS, PITCH_CLASSES)
    values = {kind: _shuffled(_values(kind), seed) for seed, kind in enumerate(kinds)}
    grids = {kind: [{kind: value} for value in values[kind]] for kind in kinds}
    together = zip(*values.values(), strict=True)
    grids[TOGETHER] = [dict(zip(kinds, wish, strict=True)) for wish in together]
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    print("| asked | control | result | mean difference |\n|---|---|--:|--:|")
    for name, grid in grids.items():
        got = list(_play(loaded, name, grid))
        for kind in kinds:
            if kind in grid[0]:
                asked = [wish[kind] for wish in grid]
                pairs[f"{name}: {kind}"] = list(zip(asked, (one[kind] for one in got), strict=True))
                print(f"| {name} | {kind} | {' | '.join(_result(pairs[f'{name}: {kind}']))} |")
    if _JSON.value:
        Path(_JSON.value).write_text(json.dumps(pairs))


def _values(kind: str) -> list[Any]:
    """What a grid asks of one control, as many values as there are samples."""
    if kind == PITCH_CLASSES:
        every = [
            tuple(np.roll(weights, key).tolist())
            for key in range(NUM_PITCH_CLASSES)
            for weights in SCALES.values()
        ]
        return list(itertools.islice(itertools.cycle(every), _NUM_SAMPLES.value))
    bounds = DENSITIES if kind == NOTES_PER_SECOND else VELOCITIES
    return np.linspace(*bounds, _NUM_SAMPLES.value).tolist()


def _shuffled(values: list[Any], seed: int) -> list[Any]:
    order = np.random.default_rng(seed).permutation(len(values))
    return [values[index] for index in order]


def _play(loaded: Loaded, name: str, grid: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What is got of each wish of a grid."""
    for index, wish in enumerate(progress.bar(grid, desc=name, unit="sample", leave=False)):
        played = generate.generate(
            loaded.params,
            jax.random.key(index),
            loaded.config,
            Length(seconds=_SECONDS.value),
            SamplingSettings(temperature=_TEMPERATURE.value),
            wishes=Wishes(
                **{kind: (value,) for kind, value in wish.items()}, guidance=_GUIDANCE.value
            ),
        )
        yield measure(loaded.config.vocabulary.decode(played[0]), _SECONDS.value)


def measure(performance: Performance, seconds: float) -> dict[str, Any]:
    """Density, mean velocity and pitch classes (12 sums of seconds) of a whole performance."""
    notes = performance.notes
    return {
        NOTES_PER_SECOND: len(notes) / seconds,
        LOUDNESS: float(notes["velocity"].mean()) if len(notes) else 0.0,
        PITCH_CLASSES: seconds_by_class(notes).sum(axis=0).tolist(),
    }


def _result(pairs: list[tuple[Any, Any]]) -> tuple[str, str]:
    asked, got = (np.array(values, float) for values in zip(*pairs, strict=True))
    if asked.ndim == 1:
        return (
            f"correlation {np.corrcoef(asked, got)[0, 1]:.3f}",
            f"{np.abs(asked - got).mean():.2f}",
        )
    others = np.roll(got, 1, axis=0)  # what was played when another scale was asked for
    return (
        f"cosine similarity {cosine(asked, got):.3f}",
        f"{cosine(asked, others):.3f} with another's",
    )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean cosine similarity of the rows of two arrays."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(norms, 1e-9)).mean())


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
