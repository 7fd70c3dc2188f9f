"""Pictures of performances and of training: piano rolls, histograms, learning curves."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from midijax import atomic
from midijax.performance import PEDAL_DOWN, Performance

DOTS_PER_INCH = 110
ROLL_INCHES = (12.0, 4.5)
# Fixed, as a layout engine draws all labels twice to measure them: a third of a roll's time.
ROLL_MARGINS = {
    "left": 0.037,
    "right": 0.956,
    "bottom": 0.1,
    "top": 0.945,
    "wspace": 0.032,
    "hspace": 0.05,
}
HISTOGRAM_INCHES = (6.4, 3.6)
COMPARISON_COLUMNS, COMPARISON_ROW_INCHES = 3, 2.2
MOST_MARKERS = 50  # of a curve

INK, FAINT, BLACK_KEY_ROW = "#33333d", "#dcdce4", "#f3f3f7"
BAR_COLOUR, PEDAL_COLOUR = "#5b4b9a", "#a9a6bd"
REAL_COLOUR, LINE_COLOURS = "#f3c9a0", ("#a9a6bd", "#5b4b9a", "#cf3f6b")
VELOCITY_COLOURS = LinearSegmentedColormap.from_list(
    "velocity",
    [(0, "#f9d57e"), (0.3, "#f3945e"), (0.5, "#cf3f6b"), (0.7, "#6f2a86"), (1, "#150c3a")],
)
BLACK_KEYS = (1, 3, 6, 8, 10)
NOTE_HEIGHT = 0.86  # of a semitone
SHORTEST_MARK = 1 / 1100  # of the width: about a pixel, so that no note is lost
FEWEST_PITCHES = 30  # the height of a roll in semitones, at least
LONG = 180.0  # seconds; longer rolls count minutes
LONGEST_TITLE = 110


def piano_roll(performance: Performance, path: str | os.PathLike[str], title: str = "") -> None:
    """Draws the notes over time, coloured by velocity, with the sustain pedal below, as a PNG.

    The same performance and title give the same bytes. Notes are drawn as played: key down to key
    up. Folders on the way to `path` are made, and the file is whole or absent.

    Args:
      performance: any performance, an empty one included.
      path: the PNG to write.
      title: a line above the picture.
    """
    figure = Figure(figsize=ROLL_INCHES, dpi=DOTS_PER_INCH)
    grid = figure.add_gridspec(2, 2, width_ratios=(84, 1), height_ratios=(24, 1), **ROLL_MARGINS)
    roll = figure.add_subplot(grid[0, 0])
    pedal = figure.add_subplot(grid[1, 0], sharex=roll)
    end = max(performance.duration, 1.0)
    _draw_notes(roll, performance, end)
    _draw_pedal(pedal, performance, end)
    scale = ScalarMappable(Normalize(1, 127), VELOCITY_COLOURS)
    velocities = figure.add_subplot(grid[:, 1])
    bar = figure.colorbar(scale, velocities, label="velocity", ticks=(1, 32, 64, 96, 127))
    bar.outline.set_visible(False)
    _colour_ink(velocities)
    _save(figure, roll, path, title)


def histogram(
    counts: np.ndarray,
    edges: np.ndarray,
    path: str | os.PathLike[str],
    *,
    label: str,
    title: str = "",
    pitches: bool = False,
) -> None:
    """Draws a histogram as a PNG; a logarithmic axis where the bins grow.

    Args:
      counts: how many notes fall into each bin, (bins,).
      edges: the bounds of the bins, (bins + 1,).
      path: the PNG to write; folders on the way to it are made.
      label: what is counted, with its unit.
      title: a line above the picture.
      pitches: name the octaves instead of numbering the bins.
    """
    figure = Figure(figsize=HISTOGRAM_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    share = 100 * counts / max(counts.sum(), 1)
    axes.bar(edges[:-1], share, np.diff(edges), align="edge", color=BAR_COLOUR, linewidth=0)
    if pitches:
        _name_octaves(axes.xaxis)
    elif not np.allclose(np.diff(edges), edges[1] - edges[0]):
        _grow(axes)
    filled = np.flatnonzero(counts)
    if len(filled):
        axes.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel("share of notes (%)")
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    _colour_ink(axes)
    _save(figure, axes, path, title)


Line = tuple[np.ndarray, np.ndarray]  # steps and values


class Panel(NamedTuple):
    """A distribution beside that of real performances.

    Attributes:
      label: what the bins are of.
      edges: their bounds, (bins + 1,); a logarithmic axis where they grow.
      shares, real_shares: what each bin holds, (bins,), each adding up to 1.
      names: of the bins, if they have any.
    """

    label: str
    edges: np.ndarray
    shares: np.ndarray
    real_shares: np.ndarray
    names: Sequence[str] = ()


def comparison(panels: Sequence[Panel], path: str | os.PathLike[str], title: str = "") -> None:
    """Draws distributions, three in a row, over those of real performances, as a PNG."""
    rows = -(-len(panels) // COMPARISON_COLUMNS)
    inches = ROLL_INCHES[0], COMPARISON_ROW_INCHES * rows
    figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(rows, COMPARISON_COLUMNS, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    grid[0].legend(frameon=False, labelcolor=INK, fontsize=9)
    _save(figure, grid[0], path, title)


def curves(
    lines: Mapping[str, Line],
    path: str | os.PathLike[str],
    *,
    label: str,
    title: str = "",
) -> None:
    """Draws values over training steps, a line for each name, as a PNG.

    Args:
      lines: steps and values by name; of few values each is marked.
      path: the PNG to write.
      label: what the values are, with their unit.
      title: a line above the picture.
    """
    figure = Figure(figsize=HISTOGRAM_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for colour, (name, (steps, values)) in zip(LINE_COLOURS, lines.items(), strict=False):
        marker = "o" if len(steps) <= MOST_MARKERS else ""
        axes.plot(steps, values, label=name, color=colour, marker=marker, markersize=3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.set_xlabel("steps")
    axes.set_ylabel(label)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    _colour_ink(axes)
    _save(figure, axes, path, title)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.stairs(100 * panel.real_shares, panel.edges, fill=True, color=REAL_COLOUR, label="real")
    axes.stairs(100 * panel.shares, panel.edges, color=BAR_COLOUR, linewidth=1.6, label="generated")
    if not np.allclose(np.diff(panel.edges), panel.edges[1] - panel.edges[0]):
        _grow(axes)
    if panel.names:
        axes.set_xticks((panel.edges[:-1] + panel.edges[1:]) / 2, panel.names)
    axes.set_xlim(panel.edges[0], panel.edges[-1])
    axes.set_xlabel(panel.label)
    axes.set_ylabel("%")
    _colour_ink(axes)


def _grow(axes: Axes) -> None:
    """A logarithmic axis with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_notes(axes: Axes, performance: Performance, end: float) -> None:
    lowest, highest = _pitch_bounds(performance)
    rows = [pitch for pitch in range(lowest, highest + 1) if pitch % 12 in BLACK_KEYS]
    axes.barh(rows, end, 1.0, color=BLACK_KEY_ROW, linewidth=0, zorder=0)
    notes = performance.notes
    left = notes["onset"]
    right = np.maximum(notes["offset"], left + SHORTEST_MARK * end)
    low = notes["pitch"] - NOTE_HEIGHT / 2
    corners_x = np.stack((left, left, right, right), axis=1)
    corners_y = np.stack((low, low + NOTE_HEIGHT, low + NOTE_HEIGHT, low), axis=1)
    colours = VELOCITY_COLOURS(Normalize(1, 127)(notes["velocity"].astype(float)))
    marks: Any = np.stack((corners_x, corners_y), axis=2)
    axes.add_collection(PolyCollection(marks, facecolors=colours, linewidths=0, zorder=2))
    axes.set_xlim(0, end)
    axes.set_ylim(lowest - 0.5, highest + 0.5)
    _name_octaves(axes.yaxis)
    axes.grid(axis="y", color=FAINT, linewidth=0.8, zorder=1)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    _colour_ink(axes)


