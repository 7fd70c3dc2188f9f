"""The report of an evaluation: a page of text, tables and pictures."""

import collections
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from midijax import atomic, midi, mirror, plots, report_tables
from midijax.errors import UserError
from midijax.judging import Judgement
from midijax.survey_table import PITCH_NAMES

PAGE = "report.md"
NUM_ROLLS = 3
MOST_POINTS = 200  # of a learning curve; the losses between two are averaged


def write(
    folder: Path, figures: Mapping[str, Any], judgement: Judgement, workdir: Path, command: str
) -> None:
    """Writes report.md, its pictures, and the generated performances it shows as MIDI files.

    Args:
      folder: where they go, over those of an earlier report.
      figures: of the evaluation, with the judgement's under "music".
      judgement: what was played, and what it was compared with.
      workdir: the run's folder, for its learning curve, if it has one.
      command: what makes this report again.
    """
    music = figures["music"]
    sections = {
        "Likelihood": report_tables.likelihood(figures),
        "Training": _training(folder, workdir),
        "What it plays": _rolls(folder, judgement, music["plan"]),
        "Likeness to real performances": _likeness(folder, music["statistics"]),
        "Repetition": report_tables.repetition(music["repetition"]),
        "Drift": report_tables.drift(music["drift"], music["plan"]) if music["drift"] else "",
        "Memorization": report_tables.memorization(music["memorization"]),
        "How to repeat it": f"```sh\n{command}\n```",
    }
    parts = [_heading(figures)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    atomic.write_text(folder / PAGE, "\n\n".join(parts) + "\n")


def _heading(figures: Mapping[str, Any]) -> str:
    music = figures["music"]
    plan, real = music["plan"], music["real"]
    settings = ", ".join(
        f"{name.replace('_', '-')} {value:g}" for name, value in plan["settings"].items()
    )
    begins = "beginnings" if real["from_beginning"] else "excerpts"
    return (
        f"# How the model plays after {figures['step']:,} steps\n\n"
        f"{plan['count']} performances of {plan['seconds']:g} seconds, generated with seed "
        f"{plan['seed']} ({settings}), are held against the {begins} of {real['performances']} "
        f"performances of the {figures['split']} split, as long, one of each, with the pedal "
        "folded into the notes and in the vocabulary's steps."
    )


def _training(folder: Path, workdir: Path) -> str:
    lines = _learning_curves(mirror.fetched(workdir / "metrics.jsonl"))
    if not lines:
        return ""
    plots.curves(lines, folder / "training.png", label="nats per event")
    return "![Loss over the steps](training.png)"


def _learning_curves(path: Path) -> dict[str, plots.Line]:
    """Steps and values of the losses in a metrics.jsonl, by what they are of; none without it."""
    if not path.is_file():
        return {}
    points = collections.defaultdict(list)
    whole_lines = path.read_bytes().split(b"\n")[:-1]  # the last is empty, or torn by a kill
    for number, line in enumerate(whole_lines, start=1):
        try:
            fields = json.loads(line)
            for name, key in (("training", "loss"), ("validation", "validation_nats_per_event")):
                if fields.get(key) is not None:
                    points[name].append((float(fields["step"]), float(fields[key])))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path}, line {number} is damaged; mend or delete it") from error
    return {name: _thinned(np.array(pairs)) for name, pairs in points.items()}


def _thinned(pairs: np.ndarray) -> plots.Line:
    parts = np.array_split(pairs, min(len(pairs), MOST_POINTS))
    steps, values = np.array([part.mean(axis=0) for part in parts]).T
    return steps, values


def _rolls(folder: Path, judgement: Judgement, plan: Mapping[str, Any]) -> str:
    """A generated performance and a real one below each other, NUM_ROLLS times."""
    parts = []
    pairs = zip(judgement.generated, judgement.real, strict=False)
    for number, (music, real) in enumerate(list(pairs)[:NUM_ROLLS]):
        stem = f"generated-{number}"
        midi.write(music, folder / f"{stem}.mid")
        plots.piano_roll(music, folder / f"{stem}.png", f"generated, number {number}")
        title = f"real, {real.name.rpartition('/')[2]}, from {real.start} s on"
        plots.piano_roll(real.performance, folder / f"real-{number}.png", title)
        parts.append(
            f"![Generated performance {number}]({stem}.png)\n[{stem}.mid]({stem}.mid)\n\n"
            f"![A real performance](real-{number}.png)"
        )
    return "\n\n".join(parts)


def _likeness(folder: Path, statistics: Mapping[str, Any]) -> str:
    panels = [
        plots.Panel(
            label=of["title"],
            edges=np.array(of["edges"]),
            shares=np.array(of["histogram"]),
            real_shares=np.array(of["real_histogram"]),
            names=PITCH_NAMES if name == "pitch_class" else (),
        )
        for name, of in statistics.items()
    ]
    plots.comparison(panels, folder / "statistics.png")
    picture = "![Distributions, generated over real](statistics.png)"
    return f"{report_tables.similarity(statistics)}\n\n{picture}"
