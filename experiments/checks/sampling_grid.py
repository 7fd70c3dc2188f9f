"""Chooses sampling settings by musical measures: every combination plays, and is compared.

    python experiments/checks/sampling_grid.py --workdir=runs/mine --data=runs/data/mine \\
        --temperatures=0.9,0.95,1 --top_ps=0.9,0.95,1 --min_ps=0,0.02

It prints a Markdown table, a row for each combination. What chooses is the mean overlapping area
of the values (midijax.similarity) over all statistics, with --drift_seconds averaged with that of
the ends of long performances (midijax.drift); a combination whose lead over another is within the
standard deviation that draws of real performances have is no better than it. The other columns
tell what that area does not: which statistic is least like real music, how often passages come
again, and how long the longest loop and the longest passage known from the training split are
(medians; real ones in the last row).
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import trained_model
from absl import flags

from midijax import cli, drift, judging, progress
from midijax.errors import UserError
from midijax.report_tables import table
from midijax.sampling import SamplingSettings

HEADER = (
    *("temperature", "top-p", "min-p", "mean OA", "lowest OA", "mean OA, distances"),
    *("8-note passages again", "longest loop", "longest known passage"),
    *("mean OA, ends", "lowest OA, ends"),
)

FLAGS = flags.FlagValues()
trained_model.define_workdir(FLAGS)
trained_model.define_data(FLAGS, "with a training split")
_TEMPERATURES = flags.DEFINE_list(
    "temperatures", ["0.9", "0.95", "1"], "Those to try.", flag_values=FLAGS
)
_TOP_PS = flags.DEFINE_list("top_ps", ["0.9", "0.95", "1"], "Those to try.", flag_values=FLAGS)
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
    best = max(range(len(judged)), key=lambda index: likeness(judged[index]))
    rows = [_row(figures) for figures in judged]
    rows[best] = [cell and f"**{cell}**" for cell in rows[best]]
    statistics, area = judged[best]["statistics"].values(), judged[best]["mean_overlapping_area"]
    real = ["real", "", "", f"{area['ceiling']:.3f}"]
    real.append(f"{min(of['values']['ceiling']['overlapping_area'] for of in statistics):.2f}")
    real.append(f"{_mean_distances(judged[best], ceiling=True):.3f}")
    ends = _ends(judged[best], "last_area_ceiling")
    rows.append([*real, *_medians(judged[best], "real"), *ends])
    deviation = area["ceiling_deviation"]
    return f"{table(HEADER, rows)}\n\nDraws of real performances deviate by {deviation:.3f}."


def likeness(figures: dict[str, Any]) -> float:
    """How like real music all of it is: what chooses."""
    area = figures["mean_overlapping_area"]["generated"]
    if not figures["drift"]:
        return area
    return (area + drift.mean_of(figures["drift"], "last_area")) / 2


def _row(figures: dict[str, Any]) -> list[str]:
    settings = figures["plan"]["settings"]
    areas = [of["values"]["overlapping_area"] for of in figures["statistics"].values()]
    return [
        *(f"{settings[name]:g}" for name in ("temperature", "top_p", "min_p")),
        f"{figures['mean_overlapping_area']['generated']:.3f}",
        f"{min(areas):.2f}",
        f"{_mean_distances(figures):.3f}",
        *_medians(figures, "generated"),
        *_ends(figures, "last_area"),
    ]


def _mean_distances(figures: dict[str, Any], ceiling: bool = False) -> float:
    ways = [of["distances"] for of in figures["statistics"].values()]
    areas = [(way["ceiling"] if ceiling else way)["overlapping_area"] for way in ways]
    return sum(areas) / len(areas)


def _ends(figures: dict[str, Any], name: str) -> list[str]:
    """Mean and lowest area, empty where long performances are not looked at."""
    if not figures["drift"]:
        return ["", ""]
    lowest = min(of[name] for of in figures["drift"].values())
    return [f"{drift.mean_of(figures['drift'], name):.3f}", f"{lowest:.2f}"]


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