def _pitch_bounds(performance: Performance) -> tuple[int, int]:
    """The lowest and highest row: what is played and a little more."""
    pitches = performance.notes["pitch"].astype(int)
    lowest, highest = (pitches.min(), pitches.max()) if len(pitches) else (60, 60)
    margin = max(2, -(-(FEWEST_PITCHES - (highest - lowest)) // 2))
    return int(max(lowest - margin, 0)), int(min(highest + margin, 127))


def _draw_pedal(axes: Axes, performance: Performance, end: float) -> None:
    """A thin band, filled where the pedal is down."""
    down = performance.pedal["value"] >= PEDAL_DOWN
    times = np.append(performance.pedal["time"], end)
    spans = list(zip(times[:-1][down], np.diff(times)[down], strict=True))
    axes.broken_barh(spans, (0, 1), facecolors=PEDAL_COLOUR, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], ["pedal" if len(down) else ""])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time (seconds)")
    if end > LONG:
        axes.set_xlabel("time (minutes:seconds)")
        axes.xaxis.set_major_locator(MultipleLocator(_minutes_between_ticks(end) * 60))
        axes.xaxis.set_major_formatter(FuncFormatter(_minutes_and_seconds))
    _colour_ink(axes)


def _minutes_between_ticks(end: float) -> float:
    """The shortest round step that leaves at most a dozen labels."""
    steps = (0.5, 1, 2, 5, 10, 20, 30, 60)
    return next((step for step in steps if end / 60 / step <= 12), max(60, end // 720))


def _minutes_and_seconds(seconds: float, _: int) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _name_octaves(axis: Axis) -> None:
    """C4 is middle C, MIDI 60."""
    axis.set_major_locator(MultipleLocator(12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda pitch, _: f"C{int(pitch) // 12 - 1}"))


def _colour_ink(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _save(figure: Figure, axes: Axes, path: str | os.PathLike[str], title: str) -> None:
    """Writes the PNG, without date or version."""
    readable = " ".join(title.encode(errors="replace").decode().split())[:LONGEST_TITLE]
    axes.set_title(readable, loc="left", color=INK, fontsize=11, parse_math=False)
    with atomic.new_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a title of any script
        FigureCanvasAgg(figure).print_png(partial, metadata={"Software": None})
