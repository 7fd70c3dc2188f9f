"""Several real processes over loopback: one run, handed from one layout to another."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from midijax import cli, corpus, distributed, etudes, evaluate, sample, train
from midijax.config import Config, ModelConfig
from midijax.events import PERFORMANCE_RNN
from midijax.stopping import TRY_AGAIN

NUM_STEPS = 40
CONFIG = {
    "model.num_layers": 1,
    "model.hidden_size": 8,
    "model.dropout_rate": 0.2,
    "data.batch_size": 8,
    "data.sequence_length": 16,
    "data.num_streams": 16,
    "num_steps": NUM_STEPS,
    "eval_every_steps": NUM_STEPS,
    "checkpoint_every_steps": 5,
    "log_every_steps": 1,
    "sample_seconds": 1,
}
SLOWLY = 0.1  # seconds a step, where a signal is to come in time
PROGRAM = """
import json, os, sys, time
from midijax import cli, distributed, input_pipeline, train

batches = input_pipeline.training_batches

class Noted:
    def __init__(self, *args):
        self._batches = batches(*args)
    def __getattr__(self, name):
        return getattr(self._batches, name)
    def __next__(self):
        batch = next(self._batches)
        time.sleep(float(os.environ["SECONDS_PER_STEP"]))
        with open(os.environ["NOTES"], "a") as notes:
            print(json.dumps(batch.targets_BxT.tolist()), file=notes)
        return batch

