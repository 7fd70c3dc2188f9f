"""A model judged by what it plays: generated performances against real ones."""

import dataclasses
from collections.abc import Sequence
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
from midijax.statistics import STATISTICS, excerpt, mean_histogram, measure

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


def judge(loaded: Loaded, folder: Path, split: str, plan: Plan) -> Judgement:
    """Lets a model play, and compares with a split of a prepared corpus and its training split.

    The figures: how like `statistics` are to those of the split, the training split's performances
    being the ceiling; `repetition` and `memorization` beside the split's own; and `drift`, None
    where it is not measured.

    Raises UserError for a corpus without training split, with too few or too short performances,
    and for a model that plays next to nothing.
    """
    held_out, training = performances(folder, split), performances(folder, "train")
    real = excerpts(held_out, loaded.config, plan.seconds, plan.seed)
    require_enough(real, plan.seconds, split)
    others = excerpts(training, loaded.config, plan.seconds, plan.seed)
    require_enough(others, plan.seconds, "train")
    has_drift, long = False, []
    if plan.drift_seconds:
        long = excerpts(held_out, loaded.config, plan.drift_seconds, plan.seed)
        has_drift = len(long) >= similarity.FEWEST_REAL
    played = play(loaded, plan, plan.drift_seconds if has_drift else plan.seconds)
    generated = [excerpt(performance, 0, plan.seconds) for performance in played]
    heard = [one.performance for one in real]
    return Judgement(
        {
            "plan": dataclasses.asdict(plan),
            "real": {
                "excerpts": len(real),
                "from_beginning": loaded.config.data.carry_state,
                "ceiling_excerpts": len(others),
                "long": len(long),
            },
            "statistics": _statistics(generated, heard, [one.performance for one in others], plan),
            "repetition": _repetition(generated, heard),
            "drift": _drift(played, [one.performance for one in long], plan) if has_drift else None,
            "memorization": _memorization(generated, real, Passages(training)),
        },
        generated,
        real,
    )


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
    beginning if the model was trained on whole performances (`carry_state`), which it begins like
    them; else it begins at any second, drawn by chance, as the model's windows did.
    """
    vocabulary, rng = config.vocabulary, np.random.default_rng(seed)
    chosen = []
    for name, performance in performances:
        if performance.duration >= seconds:
            drawn = int(rng.integers(0, int(performance.duration - seconds), endpoint=True))
            start = 0 if config.data.carry_state else drawn
            events = vocabulary.encode(excerpt(performance, start, seconds))
            chosen.append(Excerpt(name, start, vocabulary.decode(events)))
    return chosen


def require_enough(real: Sequence[Excerpt], seconds: float, split: str) -> None:
    """Raises UserError if there is too little to compare with."""
    if len(real) < similarity.FEWEST_REAL:
        raise UserError(
            f"{len(real)} performances of the {split} split last {seconds:g} seconds, and "
            f"{similarity.FEWEST_REAL} are needed; give a shorter --generated_seconds"
        )


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


def _statistics(
    generated: list[Performance], real: list[Performance], others: list[Performance], plan: Plan
) -> dict[str, Any]:
    measured, measured_real, measured_others = (
        [measure(performance, plan.seconds) for performance in group]
        for group in (generated, real, others)
    )
    compared = similarity.compare(measured, measured_real)
    ceilings = similarity.ceiling(measured_others, measured_real, plan.count, plan.seed)
    return {
        name: {
            "title": STATISTICS[name].title,
            **likeness,
            "edges": STATISTICS[name].edges.tolist(),
            "histogram": mean_histogram(measured, name).tolist(),
            "real_histogram": mean_histogram(measured_real, name).tolist(),
        }
        for name, likeness in similarity.summary(compared, ceilings).items()
    }


def _repetition(generated: list[Performance], real: list[Performance]) -> dict[str, Any]:
    lines, real_lines = (
        [note_line(performance)["pitch"] for performance in group] for group in (generated, real)
    )
    shares = {
        f"repeated_{length}_note_share": against(
            *(
                [repetition.repeated_share(pitches, length) for pitches in group]
                for group in (lines, real_lines)
            )
        )
        for length in repetition.NGRAM_NOTES
    }
    loops = (
        [repetition.longest_loop(pitches).num_notes for pitches in group]
        for group in (lines, real_lines)
    )
    return shares | {"longest_loop_notes": against(*loops)}


def _drift(played: list[Performance], real: list[Performance], plan: Plan) -> dict[str, Any]:
    return drift.compare(*([_ends(music, plan) for music in group] for group in (played, real)))


def _ends(performance: Performance, plan: Plan) -> drift.Ends:
    first, last = (
        measure(excerpt(performance, start, plan.seconds), plan.seconds)
        for start in (0, plan.drift_seconds - plan.seconds)
    )
    return first, last


def _memorization(
    generated: list[Performance], real: list[Excerpt], passages: Passages
) -> dict[str, Any]:
    matches = passages.longest_matches([*generated, *(one.performance for one in real)])
    ours, theirs = matches[: len(generated)], matches[len(generated) :]
    return {
        "longest_match_notes": against(
            [match.notes for match in ours], [match.notes for match in theirs]
        ),
        "training_notes": passages.num_notes,
        "longest": _longest(ours, [str(number) for number in range(len(ours))]),
        "real_longest": _longest(theirs, [one.name for one in real]),
    }


def _longest(matches: Sequence[Match], names: Sequence[str]) -> dict[str, Any]:
    index = int(np.argmax([match.notes for match in matches]))
    return {"performance": names[index], **dataclasses.asdict(matches[index])}


def against(generated: Sequence[float], real: Sequence[float]) -> dict[str, Any]:
    """Quantiles of both, and the share of the generated above 19 of 20 real ones."""
    return {
        "generated": _quantiles(generated),
        "real": _quantiles(real),
        "above_real_p95": float((np.asarray(generated) > np.percentile(real, 95)).mean()),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.percentile(values, percent)) for name, percent in QUANTILES.items()}
