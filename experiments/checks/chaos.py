"""Kills a training run again and again, and holds what comes of it against an unbroken run.

Each kill waits for a moment of its kind (while the corpus is prepared, at the start, between
steps, in the middle of saving, in the middle of an evaluation) and comes as SIGKILL, or, with
--signal=TERM, as the request to stop that clouds send. The run is then started again by the same
command. In the end the prepared corpora must be equal byte for byte, as must the losses, the
scores, the samples, the parameters, the optimizer's state and the position in the data:

    python experiments/checks/chaos.py --num_kills=20

The exit code is 1 if anything differs. Everything is written to a temporary folder.
"""

import collections
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from midijax import cli, config, config_flags, input_pipeline, model, train_step
from midijax.errors import UserError
from midijax.run_checkpoints import Checkpoints
from midijax.stopping import TRY_AGAIN

FLAGS = flags.FlagValues()
_NUM_KILLS = flags.DEFINE_integer(
    "num_kills", 20, "How often to kill, in turns at each kind of moment.", 1, flag_values=FLAGS
)
_SIGNAL = flags.DEFINE_enum(
    "signal", "KILL", ["KILL", "TERM", "INT"], "How to kill.", flag_values=FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Draws the moments.", flag_values=FLAGS)

ASSIGNMENTS = [
    "--config.model.hidden_size=32",
    "--config.model.dropout_rate=0.2",
    "--config.eval_every_steps=30",
    "--config.checkpoint_every_steps=10",
    "--config.log_every_steps=1",
    "--config.sample_seconds=1",
]
STEPS_PER_KILL = 30
TIMING = ("time", "events_per_second")  # of a line of metrics, never the same twice
POLL_SECONDS = 0.0005


def main(arguments: list[str]) -> int:
    """Breaks one run and not the other, and prints what was done and what differs."""
    cli.reject(arguments, FLAGS)
    with tempfile.TemporaryDirectory() as folder:
        kills, differences = check(
            Path(folder), _NUM_KILLS.value, f"SIG{_SIGNAL.value}", _SEED.value
        )
    for (moment, outcome), count in sorted(kills.items()):
        print(f"{count:4} x {_SIGNAL.value} {moment}: {outcome}")
    print(f"{sum(kills.values())} kills; differing: {', '.join(differences) or 'nothing'}")
    return int(bool(differences))


def check(
    folder: Path, num_kills: int, signal_name: str, seed: int
) -> tuple[collections.Counter[tuple[str, str]], list[str]]:
    """Counts kills by (moment, how the process ended), and names what differs in the end."""
    rng, number = random.Random(seed), signal.Signals[signal_name]
    kills: collections.Counter[tuple[str, str]] = collections.Counter()
    broken, whole = folder / "broken", folder / "whole"
    assignments = [*ASSIGNMENTS, f"--config.num_steps={STEPS_PER_KILL * (num_kills + 2)}"]
    moments = sorted(list(MOMENTS)[index % len(MOMENTS)] for index in range(num_kills))
    for index, name in enumerate(moments):
        if name == PREPARING:
            shutil.rmtree(broken / "data", ignore_errors=True)  # whole before the kill came
        elif not (broken / "data").exists():
            _finish(_prepare(broken))
        command = _prepare(broken) if name == PREPARING else _train(broken, assignments)
        outcome = _kill(command, MOMENTS[name](broken, rng), number)
        print(f"kill {index + 1} of {num_kills}, {name}: {outcome}", file=sys.stderr)
        kills[name, outcome] += 1
    _finish(_train(broken, assignments))
    _finish(_prepare(whole))
    _finish(_train(whole, assignments))
    return kills, _differences(broken, whole, assignments)


def _prepare(folder: Path) -> list[str]:
    return [sys.executable, "-m", "midijax.prepare", f"--output_dir={folder / 'data'}"]


def _train(folder: Path, assignments: list[str]) -> list[str]:
    where = [f"--workdir={folder / 'run'}", f"--data={folder / 'data'}"]
    return [sys.executable, "-m", "midijax.train", *where, *assignments]


def _finish(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"{' '.join(command)} failed: {result.stderr}")


def _kill(command: list[str], has_come: Callable[[], bool], number: signal.Signals) -> str:
    """Starts the command, kills it when the moment has come, and says how it ended."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not has_come():
            time.sleep(POLL_SECONDS)
        process.send_signal(number)
        _, errors = process.communicate()
    if process.returncode in (-number, TRY_AGAIN, cli.INTERRUPTED):
        return f"ended with {process.returncode}"
    raise UserError(f"{' '.join(command)} ended with {process.returncode}: {errors}")


def _while_preparing(folder: Path, rng: random.Random) -> Callable[[], bool]:
    return _after(rng.uniform(0, 0.2), lambda: any(folder.glob(".data*")))


def _at_the_start(_: Path, rng: random.Random) -> Callable[[], bool]:
    return _after(rng.uniform(0, 3), lambda: True)


def _between_steps(folder: Path, rng: random.Random) -> Callable[[], bool]:
    started, wanted = time.time(), rng.randint(1, 20)
    path = folder / "run" / "metrics.jsonl"

    def has_come() -> bool:
        if not path.exists() or path.stat().st_mtime < started:
            return False
        return path.read_bytes().count(b"\n") >= first + wanted

    first = path.read_bytes().count(b"\n") if path.exists() else 0
    return has_come


def _while_saving(folder: Path, rng: random.Random) -> Callable[[], bool]:
    return _after(rng.uniform(0, 0.03), (folder / "run" / ".saving").exists)


def _while_evaluating(folder: Path, rng: random.Random) -> Callable[[], bool]:
    started = time.time()

    def has_begun() -> bool:
        samples = (folder / "run" / "samples").glob("*.png")
        return any(path.stat().st_mtime > started for path in samples)

    return _after(rng.uniform(0, 0.1), has_begun)


def _after(seconds: float, event: Callable[[], bool]) -> Callable[[], bool]:
    """A moment this long after the event."""
    seen: list[float] = []

    def has_come() -> bool:
        if not seen and event():
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= seconds

    return has_come


PREPARING = "before the end of preparation"  # the first in the alphabet: comes before training
MOMENTS = {
    PREPARING: _while_preparing,
    "in an evaluation": _while_evaluating,
    "in the start": _at_the_start,
    "in the steps": _between_steps,
    "in saving": _while_saving,
}


def _differences(ours: Path, theirs: Path, assignments: list[str]) -> list[str]:
    """What two finished runs do not have in common."""
    chosen = config_flags.override(config.TINY, assignments)
    state = train_step.initial_state(chosen, model.from_config(chosen), train_step.data_mesh())
    found = []
    for part, content in {
        "prepared corpus": lambda folder: _contents(folder / "data"),
        "samples": lambda folder: _contents(folder / "run" / "samples"),
        "losses and scores": lambda folder: _metrics(folder / "run" / "metrics.jsonl"),
        "parameters, optimizer and position": lambda folder: _saved(folder, chosen, state),
    }.items():
        if content(ours) != content(theirs):
            found.append(part)
    return found


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: line[name] for name in line if name not in TIMING} for line in lines]


def _saved(folder: Path, chosen: config.Config, state: train_step.TrainState) -> Any:
    """The last checkpoint: its step, position, and arrays as bytes."""
    corpus = input_pipeline.fingerprint(folder / "data")
    checkpoints = Checkpoints(folder / "run", chosen, corpus)
    restored = checkpoints.restore(state)
    checkpoints.close()
    assert restored is not None
    arrays = jax.tree.map(lambda x: np.asarray(x).tobytes(), restored.state)
    return restored.step, restored.position, jax.tree.leaves(arrays)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
