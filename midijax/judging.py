"""A model judged by what it plays: generated performances against real ones."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from midijax import corpus, drift, progress, repetition, similarity
from midijax.checkpoint import Loaded
from midijax.config import Config
from midijax.errors import UserError, require
from midijax.generate import Length, generate
from midijax.memorization import Match, Passages
from midijax.note_line import note_line
from midijax.performance import Performance
from midijax.sampling import SamplingSettings
from midijax.statistics import STATISTICS, Measures, excerpt, mean_histogram, measure

BATCH_SIZE = 32  # performances played at once
QUANTILES = {"p5": 5, "median": 50, "p95": 95, "highest": 100}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is played to be judged.

    Attributes:
      count: how many performances.
      seconds: how much of each is compared, with excerpts of real ones as long.
      drift_seconds: how long they go on, so that their last `seconds` can be held against their
        first; 0: no longer than that.
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


class Excerpt(NamedTuple):
    """A part of a real performance, as a model could have played it: without pedal, in steps."""

    name: str
    start: int
    performance: Performance


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Real performances to hold generated ones against.

    Attributes:
      real: an excerpt of each performance of a split that is as long as what is compared.
      long: longer ones, for drift; empty where it is not looked at, or too few are as long.
      from_beginning: whether excerpts are beginnings; see `excerpts`.
      measures: of `real`.
      ceilings: how like to those draws from the training split are.
      passages: of the whole training split.
    """

    real: list[Excerpt]
    long: list[Excerpt]
    from_beginning: bool
    measures: list[Measures]
    ceilings: list[similarity.Compared]
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
    held_out, training = performances(folder, split), performances(folder, "train")
    real = excerpts(held_out, config, plan.seconds, plan.seed)
    others = excerpts(training, config, plan.seconds, plan.seed)
    for name, group in ((split, real), ("train", others)):
        if len(group) < similarity.FEWEST_REAL:
            raise UserError(
                f"only {len(group)} performances of the {name} split of '{folder}' last "
                f"{plan.seconds:g} seconds, where {similarity.FEWEST_REAL} are needed; "
                "give a shorter --generated_seconds"
            )
    drifting = plan.drift_seconds > 0
    long = excerpts(held_out, config, plan.drift_seconds, plan.seed) if drifting else []
    measures, other_measures = (_measure(_heard(group), plan) for group in (real, others))
    return Reference(
        real=real,
        long=long if len(long) >= similarity.FEWEST_REAL else [],
        from_beginning=config.data.num_streams > 0,
        measures=measures,
        ceilings=similarity.ceilings(other_measures, measures, plan.count, plan.seed),
        passages=Passages(training),
    )


def judge(loaded: Loaded, reference: Reference, plan: Plan) -> Judgement:
    """Lets a model play, and compares.

    The figures: how like `statistics` are to real ones, real performances of the training split
    being the ceiling; `mean_overlapping_area`, of their values, to choose settings by;
    `repetition` and `memorization` beside those of real performances; and `drift`, None where it
    is not looked at.
    """
    played = play(loaded, plan, plan.drift_seconds if reference.long else plan.seconds)
    generated = [excerpt(performance, 0, plan.seconds) for performance in played]
    measures = _measure(generated, plan)
    compared = similarity.compare(measures, reference.measures)
    figures = {
        "plan": dataclasses.asdict(plan),
        "real": {
            "performances": len(reference.real),
            "long_performances": len(reference.long),
            "from_beginning": reference.from_beginning,
        },
        "mean_overlapping_area": _mean_area(compared, reference.ceilings),
        "statistics": _statistics(
            similarity.summary(compared, reference.ceilings), measures, reference.measures
        ),
        "repetition": _repetition(generated, _heard(reference.real)),
        "drift": _drift(played, _heard(reference.long), plan) if reference.long else None,
        "memorization": _memorization(generated, reference),
    }
    return Judgement(figures, generated, reference.real)


def performances(folder: Path, split: str) -> list[tuple[str, Performance]]:
    """Names and performances of a split, the pedal folded in."""
    records = corpus.open_split(folder, split)
    bar = progress.bar(
        records, desc=f"reading the {split} split", unit=" performances", leave=False
    )
    return [(name, music.apply_sustain()) for name, music in map(corpus.unpack, bar)]


def excerpts(
    performances: Sequence[tuple[str, Performance]], config: Config, seconds: float, seed: int
) -> list[Excerpt]:
    """From each performance that is long enough an excerpt like what the model plays.

    It goes through the vocabulary, and is as coarse in time and loudness. It is the performance's
    beginning if the model was trained on whole performances (in streams), which it begins like
    them; else it begins at any second, drawn by chance, as the model's windows did.
    """
    vocabulary, rng = config.vocabulary, np.random.default_rng(seed)
    chosen = []
    for name, performance in performances:
        if performance.duration >= seconds:
            drawn = int(rng.integers(0, int(performance.duration - seconds), endpoint=True))
            start = 0 if config.data.num_streams else drawn
            events = vocabulary.encode(excerpt(performance, start, seconds))
            chosen.append(Excerpt(name, start, vocabulary.decode(events)))
    return chosen


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


def _heard(group: Sequence[Excerpt]) -> list[Performance]:
    return [one.performance for one in group]


def _measure(group: Sequence[Performance], plan: Plan) -> list[Measures]:
    return [measure(performance, plan.seconds) for performance in group]


def _mean_area(
    compared: similarity.Compared, ceilings: Sequence[similarity.Compared]
) -> dict[str, float]:
    """Over all statistics, and what draws of real performances have on average, and deviate."""
    areas = [similarity.mean_area(ceiling) for ceiling in ceilings]
    return {
        "generated": similarity.mean_area(compared),
        "ceiling": float(np.mean(areas)),
        "ceiling_deviation": float(np.std(areas, ddof=1)),
    }


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


def _drift(played: list[Performance], real: list[Performance], plan: Plan) -> dict[str, Any]:
    return drift.compare(*([_ends(music, plan) for music in group] for group in (played, real)))


def _ends(performance: Performance, plan: Plan) -> drift.Ends:
    first, last = (
        measure(excerpt(performance, start, plan.seconds), plan.seconds)
        for start in (0, plan.drift_seconds - plan.seconds)
    )
    return first, last


def _memorization(generated: list[Performance], reference: Reference) -> dict[str, Any]:
    passages, real = reference.passages, reference.real
    matches = passages.longest_matches([*generated, *_heard(real)])
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
