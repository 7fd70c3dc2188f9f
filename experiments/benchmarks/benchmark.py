"""The frame of every benchmark: its flags, the environment of its contestants, its report."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import machine
from absl import flags

from midijax import atomic, cli

FLAGS = flags.FlagValues()
_JSON = flags.DEFINE_string("json", None, "File to write all figures to.", flag_values=FLAGS)
PEERS_PYTHON = flags.DEFINE_string(
    "peers_python",
    None,
    "Python of an environment with `pip install -r experiments/benchmarks/peers.txt`; without it "
    "midijax runs alone.",
    flag_values=FLAGS,
)
NUM_ROUNDS = flags.DEFINE_integer(
    "num_rounds", 7, "Turns of each contestant.", lower_bound=1, flag_values=FLAGS
)


class Report(NamedTuple):
    """What a benchmark found: Markdown for people, figures for programs."""

    markdown: str
    figures: dict[str, Any]


def run(measure: Callable[[], Report], doc: str) -> None:
    """Runs `measure` as a command that prints its report, headed by the machine."""

    def main(arguments: list[str]) -> None:
        cli.reject(arguments, FLAGS)
        report = measure()
        print(f"{machine.describe()}\n\n{report.markdown}")
        if _JSON.value:
            figures = {"machine": machine.describe(), **report.figures}
            atomic.write_text(cli.path(_JSON.value), json.dumps(figures, indent=2) + "\n")

    cli.run(main, FLAGS, doc)


def environment() -> dict[str, str]:
    """What contestants inherit: this process's environment, and no word from TensorFlow."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def copy_files(paths: Sequence[Path], folder: Path) -> str:
    """Copies MIDI files, numbered in their order, to a folder, made if need be: its name."""
    folder.mkdir(exist_ok=True)
    for index, path in enumerate(paths):
        shutil.copyfile(path, folder / f"{index:04}.mid")
    return str(folder)
