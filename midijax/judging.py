"""A model judged by what it plays: generated performances against real ones."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from midijax import drift, excerpts, progress, repetition, similarity
from midijax.checkpoint import Loaded
from midijax.config import Config
from midijax.errors import UserError, require
from midijax.excerpts import Excerpt, Named, heard
from midijax.generate import Length, generate
from midijax.memorization import Match, Passages
from midijax.note_line import note_line
from midijax.performance import Performance
from midijax.sampling import SamplingSettings
from midijax.statistics import STATISTICS, Measures, excerpt, mean_histogram, measure

BATCH_SIZE = 32  # performances played at once
PARTS = 4  # of each real performance; their spread, of one each, would hang on chance
QUANTILES = {"p5": 5, "median": 50, "p95": 95, "highest": 100}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is played to be judged.

    Attributes:
      count: how many performances.
      seconds: how much of each is compared, with excerpts of real ones as long.
      drift_seconds: how long they go on, so that their last `seconds` can be compared too, with
        real music and with their first; 0: no longer than that.
      seed: what chance begins with, in the music and in the choice of excerpts.
      settings: how events are chosen.

    Raises:
      UserError: lengths that leave no first and last part.
    """

    count: int
    seconds: float
    drift_seconds: float
    seed: int
    settings: SamplingSettings

    def __post_init__(self) -> None:
        least = 2 * self.seconds
        valid = not self.drift_seconds or self.drift_seconds >= least
        require(valid, "drift_seconds", self.drift_seconds, f"0 or at least {least:g}, two parts")


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Real performances to hold generated ones against.

    Attributes:
      real: an excerpt of each performance of a split that is as long as what is compared.
      from_beginning: whether excerpts are beginnings; see `excerpts.as_trained`.
      measures: of `real`.
      ceilings: how like to those draws from the training split are.
      drift: what the ends of long performances are held against; None where drift is not looked
        at, or too few performances of either split are as long.
      passages: of the whole training split.
    """

    real: list[Excerpt]
    from_beginning: bool
    measures: list[Measures]
    ceilings: list[similarity.Compared]
    drift: drift.Reference | None
    passages: Passages


class Judgement(NamedTuple):
    """What comes of it.

    Attributes:
      figures: as JSON; see `judge`.
      generated: the performances, as far as they were compared.
      real: what they were compared with.
    """

    figures: dict[str, Any]
    generated: list[Performance]
    real: list[Excerpt]


def read(folder: Path, split: str, config: Config, plan: Plan) -> Reference:
    """Reads what a plan needs from a prepared corpus: a split, and its training split.

    Raises UserError for a corpus without one of them, or with too few or too short performances.
    """
    held_out, training = (excerpts.performances(folder, name) for name in (split, "train"))
    real, others = (
        excerpts.as_trained(group, config, plan.seconds, plan.seed)
        for group in (held_out, training)
    )
    for name, group in ((split, real), ("train", others)):
        if len(group) < similarity.FEWEST_REAL:
            raise UserError(
                f"only {len(group)} performances of the {name} split of '{folder}' last "
                f"{plan.seconds:g} seconds, where {similarity.FEWEST_REAL} are needed; "
                "give a shorter --generated_seconds"
            )
    measures, other_measures = (_measure(heard(group), plan) for group in (real, others))
    return Reference(
        real=real,
        from_beginning=config.data.num_streams > 0,
        measures=measures,
        ceilings=similarity.ceilings(other_measures, measures, plan.count, plan.seed),
        drift=_drift_reference(held_out, training, config, plan) if plan.drift_seconds else None,
        passages=Passages(training),
    )


def _drift_reference(
    held_out: list[Named], training: list[Named], config: Config, plan: Plan
) -> drift.Reference | None:
    groups = held_out, training
    long_ones = [
        excerpts.as_trained(group, config, plan.drift_seconds, plan.seed) for group in groups
    ]
    if min(map(len, long_ones)) < similarity.FEWEST_REAL:
        return None
    parts = [
        excerpts.anywhere(group * PARTS, config.vocabulary, plan.seconds, plan.seed)
        for group in groups
    ]
    real, others = (
        drift.Long(_measure(heard(part), plan), _ends(heard(long), plan))
        for part, long in zip(parts, long_ones, strict=True)
    )
    return drift.reference(real, others, plan.count, plan.seed)


def judge(loaded: Loaded, reference: Reference, plan: Plan) -> Judgement:
    """Lets a model play, and compares.

    The figures: how like `statistics` are to real ones, real performances of the training split
    being the ceiling; `mean_overlapping_area`, of their values, to choose settings by;
    `repetition` and `memorization` beside those of real performances; and `drift`, None where it
    is not looked at.
    """
    played = play(loaded, plan, plan.drift_seconds if reference.drift else plan.seconds)
    generated = [excerpt(performance, 0, plan.seconds) for performance in played]
    measures = _measure(generated, plan)
    compared = similarity.compare(measures, reference.measures)
    figures = {
        "plan": dataclasses.asdict(plan),
        "real": {
            "performances": len(reference.real),
            "long_performances": len(reference.drift.real.ends) if reference.drift else 0,
            "from_beginning": reference.from_beginning,
        },
        "mean_overlapping_area": similarity.mean_areas(compared, reference.ceilings),
        "statistics": _statistics(
            similarity.summary(compared, reference.ceilings), measures, reference.measures
        ),
        "repetition": _repetition(generated, heard(reference.real)),
        "drift": drift.compare(_ends(played, plan), reference.drift) if reference.drift else None,
        "memorization": _memorization(generated, reference),
    }
    return Judgement(figures, generated, reference.real)


def play(loaded: Loaded, plan: Plan, seconds: float) -> list[Performance]:
    """The performances of a plan, those of `midijax.sample` with its seed and the ones after it.

    Each seed plays BATCH_SIZE.
    """
    played: list[Performance] = []
    with progress.bar(total=plan.count, desc="playing", unit=" performances", leave=False) as bar:
        for batch, first in enumerate(range(0, plan.count, BATCH_SIZE)):
            tokens = generate(
                loaded.params,
                jax.random.key(plan.seed + batch),
                loaded.config,
                Length(seconds),
                plan.settings,
                min(BATCH_SIZE, plan.count - first),
            )
            played += [loaded.config.vocabulary.decode(tokens[number]) for number in sorted(tokens)]
            bar.update(len(tokens))
    return played


def _measure(group: Sequence[Performance], plan: Plan) -> list[Measures]:
    return [measure(performance, plan.seconds) for performance in group]


def _statistics(
    likenesses: dict[str, Any], measures: list[Measures], real: list[Measures]
) -> dict[str, Any]:
    return {
        name: {
            "title": STATISTICS[name].title,
            **likeness,
            "edges": STATISTICS[name].edges.tolist(),
            "histogram": mean_histogram(measures, name).tolist(),
            "real_histogram": mean_histogram(real, name).tolist(),
        }
        for name, likeness in likenesses.items()
    }


def _repetition(generated: list[Performance], real: list[Performance]) -> dict[str, Any]:
    groups = [
        [note_line(performance)["pitch"] for performance in group] for group in (generated, real)
    ]

    def compare(figure: Callable[[np.ndarray], float]) -> dict[str, Any]:
        return against(*([figure(pitches) for pitches in group] for group in groups))

    shares = {
        f"repeated_{length}_note_share": compare(
            functools.partial(repetition.repeated_share, length=length)
        )
        for length in repetition.NGRAM_NOTES
    }
    loops = compare(lambda pitches: repetition.longest_loop(pitches).num_notes)
    return {**shares, "longest_loop_notes": loops}


def _ends(group: Sequence[Performance], plan: Plan) -> list[drift.Ends]:
    first, last = (
        _measure([excerpt(performance, start, plan.seconds) for performance in group], plan)
        for start in (0, plan.drift_seconds - plan.seconds)
    )
    return list(zip(first, last, strict=True))


def _memorization(generated: list[Performance], reference: Reference) -> dict[str, Any]:
    passages, real = reference.passages, reference.real
    matches = passages.longest_matches([*generated, *heard(real)])
    ours, theirs = matches[: len(generated)], matches[len(generated) :]
    return {
        "training_notes": passages.num_notes,
        "longest_match_notes": against(
            *([match.notes for match in group] for group in (ours, theirs))
        ),
        "longest": _longest(ours, [f"{number}" for number in range(len(ours))]),
        "real_longest": _longest(theirs, [one.name for one in real]),
    }


def _longest(matches: Sequence[Match], names: Sequence[str]) -> dict[str, Any]:
    index = int(np.argmax([match.notes for match in matches]))
    return {"performance": names[index], **dataclasses.asdict(matches[index])}


def against(generated: Sequence[float], real: Sequence[float]) -> dict[str, Any]:
    """Quantiles of both, and how many of the generated are below half, above 19 of 20 real ones."""
    values = np.asarray(generated)
    return {
        "generated": _quantiles(generated),
        "real": _quantiles(real),
        "below_median": float((values < np.percentile(real, 50)).mean()),
        "above_p95": float((values > np.percentile(real, 95)).mean()),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.percentile(values, percent)) for name, percent in QUANTILES.items()}
