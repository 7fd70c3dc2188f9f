"""Surveys as tables to read on a terminal."""

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from midijax.survey import Catalogue

SKIPPED_SHOWN = 20
LABEL_WIDTH, WIDTH = 16, 80
PITCH_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def table(title: str, catalogue: Catalogue) -> str:
    """What there is to say of all files together, then which would be skipped and why."""
    total = catalogue.total()
    lines = [title]
    if len(catalogue.files) > 1:
        lines += [_line("files", f"{total['files']:,}, of which {total['skipped']:,} skipped")]
    lines += _making(total)
    if catalogue.measures:
        lines += _music(total)
    if len(catalogue.files) > 1 and catalogue.measures:
        lines += _extremes([file for file in catalogue.files if "skipped" not in file])
    return "\n".join(lines + _skipped(catalogue.skipped))


def _making(total: Mapping[str, Any]) -> list[str]:
    """How the files are made; nothing of music that is in no file."""
    if not total["formats"]:
        return []
    messages = total["message_counts"]
    return [
        _line("type", _counted(total["formats"])),
        _line("resolution", _counted(total["resolutions"])),
        _line("messages", ", ".join(f"{kind} {count:,}" for kind, count in messages.items())),
        _line("tempo changes", f"{messages.get('set_tempo', 0):,}"),
        _line("repairs", _counted(total["repairs"]) or "none"),
    ]


def _music(summary: Mapping[str, Any]) -> list[str]:
    pitch, velocity = summary["pitch"], summary["velocity"]
    down = summary["pedal_down_share"]
    quantiles = {name: name.replace("p", "") + " %" for name in summary["note_duration_seconds"]}
    quantiles["median"] = "median"
    return [
        _line("length", clock(summary["seconds"])),
        _line("notes", f"{summary['notes']:,}, {summary['notes_per_second']:.1f} a second"),
        _line("pitch", _spread(pitch, pitch_name)),
        _line("velocity", _spread(velocity, str)),
        _line(
            "at once",
            f"at most {summary['max_polyphony']} notes, {summary['mean_polyphony']:.1f} on average "
            "(those that the pedal holds included)",
        ),
        _line("pedal", f"{summary['pedal_messages']:,} messages, down {down:.0%} of the time"),
        _line("seconds", "".join(f"{name:>9}" for name in quantiles.values())),
        _line("between onsets", _quantiles(summary["inter_onset_seconds"])),
        _line("key down", _quantiles(summary["note_duration_seconds"])),
    ]


def _extremes(files: list[Mapping[str, Any]]) -> list[str]:
    by_length = sorted(files, key=lambda file: file["seconds"])
    by_density = sorted(files, key=lambda file: file["notes_per_second"])
    length, density = "seconds", "notes_per_second"
    return [
        _line("shortest", f"{clock(by_length[0][length])}  {by_length[0]['file']}"),
        _line("longest", f"{clock(by_length[-1][length])}  {by_length[-1]['file']}"),
        _line("sparsest", f"{by_density[0][density]:.1f} notes a second  {by_density[0]['file']}"),
        _line("densest", f"{by_density[-1][density]:.1f} notes a second  {by_density[-1]['file']}"),
    ]


def _skipped(files: list[dict[str, Any]]) -> list[str]:
    lines = [f"skipped: {file['file']}: {file['skipped']}" for file in files[:SKIPPED_SHOWN]]
    if len(files) > SKIPPED_SHOWN:
        lines.append(f"skipped: {len(files) - SKIPPED_SHOWN:,} more; --json names them all")
    return lines


def pitch_name(pitch: int) -> str:
    """A MIDI pitch by name; C4 is middle C, 60."""
    return f"{PITCH_NAMES[pitch % 12]}{pitch // 12 - 1}"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _line(label: str, text: str) -> str:
    indent = " " * (LABEL_WIDTH + 2)
    lines = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"  {label:{LABEL_WIDTH}}" + f"\n{indent}".join(lines)


def _counted(tally: Mapping[str, int]) -> str:
    if len(tally) == 1 and next(iter(tally.values())) == 1:
        return next(iter(tally))
    return ", ".join(f"{name} ({count:,})" for name, count in tally.items())


def _spread(values: Mapping[str, int], name: Callable[[int], str]) -> str:
    lowest, median, highest = (name(values[key]) for key in ("lowest", "median", "highest"))
    return f"{lowest} to {highest}, median {median}"


def _quantiles(seconds: Mapping[str, float]) -> str:
    return "".join(f"{value:9.3f}" for value in seconds.values())
