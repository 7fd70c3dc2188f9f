"""Shows what the measures of likeness see: real performances, spoilt each in one way, are judged.

    python experiments/checks/spoil_music.py --data=runs/data/maestro-v3.0.0

As many performances of the training split as --num_performances are spoilt and compared with those
of the validation split, as generated ones are. A row for each way to spoil has the overlapping area
of the statistic that should see it, by values and by distances (midijax.similarity), and what it
is when nothing is spoilt; the last, of a set that is one performance over and over, has the mean
over all statistics and all performances taken.
"""

from collections.abc import Callable

import numpy as np
import trained_model
from absl import flags

from midijax import cli, excerpts
from midijax.events import PERFORMANCE_RNN
from midijax.performance import Performance
from midijax.report_tables import table
from midijax.similarity import Compared, Comparison, compare
from midijax.statistics import measure

SECONDS = 60.0
STEP = 0.01

FLAGS = flags.FlagValues()
trained_model.define_data(FLAGS, "with a training split")
_NUM_PERFORMANCES = flags.DEFINE_integer(
    "num_performances", 64, "How many are spoilt.", lower_bound=4, flag_values=FLAGS
)


def main(arguments: list[str]) -> None:
    """Prints the table."""
    cli.reject(arguments, FLAGS)
    folder = trained_model.corpus_folder(FLAGS)
    real, others = (
        excerpts.heard(
            excerpts.anywhere(excerpts.performances(folder, split), PERFORMANCE_RNN, SECONDS, 0)
        )
        for split in ("validation", "train")
    )
    measured = [measure(performance, SECONDS) for performance in real]
    chosen = np.random.default_rng(0).permutation(len(others))[: _NUM_PERFORMANCES.value]
    whole = [others[index] for index in chosen]
    unspoilt = compare([measure(performance, SECONDS) for performance in whole], measured)
    rows = []
    for title, (name, spoil) in WAYS.items():
        spoilt = compare([measure(one, SECONDS) for one in spoil(whole)], measured)
        rows.append([title, name.replace("_", " "), *_cells(spoilt[name], unspoilt[name])])
    each = [compare([measure(one, SECONDS)] * len(whole), measured) for one in whole]
    over_and_over = np.mean([_means(compared) for compared in each], axis=0)
    title = "one performance over and over; mean over the performances"
    rows.append([title, "mean of all", *_cells(over_and_over, _means(unspoilt))])
    header = ["spoilt", "statistic", "values", "distances", "values, unspoilt"]
    print(table([*header, "distances, unspoilt"], rows))


def _means(compared: Compared) -> np.ndarray:
    """The likenesses by values and by distances, each averaged over the statistics."""
    return np.mean(list(compared.values()), axis=0)


def _cells(*comparisons: Comparison | np.ndarray) -> list[str]:
    return [f"{area:.2f}" for comparison in comparisons for area, _ in comparison]


def _each(change: Callable[[np.ndarray, np.random.Generator], None]) -> Callable:
    """Spoils each performance by changing its notes in place."""

    def spoil(performances: list[Performance]) -> list[Performance]:
        rng = np.random.default_rng(1)
        notes = [performance.notes.copy() for performance in performances]
        for of_one in notes:
            change(of_one, rng)
        return [Performance(of_one) for of_one in notes]

    return spoil


def _flatten(notes: np.ndarray, _: np.random.Generator) -> None:
    notes["velocity"] = notes["velocity"].mean() if len(notes) else 0


def _lengthen(notes: np.ndarray, _: np.random.Generator) -> None:
    notes["offset"] += notes["offset"] - notes["onset"]


def _part(notes: np.ndarray, rng: np.random.Generator) -> None:
    moved = np.round(notes["offset"] + rng.normal(0, 0.1, len(notes)), 2)
    notes["offset"] = np.maximum(moved, notes["onset"] + STEP)


def _mistune(notes: np.ndarray, rng: np.random.Generator) -> None:
    notes["pitch"] += rng.integers(0, 4, len(notes), dtype=np.uint8)


def _shuffle(notes: np.ndarray, rng: np.random.Generator) -> None:
    notes["pitch"] = rng.permutation(notes["pitch"])


WAYS = {
    "every note of a performance as loud as the next": ("velocity", _each(_flatten)),
    "notes twice as long": ("duration", _each(_lengthen)),
    "releases up to some 0.2 s apart": ("pedal", _each(_part)),
    "pitches of a performance in any order": ("pitch_class_entropy", _each(_shuffle)),
    "each note up to 3 semitones too high": ("pitch_class", _each(_mistune)),
}


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