input_pipeline.training_batches = Noted
distributed.HEARTBEAT_SECONDS, distributed.JOIN_SECONDS = 10, int(os.environ["JOIN_SECONDS"])
cli.run(train.main, train.FLAGS, train.__doc__)
"""


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def flags_for(index, count, port):
    place = (f"--coordinator_address=localhost:{port}", f"--num_processes={count}")
    return [*place, f"--process_id={index}"]


class Leg:
    """Processes that take the run in `workdir` a part of its way, noting each batch."""

    def __init__(self, workdir, data, name, processes=1, devices=1, slowly=False, join_seconds=60):
        port = free_port()
        self._notes = [workdir.with_name(f"{name}-{index}") for index in range(processes)]
        config = [f"--config.{field}={value}" for field, value in CONFIG.items()]
        self.processes = []
        for index, notes in enumerate(self._notes):
            place = flags_for(index, processes, port) if processes > 1 else []
            environment = {
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "SECONDS_PER_STEP": str(SLOWLY if slowly else 0),
                "NOTES": str(notes),
                "JOIN_SECONDS": str(join_seconds),
            }
            folder = workdir.with_name(f"{name}-elsewhere") if index else workdir
            command = [sys.executable, "-c", PROGRAM, f"--workdir={folder}", f"--data={data}"]
            self.processes.append(
                subprocess.Popen(
                    [*command, *config, *place],
                    env=os.environ | environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )

    def signal_after(self, num_steps, process, number):
        while not self._notes[0].exists() or len(self._lines(self._notes[0])) < num_steps:
            assert self.processes[0].poll() is None, self.processes[0].communicate()[0]
            time.sleep(0.02)
        self.processes[process].send_signal(number)

    def end(self):
        """Exit codes and what was printed, of each; not later than 90 seconds from now."""
        with contextlib.ExitStack() as stack:
            for process in self.processes:
                stack.callback(process.kill)
            printed = [process.communicate(timeout=90)[0] for process in self.processes]
        return [process.returncode for process in self.processes], printed

    @property
    def batches(self):
        """The batches of all processes together, (steps, B, T)."""
        shares = [self._lines(notes) for notes in self._notes]
        steps = min(map(len, shares))
        return np.concatenate([np.array(share[:steps]) for share in shares], axis=1)

    @staticmethod
    def _lines(path):
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("]]")]


def losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def first_step(printed):
    return int(re.search(r"from step (\d+) to", printed)[1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "etudes"
    recordings = [corpus.Recording.of(name, etude) for name, etude in etudes.corpus(4)]
    corpus.write(folder, {"train": recordings[:3], "validation": recordings[3:]})
    return folder


def test_a_run_is_handed_from_layout_to_layout_and_stays_the_same(data, tmp_path):
    unbroken = Leg(tmp_path / "unbroken", data, "unbroken")
    codes, printed = unbroken.end()
    assert codes == [0], printed
    workdir = tmp_path / "run"

    two = Leg(workdir, data, "two", processes=2, slowly=True)
    two.signal_after(3, process=1, number=signal.SIGTERM)
    codes, printed = two.end()
    assert codes == [TRY_AGAIN, TRY_AGAIN], printed
    stopped_at = int(re.search(r"Stopped and saved at step (\d+);", printed[0])[1])
    assert "Stopped" not in printed[1] and "Training" not in printed[1]

    eight = Leg(workdir, data, "eight", devices=8, slowly=True)
    eight.signal_after(3, process=0, number=signal.SIGINT)
    codes, printed = eight.end()
    assert codes == [TRY_AGAIN], printed
    assert first_step(printed[0]) == stopped_at

    shot = Leg(workdir, data, "shot", processes=2, slowly=True)
    shot.signal_after(7, process=1, number=signal.SIGKILL)
    codes, printed = shot.end()
    assert codes[1] == -signal.SIGKILL and codes[0] not in (0, TRY_AGAIN), printed
    began_at = first_step(printed[0])

    one = Leg(workdir, data, "one")
    codes, printed = one.end()
    assert codes == [0], printed
    went_on_at = first_step(printed[0])
    assert began_at < went_on_at < NUM_STEPS

    kept = shot.batches[: went_on_at - began_at]
    batches = np.concatenate([two.batches, eight.batches, kept, one.batches])
    np.testing.assert_array_equal(batches, unbroken.batches)
    ours, theirs = losses(workdir), losses(tmp_path / "unbroken")
    assert list(ours) == list(theirs) == list(range(1, NUM_STEPS + 1))
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, save_run):
    config = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=1, hidden_size=8))
    return save_run(tmp_path_factory.mktemp("trained"), config)


@pytest.fixture
def run_by_two(run_command):
    """Runs a command alone and by two processes, each with its own output flag."""

    def run(command, flags, alone, together):
        port = free_port()
        line = [sys.executable, "-m", command.__name__, *flags, together]
        processes = [subprocess.Popen([*line, *flags_for(i, 2, port)]) for i in range(2)]
        assert run_command(command, *flags, alone)[0] == 0
        assert [process.wait(timeout=90) for process in processes] == [0, 0]

    return run


def test_two_processes_play_what_one_plays(run_by_two, trained, tmp_path):
    flags = [f"--workdir={trained}", "--num_performances=3", "--num_events=40", "--seed=1"]
    folders = [tmp_path / "alone", tmp_path / "together"]
    run_by_two(sample, flags, *(f"--output_dir={folder}" for folder in folders))
    alone, together = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders
    )
    assert len(alone) == 9 and together == alone


def test_two_processes_measure_what_one_measures(run_by_two, trained, data, tmp_path):
    flags = [f"--workdir={trained}", f"--data={data}", "--max_events=500"]
    files = [tmp_path / "alone.json", tmp_path / "together.json"]
    run_by_two(evaluate, flags, *(f"--json={file}" for file in files))
    alone, together = (json.loads(file.read_text()) for file in files)
    for protocol in ("whole", "crops"):
        assert together[protocol]["events"] == alone[protocol]["events"] == 500
        for ratio in ("nats_per_event", "accuracy"):
            assert together[protocol][ratio] == pytest.approx(alone[protocol][ratio], rel=1e-6)


def test_without_the_others_it_gives_up_and_says_so(data, tmp_path):
    leg = Leg(tmp_path / "run", data, "lonely", processes=2, join_seconds=2)
    leg.processes[1].kill()
    codes, printed = leg.end()
    assert codes == [TRY_AGAIN, -signal.SIGKILL]
    assert "not all processes met at localhost:" in printed[0]


@pytest.mark.parametrize("command", [train, sample, evaluate])
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--num_processes=2"], "--coordinator_address and --process_id missing"),
        (["--distributed", "--process_id=0"], "--distributed finds the other processes by itself"),
        (flags_for(0, 2, "x"), "must be HOST:PORT"),
        (flags_for(0, 0, 2000), "--num_processes=0 must be at least 1"),
        (flags_for(2, 2, 2000), "--process_id=2 must be from 0 to 1"),
    ],
)
def test_flags_that_name_no_place_are_told(run_command, tmp_path, command, flags, sentence):
    code, _, errors = run_command(command, f"--workdir={tmp_path}", *flags)
    assert code == cli.BAD_INPUT
    assert sentence in errors and errors.count("\n") == 1


def test_where_there_is_no_job_it_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "midijax.train", f"--workdir={tmp_path}", "--distributed"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == cli.BAD_INPUT
    assert "--distributed finds no job" in finished.stderr and finished.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_told(run_command, tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        flags = flags_for(0, 2, server.getsockname()[1])
        code, _, errors = run_command(train, f"--workdir={tmp_path}", *flags)
    assert code == cli.BAD_INPUT
    assert "cannot listen at port" in errors and errors.count("\n") == 1


def test_alone_there_is_nothing_to_join():
    alone = distributed.Processes()
    with alone.primary_first():
        assert alone.is_primary and distributed.from_primary({"seed": 7}) == {"seed": 7}
