"""Contestants timed in turn, round after round, so that a busy spell of the machine meets them all.

A contestant is a program of the folder `contestants`, kept running between its turns.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midijax import progress

CONTESTANTS = Path(__file__).parent / "contestants"
PAUSE_SECONDS = 0.5  # in which the threads of the last contestant come to rest


class Contestant(NamedTuple):
    """A program to be timed.

    Attributes:
      name: what the table calls it.
      script: its file's name in `contestants`.
      settings: what it is given, as JSON.
      python: the interpreter of its environment.
      environment: variables added to its environment.
    """

    name: str
    script: str
    settings: Mapping[str, Any]
    python: str = sys.executable
    environment: Mapping[str, str] = {}


class Result(NamedTuple):
    """What a contestant's turns came to, the first (compilation, caches) left out.

    Attributes:
      name: the contestant's.
      units_per_turn: how many a turn gets done.
      units_per_second: the median turn's.
      slowest, fastest: units per second of the slowest and the fastest turn.
      ratio: the first contestant's seconds per unit in a round over this one's there, the median:
        how many times as fast as the first one this one is.
      processor_share: processor seconds per second, the median.
      peak_bytes: most resident memory, compilation and libraries included.
    """

    name: str
    units_per_turn: int
    units_per_second: float
    slowest: float
    fastest: float
    ratio: float
    processor_share: float
    peak_bytes: int


def run(contestants: Sequence[Contestant], num_rounds: int, environment: dict) -> list[Result]:
    """Gives each contestant a turn, then the next round; results in the contestants' order.

    `environment` is the processes' whole environment but for each contestant's own variables. A
    contestant that fails ends the benchmark with what it said.
    """
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_started(one, environment)) for one in contestants]
        rounds = [
            [_turn(process) for process in processes]
            for _ in progress.bar(range(num_rounds + 1), desc="rounds", leave=False)
        ]
    return _results([one.name for one in contestants], rounds[1:])


def table(results: Sequence[Result], unit: str) -> str:
    """The results as Markdown."""
    lines = [
        f"| program | {unit}/s | slowest to fastest | times {results[0].name} | cores | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        spread = f"{one.slowest:,.0f} to {one.fastest:,.0f}"
        lines.append(
            f"| {one.name} | {one.units_per_second:,.0f} | {spread} | {one.ratio:.2f} "
            f"| {one.processor_share:.2f} | {one.peak_bytes / 1e6:,.0f} |"
        )
    return "\n".join(lines)


@contextlib.contextmanager
def _started(contestant: Contestant, environment: dict) -> Iterator[subprocess.Popen]:
    script = str(CONTESTANTS / contestant.script)
    command = [contestant.python, script, json.dumps(contestant.settings)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**environment, **contestant.environment},
    )
    with process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]


def _turn(process: subprocess.Popen) -> dict[str, float]:
    time.sleep(PAUSE_SECONDS)
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a contestant failed, see above: {process.args!r}")
    return json.loads(line)


def _results(names: Sequence[str], rounds: Sequence[Sequence[dict[str, float]]]) -> list[Result]:
    results = []
    for index, name in enumerate(names):
        turns = [turns[index] for turns in rounds]
        speeds = [turn["units"] / turn["seconds"] for turn in turns]
        firsts = [turns[0]["units"] / turns[0]["seconds"] for turns in rounds]
        results.append(
            Result(
                name,
                int(turns[0]["units"]),
                statistics.median(speeds),
                min(speeds),
                max(speeds),
                statistics.median(map(lambda s, f: s / f, speeds, firsts)),
                statistics.median(turn["processor_seconds"] / turn["seconds"] for turn in turns),
                int(max(turn["peak_bytes"] for turn in turns)),
            )
        )
    return results
