"""How long `midijax.sample` takes from its process's start to its end, and what takes that long.

An untrained model of the paper's size (413 events, 3 x 512) plays 30 seconds, about as densely as
pianists do, into a MIDI file, a picture and a JSON file. On a first run everything is compiled, on
a second it comes from the compile cache. Then `midijax.train` with the paper's config, to the end
of its first step. Quiet the machine first.

    python experiments/benchmarks/start_up.py
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import benchmark
import jax
import jax.numpy as jnp
import turns
from turns import Contestant, Result

from midijax import config_flags, model, progress
from midijax.run_checkpoints import Checkpoints
from midijax.train_step import TrainState

EXPERIMENT = Path(__file__).parent.parent / "oore2018.py"
STAGES = Path(__file__).parent / "stages.py"
LONGEST_SHIFT = 45  # time-steps; longer ones are made unlikely, or an untrained model is too slow
UNLIKELY = -20.0  # nats
Stages = dict[str, float]  # median seconds of each


def measure() -> benchmark.Report:
    """The whole of `sample`, then both commands' stages; each on its first and its second run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save_model(folder / "model")
        prepare = [sys.executable, "-m", "midijax.prepare", f"--output_dir={folder / 'etudes'}"]
        subprocess.run(prepare, check=True, capture_output=True)
        sample = [
            f"--workdir={folder / 'model'}",
            f"--output_dir={folder / 'music'}",
            "--seed=0",
            "--num_performances=1",
            "--seconds=30",
        ]
        train = [
            f"--workdir={folder / 'run'}",
            f"--data={folder / 'etudes'}",
            f"--config={EXPERIMENT}",
        ]
        results = turns.run(
            _contestants(sample, folder), benchmark.NUM_ROUNDS.value, benchmark.environment()
        )
        (facts,) = (json.loads(path.read_text()) for path in (folder / "music").glob("*.json"))
        stages = {
            command: _stages(command, arguments, folder)
            for command, arguments in (("sample", sample), ("train", train))
        }
    played = f"{facts['events']:,} events, {facts['notes']:,} notes, {facts['seconds']:g} s"
    markdown = [
        f"midijax.sample: {played}\n\n{_whole_table(results)}",
        f"Where its time goes, seconds\n\n{_stages_table(*stages['sample'])}",
        f"midijax.train to the end of its first step, seconds\n\n{_stages_table(*stages['train'])}",
    ]
    figures = {"played": facts, "stages": stages, "sample": [one._asdict() for one in results]}
    return benchmark.Report("\n\n".join(markdown), figures)


def _save_model(workdir: Path) -> None:
    config = config_flags.load(EXPERIMENT)
    network = model.from_config(config)
    params = jax.jit(lambda key: model.init(network, key))(jax.random.key(0))
    long_shifts = config.vocabulary.shift_base + jnp.arange(
        LONGEST_SHIFT, config.vocabulary.max_shift_steps
    )
    params["head"]["bias"] = params["head"]["bias"].at[long_shifts].set(UNLIKELY)
    checkpoints = Checkpoints(workdir, config, corpus="none")
    state = TrainState(params, {"count": jnp.zeros(())}, network.initial_carry(1))
    checkpoints.save(1, state, position={})
    checkpoints.close()


def _contestants(sample: Sequence[str], folder: Path) -> list[Contestant]:
    command = ["-m", "midijax.sample", *sample]
    return [
        Contestant("second run", "command.py", {"command": command, "cache": str(folder / "kept")}),
        Contestant("first run", "command.py", {"command": command, "cache": None}),
    ]


def _stages(command: str, arguments: Sequence[str], folder: Path) -> tuple[Stages, Stages]:
    """Of the first run, whose compile cache is empty, and of the second."""
    first, second = [], []
    for _ in progress.bar(range(benchmark.NUM_ROUNDS.value), desc=command, leave=False):
        shutil.rmtree(folder / "cache", ignore_errors=True)
        first.append(_run_stages(command, arguments, folder))
        second.append(_run_stages(command, arguments, folder))
    return _medians(first), _medians(second)


def _run_stages(command: str, arguments: Sequence[str], folder: Path) -> Stages:
    time.sleep(turns.PAUSE_SECONDS)
    output = folder / "seconds.json"
    settings = {
        "command": command,
        "arguments": arguments,
        "output": str(output),
        "started": time.time(),
    }
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    program = [sys.executable, str(STAGES), json.dumps(settings)]
    subprocess.run(program, check=True, env=environment, stdout=subprocess.DEVNULL)
    return json.loads(output.read_text())


def _medians(runs: Sequence[Stages]) -> Stages:
    return {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}


def _whole_table(results: Sequence[Result]) -> str:
    lines = ["| | seconds | fastest to slowest | cores | peak MB |", "|---|---|---|---|---|"]
    for one in results:
        lines.append(
            f"| {one.name} | {1 / one.units_per_second:.2f} "
            f"| {1 / one.fastest:.2f} to {1 / one.slowest:.2f} "
            f"| {one.processor_share:.2f} | {one.peak_bytes / 1e6:,.0f} |"
        )
    return "\n".join(lines)


def _stages_table(first: Stages, second: Stages) -> str:
    lines = ["| | first run | second run |", "|---|---|---|"]
    lines += [f"| {stage} | {first[stage]:.3f} | {second[stage]:.3f} |" for stage in first]
    totals = sum(first.values()), sum(second.values())
    return "\n".join([*lines, "| **together** | {:.3f} | {:.3f} |".format(*totals)])


if __name__ == "__main__":
    benchmark.run(measure, __doc__)
