"""Metrics as JSON lines, and for TensorBoard where tensorboardX is installed."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

from midijax import atomic
from midijax.errors import UserError
from midijax.log import JsonLines


class MetricWriter:
    """Appends one line per call to `metrics.jsonl` in a workdir."""

    def __init__(self, workdir: Path, first_step: int):
        """Opens the file, less the lines past `first_step` that a stopped run left behind.

        A last line that was torn is dropped; UserError names any other that is damaged.
        """
        path = workdir / "metrics.jsonl"
        atomic.write_text(path, "".join(_lines_up_to(path, first_step)))
        self._lines = JsonLines(path)
        self._tensorboard = _tensorboard(workdir / "tensorboard", first_step)

    def write(self, step: int, **values: float) -> None:
        """Appends the values, null for those that are not finite, as JSON knows no others."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._lines.write(step, **(dict.fromkeys(values) | finite))
        if self._tensorboard:
            for name, value in finite.items():
                self._tensorboard.add_scalar(name, value, step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        if self._tensorboard:
            self._tensorboard.close()


def _lines_up_to(path: Path, last_step: int) -> list[str]:
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")  # the last is empty, or torn by a kill
    steps = [_step(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    return [
        f"{line.decode()}\n" for line, step in zip(lines, steps, strict=True) if step <= last_step
    ]


def _step(line: bytes, place: str) -> int:
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        step = None
    if type(step) is not int:
        raise UserError(f"{place}: no JSON object with a whole 'step'; mend or delete that line")
    return step


def _tensorboard(folder: Path, first_step: int) -> Any:
    if importlib.util.find_spec("tensorboardX") is None:
        return None
    import tensorboardX

    return tensorboardX.SummaryWriter(str(folder), purge_step=first_step + 1)
