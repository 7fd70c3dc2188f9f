"""Figures of an evaluation as Markdown tables, each with what its columns mean."""

from collections.abc import Mapping, Sequence
from typing import Any

from midijax.drift import SPREAD, mean_share
from midijax.repetition import NGRAM_NOTES
from midijax.similarity import CEILING_DRAWS
from midijax.statistics import STATISTICS

Figures = Mapping[str, Any]

_RATIOS = ("nats_per_event", "nats_per_note", "nats_per_second", "accuracy")
_REPETITION = {
    **{
        f"repeated_{length}_note_share": (f"passages of {length} notes played before", ".1%")
        for length in NGRAM_NOTES
    },
    "longest_loop_notes": ("longest loop, notes", ".0f"),
}
_WITHIN = "last_within", "change_within"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def summary(music: Figures) -> str:
    """The chief musical figures, for a terminal."""
    lines = ["overlapping area with real music      values  distances   (their ceilings)"]
    for of in music["statistics"].values():
        ways = of["values"], of["distances"]
        areas = "".join(f"{way['overlapping_area']:>11.2f}" for way in ways)
        ceilings = ", ".join(f"{way['ceiling']['overlapping_area']:.2f}" for way in ways)
        lines.append(f"{of['title']:<33}{areas}   ({ceilings})")
    longest = {
        "longest match with the training split": music["memorization"]["longest_match_notes"],
        "longest loop": music["repetition"]["longest_loop_notes"],
    }
    for title, of in longest.items():
        played, real = of["generated"], of["real"]
        lines.append(
            f"{title}: median {played['median']:.0f} notes, at most {played['highest']:.0f} "
            f"(real: {real['median']:.0f}, {real['highest']:.0f})"
        )
    if music["drift"]:
        area, seconds = music["drift"]["mean_overlapping_area"], music["plan"]["drift_seconds"]
        lines.append(
            f"mean overlapping area at the end of {seconds:g} s: {area['generated']:.2f} "
            f"(real: {area['ceiling']:.2f})"
        )
    return "\n".join(lines)


def likelihood(figures: Figures) -> str:
    """The scores under both protocols."""
    protocols = figures["whole"], figures["crops"]
    rows = [
        [name.replace("_", " "), *(_number(scores[name], ".4f") for scores in protocols)]
        for name in _RATIOS
    ]
    rows.append(["events", *(f"{scores['events']:,}" for scores in protocols)])
    return (
        "The model follows each performance and says before every event how likely it is; lower "
        "is better, but for the accuracy, the share of events that were its first guess. Over "
        "*whole* performances it knows all that came before, over *crops* of 2048 events, before "
        "each of which it knows nothing, what published scores are over.\n\n"
        + table(["", "whole", "crops"], rows)
    )


def similarity(statistics: Figures) -> str:
    """Overlapping area and KL divergence of every statistic, with the ceilings."""
    rows = [_likeness(STATISTICS[name].title, of) for name, of in statistics.items()]
    ways = [[of[way] for of in statistics.values()] for way in ("values", "distances")]
    means = [
        _area(
            _mean([one["overlapping_area"] for one in way]),
            _mean([one["ceiling"]["overlapping_area"] for one in way]),
        )
        for way in ways
    ]
    rows.append(["**mean**", means[0], "", means[1], ""])
    return (
        "Overlapping area (OA, 1 is the same) and Kullback-Leibler divergence (KL, in nats, 0 is "
        f"the same), each with its ceiling in brackets: what the mean of {CEILING_DRAWS} draws of "
        "as many real performances from the training split reaches. *Values* compares the "
        "distribution of the statistic itself, each performance counting alike. *Distances* is the "
        "measure of Yang & Lerch (2018): whether a generated performance and a real one, each "
        "taken as its mean (of times, the geometric mean; of pitch classes, the histogram), "
        "differ as much as two real ones do. The first is the stricter, for the second hardly "
        "sees a set that is one piece over and over, nor equal loudness within each piece; but "
        "only the second sees whether performances keep to a key.\n\n"
        + table(["statistic", "OA, values", "KL", "OA, distances", "KL"], rows)
    )


