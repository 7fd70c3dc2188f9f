"""Chooses sampling settings by musical measures: every combination plays, and is compared.

    python experiments/checks/sampling_grid.py --workdir=runs/mine --data=runs/data/mine \\
        --temperatures=1,1.05 --top_ps=0.98,0.99,1 --min_ps=0,0.02 --drift_seconds=300

It prints a Markdown table, a row for each combination. What chooses is the *likeness*: the mean
overlapping area of the values over all statistics (midijax.similarity), with --drift_seconds the
mean of this and of the same of the ends of long performances (midijax.drift). Draws of real
performances tell how much of it is chance: two combinations whose likenesses are no further apart
than 1.4 of their standard deviation are as good. The other columns tell what it does not: how low
the area of a single statistic is, how often passages come again, and how long the longest loop and
the longest passage known from the training split are (medians; real ones in the last row).
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import trained_model
from absl import flags

from midijax import cli, judging, progress
from midijax.errors import UserError
from midijax.report_tables import table
from midijax.sampling import SamplingSettings

HEADER = (
    *("temperature", "top-p", "min-p", "likeness", "mean OA", "lowest OA"),
    *("mean OA, ends", "lowest OA, ends", "mean OA, distances"),
    *("8-note passages again", "longest loop", "longest known passage"),
)

FLAGS = flags.FlagValues()
trained_model.define_workdir(FLAGS)
trained_model.define_data(FLAGS, "with a training split")
_TEMPERATURES = flags.DEFINE_list(
    "temperatures", ["1", "1.03", "1.05"], "Those to try.", flag_values=FLAGS
)
_TOP_PS = flags.DEFINE_list(
    "top_ps", ["0.98", "0.99", "0.995", "1"], "Those to try.", flag_values=FLAGS
)
_MIN_PS = flags.DEFINE_list("min_ps", ["0"], "Those to try.", flag_values=FLAGS)
_NUM_GENERATED = flags.DEFINE_integer(
    "num_generated", 64, "Performances of each combination.", lower_bound=1, flag_values=FLAGS
)
_GENERATED_SECONDS = flags.DEFINE_float(
    "generated_seconds", 60.0, "Their length.", lower_bound=1.0, flag_values=FLAGS
)
_DRIFT_SECONDS = flags.DEFINE_float(
    "drift_seconds",
    0.0,
    "How long they go on for their ends to be looked at; 0: not.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "The same for every combination.", lower_bound=0, flag_values=FLAGS
)


def main(arguments: list[str]) -> None:
    """Plays the grid and prints it, the best row in bold."""
    cli.reject(arguments, FLAGS)
    folder = trained_model.corpus_folder(FLAGS)
    grid = combinations()
    plan = judging.Plan(
        count=_NUM_GENERATED.value,
        seconds=_GENERATED_SECONDS.value,
        drift_seconds=_DRIFT_SECONDS.value,
        seed=_SEED.value,
        settings=grid[0],
    )
    loaded = trained_model.load(FLAGS)
    reference = judging.read(folder, "validation", loaded.config, plan)
    if plan.drift_seconds and not reference.drift:
        raise UserError(
            f"too few performances of '{folder}' last --drift_seconds={plan.drift_seconds:g}; "
            "give fewer, or 0"
        )
    judged = [
        judging.judge(loaded, reference, dataclasses.replace(plan, settings=settings)).figures
        for settings in progress.bar(grid, desc="settings", unit=" combinations")
    ]
    print(report(judged))


def combinations() -> list[SamplingSettings]:
    """The settings of the grid; UserError for a value out of its range."""
    axes = [
        [_number(flag.name, text) for text in flag.value]
        for flag in (_TEMPERATURES, _TOP_PS, _MIN_PS)
    ]
    if not all(axes):
        raise UserError("--temperatures, --top_ps and --min_ps each want a value")
    return [
        SamplingSettings(temperature=temperature, top_p=top_p, min_p=min_p)
        for temperature, top_p, min_p in itertools.product(*axes)
    ]


def report(judged: Sequence[dict[str, Any]]) -> str:
    """The table, from the figures of each combination, and what follows from it."""
    best = max(range(len(judged)), key=lambda index: likeness(judged[index], "generated"))
    rows = [_row(figures) for figures in judged]
    rows[best] = [cell and f"**{cell}**" for cell in rows[best]]
    real = ["real", "", "", *_areas(judged[best], "ceiling"), *_medians(judged[best], "real")]
    return (
        f"{table(HEADER, [*rows, real])}\n\n"
        f"The likeness of draws of real performances deviates by {deviation(judged[best]):.3f}."
    )


def likeness(figures: dict[str, Any], group: str) -> float:
    """What chooses, of the `generated` music; or its `ceiling`."""
    areas = _mean_areas(figures)
    return sum(area[group] for area in areas) / len(areas)


def deviation(figures: dict[str, Any]) -> float:
    """The standard deviation of the likeness of draws of real performances."""
    areas = _mean_areas(figures)
    return math.hypot(*(area["ceiling_deviation"] for area in areas)) / len(areas)


def _mean_areas(figures: dict[str, Any]) -> list[dict[str, float]]:
    """Of beginnings, and of ends where they are looked at."""
    parts = [figures, figures["drift"]] if figures["drift"] else [figures]
    return [part["mean_overlapping_area"] for part in parts]


def _row(figures: dict[str, Any]) -> list[str]:
    settings = figures["plan"]["settings"]
    return [
        *(f"{settings[name]:g}" for name in ("temperature", "top_p", "min_p")),
        *_areas(figures, "generated"),
        *_medians(figures, "generated"),
    ]


def _areas(figures: dict[str, Any], group: str) -> list[str]:
    """Likeness, mean and lowest of beginnings and of ends, and the mean by distances."""

    def area(of: dict[str, Any]) -> float:
        return (of["ceiling"] if group == "ceiling" else of)["overlapping_area"]

    statistics = figures["statistics"].values()
    distances = [area(of["distances"]) for of in statistics]
    last = "last_area_ceiling" if group == "ceiling" else "last_area"
    ends = [of[last] for of in figures["drift"]["statistics"].values()] if figures["drift"] else []
    return [
        f"{likeness(figures, group):.3f}",
        *_mean_and_lowest([area(of["values"]) for of in statistics]),
        *(_mean_and_lowest(ends) if ends else ("", "")),
        f"{sum(distances) / len(distances):.3f}",
    ]


def _mean_and_lowest(areas: Sequence[float]) -> list[str]:
    return [f"{sum(areas) / len(areas):.3f}", f"{min(areas):.2f}"]


def _medians(figures: dict[str, Any], group: str) -> list[str]:
    repetition, memorization = figures["repetition"], figures["memorization"]
    return [
        f"{repetition['repeated_8_note_share'][group]['median']:.1%}",
        f"{repetition['longest_loop_notes'][group]['median']:.0f}",
        f"{memorization['longest_match_notes'][group]['median']:.0f}",
    ]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--{name}: '{text}' is no number; part them by commas") from error


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
