"""How the cost of training and preparing grows with batch, length, width, depth, devices, files.

Every size is a program of its own, and the sizes take turns. Under each cost stands the exponent
since the size before: 1 is a cost in proportion to the size, 0 one that does not grow. The devices
are virtual ones that share one processor and one batch. Quiet the machine first; it takes minutes.

    python experiments/benchmarks/growth.py --input=MAESTRO --plot=growth.png
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import benchmark
import numpy as np
import turns
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter
from turns import Contestant, Result

from midijax import atomic, cli, progress, sources
from midijax.errors import UserError

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Folder of MIDI files to prepare; without it files are left out.",
    flag_values=benchmark.FLAGS,
)
_PLOT = flags.DEFINE_string("plot", None, "PNG to draw.", flag_values=benchmark.FLAGS)

STEP = {
    "dtype": "float32",
    "num_layers": 3,
    "hidden_size": 256,
    "batch_size": 64,
    "num_steps": 64,
}
LENGTHS = (32, 64, 128, 256, 512, 1024)
NUM_FILES = (10, 30, 100, 300)
NUM_PROCESSES = 2
DEVICES = "--xla_force_host_platform_device_count={}"
COLUMNS = 4
PANEL_INCHES = (3.2, 2.7)
DECADE = 10  # the least that a panel shows of costs
LINE, REFERENCE = ("#5b4b9a", "#cf3f6b"), "#a9a6bd"


class Axis(NamedTuple):
    """One way to grow.

    Attributes:
      name: what grows.
      contestants: the program for each size.
      power: that the cost is expected to grow with.
    """

    name: str
    contestants: Mapping[int, Contestant]
    power: int = 1


class Curve(NamedTuple):
    """An axis and what was measured along it."""

    axis: Axis
    results: list[Result]

    @property
    def sizes(self) -> list[int]:
        """From small to large."""
        return list(self.axis.contestants)

    @property
    def seconds(self) -> list[float]:
        """Of the median turn: a training step, or the preparation of all files."""
        return [one.units_per_turn / one.units_per_second for one in self.results]

    @property
    def megabytes(self) -> list[float]:
        """At the peak, libraries and compilation included."""
        return [one.peak_bytes / 1e6 for one in self.results]


def measure() -> benchmark.Report:
    """Every axis, its sizes in turn."""
    num_rounds, environment = benchmark.NUM_ROUNDS.value, benchmark.environment()
    with tempfile.TemporaryDirectory() as name:
        axes = training_axes()
        if _INPUT.value:
            axes.append(files_axis(cli.path(_INPUT.value), Path(name).resolve()))
        curves = [
            Curve(axis, turns.run(tuple(axis.contestants.values()), num_rounds, environment))
            for axis in progress.bar(axes, desc="growth", unit="axis")
        ]
    if _PLOT.value:
        draw(curves, cli.path(_PLOT.value))
    held = ", ".join(f"{name} {value}" for name, value in STEP.items())
    parts = [f"A training step: {held}, but for what grows.", *map(table, curves)]
    if not _INPUT.value:
        parts.append("Files were left out, as --input named no folder of them.")
    figures = {
        curve.axis.name: dict(
            zip(curve.sizes, (one._asdict() for one in curve.results), strict=True)
        )
        for curve in curves
    }
    return benchmark.Report("\n\n".join(parts), {"step": STEP, "axes": figures})


def training_axes() -> list[Axis]:
    """Those of the training step."""
    return [
        _step_axis("batch size", "batch_size", (4, 16, 64, 256, 1024)),
        _step_axis("sequence length", "num_steps", LENGTHS),
        _step_axis("sequence length, remat", "num_steps", LENGTHS, remat=True),
        _step_axis("hidden size", "hidden_size", (64, 128, 256, 512, 1024))._replace(power=2),
        _step_axis("layers", "num_layers", (1, 2, 4, 8)),
        Axis("devices", {size: _on_devices(size) for size in (1, 2, 4, 8)}, power=0),
    ]


def _step_axis(name: str, setting: str, sizes: Sequence[int], **settings: Any) -> Axis:
    return Axis(name, {size: _step({**settings, setting: size}) for size in sizes})


def _step(settings: Mapping[str, Any]) -> Contestant:
    return Contestant("midijax", "midijax_training.py", {**STEP, **settings})


def _on_devices(number: int) -> Contestant:
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": DEVICES.format(number)}
    return _step({})._replace(environment=environment)


def files_axis(source: Path, folder: Path) -> Axis:
    """That of preparing the first files of `source`, copied to a folder for each number."""
    paths = sources.midi_files(source)
    contestants = {}
    for size in (size for size in NUM_FILES if size <= len(paths)):
        copies = benchmark.copy_files(paths[:size], folder / str(size))
        settings = {"folder": copies, "num_files": size, "num_processes": NUM_PROCESSES}
        contestants[size] = Contestant("midijax", "midijax_preparation.py", settings)
    if len(contestants) < 2:
        raise UserError(f"--input={source} holds fewer than {NUM_FILES[1]} MIDI files; name more")
    return Axis("files to prepare", contestants)


def exponents(sizes: Sequence[int], costs: Sequence[float]) -> np.ndarray:
    """Of the cost as a power of the size, between each size and the next."""
    return np.diff(np.log(costs)) / np.diff(np.log(sizes))


def table(curve: Curve) -> str:
    """Seconds, their exponents and the memory of each size, as Markdown."""
    rows = (
        (curve.axis.name, [f"{size:,}" for size in curve.sizes]),
        ("---", ["---"] * len(curve.sizes)),
        ("seconds", [f"{value:.3g}" for value in curve.seconds]),
        ("exponent", ["", *(f"{x:.2f}" for x in exponents(curve.sizes, curve.seconds))]),
        ("peak MB", [f"{value:,.0f}" for value in curve.megabytes]),
    )
    return "\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """A panel for the seconds of each axis, and one for the memory by length."""
    remat = next(curve for curve in curves if curve.axis.name.endswith("remat"))
    plain = next(curve for curve in curves if remat.axis.name.startswith(curve.axis.name))
    timed = [curve for curve in curves if curve is not remat]
    rows = -(-(len(timed) + 1) // COLUMNS)
    figure = Figure((COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1]), layout="constrained")
    panels = [figure.add_subplot(rows, COLUMNS, index + 1) for index in range(len(timed) + 1)]
    for panel, curve in zip(panels, timed, strict=False):
        _draw_panel(panel, curve, [("measured", curve.seconds)], "seconds")
    memory = [("measured", plain.megabytes), ("with remat", remat.megabytes)]
    _draw_panel(panels[-1], plain, memory, "peak MB")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), frameon=False)
    with atomic.new_file(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _draw_panel(
    panel: Axes, curve: Curve, lines: Sequence[tuple[str, Sequence[float]]], unit: str
) -> None:
    """Costs over sizes, and how the expected power would have led to the first line's last cost."""
    last_size, last_cost = curve.sizes[-1], lines[0][1][-1]
    expected = [last_cost * (size / last_size) ** curve.axis.power for size in curve.sizes]
    power = {0: "constant", 1: "in proportion", 2: "in proportion to the square"}[curve.axis.power]
    panel.plot(curve.sizes, expected, "--", color=REFERENCE)
    for (label, costs), colour in zip(lines, LINE, strict=False):
        panel.plot(curve.sizes, costs, "o-", color=colour, label=label, markersize=4)
    panel.set(xscale="log", yscale="log", xlabel=curve.axis.name, ylabel=unit)
    panel.set_title(f"dashed: {power}", fontsize=8, color=REFERENCE, loc="left")
    panel.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes])
    lowest, highest = panel.get_ylim()
    panel.set_ylim(min(lowest, highest / DECADE), 1.1 * highest)
    panel.minorticks_off()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    benchmark.run(measure, __doc__)