def repetition(figures: Figures) -> str:
    """Repeated passages and loops."""
    rows = [_against(title, figures[name], form) for name, (title, form) in _REPETITION.items()]
    return (
        "How much of a performance has been played before in it, and the longest stretch that is "
        "one passage played again and again (a trill is one of two notes). *Below* is the share of "
        "generated performances below the median of real ones, *above* the share above their 95th "
        "percentile; of real ones these are half and a twentieth.\n\n" + _against_table(rows)
    )


def memorization(figures: Figures) -> str:
    """The longest passages shared with the training split."""
    rows = [_against("longest match, notes", figures["longest_match_notes"], ".0f")]
    return (
        "The longest passage that each performance shares with the "
        f"{figures['training_notes']:,} notes of the training split, in any key and at any speed: "
        "the same pitch intervals from note to note, those of a chord from the lowest up. Real "
        "performances of pieces that are not in the training split have such passages too: "
        "scales, trills, arpeggios.\n\n"
        + _against_table(rows)
        + "\n\n"
        + "\n".join(
            f"- The longest of {kind}: {_match(figures[name])}"
            for kind, name in (("all generated", "longest"), ("the real ones", "real_longest"))
        )
    )


def drift(figures: Figures, plan: Figures) -> str:
    """First and last part of long performances."""
    statistics, area = figures["statistics"], figures["mean_overlapping_area"]
    rows = [_ending(STATISTICS[name].title, of) for name, of in statistics.items()]
    shares = (
        _share(mean_share(statistics, name), mean_share(statistics, f"{name}_ceiling"))
        for name in _WITHIN
    )
    rows.append(["**mean**", "", "", _area(area["generated"], area["ceiling"]), "", *shares])
    low, high = SPREAD
    seconds, long = (f"{plan[name]:g}" for name in ("seconds", "drift_seconds"))
    return (
        f"The first {seconds} seconds of performances of {long} against their last: medians over "
        "the performances. *OA* is the overlapping area of the values of the last part with those "
        f"of {seconds} seconds from anywhere in real performances, *spread* from the {low}th to "
        f"the {high}th percentile of these, *within* the share of generated performances whose "
        "last part lies there, *change within* of those whose change from first to last lies in "
        f"the same range of changes of real performances of {long} seconds. In brackets the same "
        "of performances of the training split, parts from anywhere taking the place of last "
        "ones.\n\n"
        + table(
            [
                *("statistic", "real", "generated", "OA, last", "spread of real"),
                *("within", "change within"),
            ],
            rows,
        )
    )


def _ending(title: str, of: Figures) -> list[str]:
    area = _area(of["last_area"], of["last_area_ceiling"])
    if "spread" not in of:
        return [title, "", "", area, "", "", ""]
    return [
        title,
        *(
            " → ".join(_number(of[f"{group}{end}"], ".3g") for end in ("first", "last"))
            for group in ("real_", "")
        ),
        area,
        f"{of['spread'][0]:.3g} to {of['spread'][1]:.3g}",
        *(_share(of[name], of[f"{name}_ceiling"]) for name in _WITHIN),
    ]


def _likeness(title: str, of: Figures) -> list[str]:
    cells = [title]
    for way in ("values", "distances"):
        one, best = of[way], of[way]["ceiling"]
        cells.append(_area(one["overlapping_area"], best["overlapping_area"]))
        cells.append(f"{one['kl_divergence']:.3f} ({best['kl_divergence']:.3f})")
    return cells


def _area(area: float, ceiling: float) -> str:
    return f"**{area:.2f}** ({ceiling:.2f})"


def _share(share: float, ceiling: float) -> str:
    return f"{share:.0%} ({ceiling:.0%})"


def _against(title: str, of: Figures, form: str) -> list[str]:
    cells = [
        f"{of[group]['median']:{form}} ({of[group]['p95']:{form}}; {of[group]['highest']:{form}})"
        for group in ("real", "generated")
    ]
    return [title, *cells, f"{of['below_median']:.0%}", f"{of['above_p95']:.0%}"]


def _against_table(rows: Sequence[Sequence[str]]) -> str:
    middle = "median (95th percentile; highest)"
    header = ["", f"real, {middle}", f"generated, {middle}", "below", "above"]
    return table(header, rows)


def _match(match: Figures) -> str:
    if not match["notes"]:
        return "none"
    return (
        f"{match['notes']} notes, at {match['seconds']:.1f} s in `{match['performance']}`, as at "
        f"{match['source_seconds']:.1f} s in `{match['source']}`, "
        f"{match['transposed']:+d} semitones"
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
