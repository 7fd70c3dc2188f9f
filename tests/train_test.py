"""The command as users run it: in a process of its own, killed, resumed, misused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from midijax import checkpoint, cli, train

QUICK = [
    "--config.model.hidden_size=8",
    "--config.model.dropout_rate=0.2",
    "--config.data.batch_size=8",
    "--config.data.sequence_length=16",
    "--config.num_steps=60",
    "--config.eval_every_steps=60",
    "--config.checkpoint_every_steps=10",
    "--config.log_every_steps=1",
    "--config.sample_seconds=1",
]


def command(workdir, *arguments):
    return [sys.executable, "-m", "midijax.train", f"--workdir={workdir}", *QUICK, *arguments]


def run(workdir, *arguments, **environment):
    return subprocess.run(
        command(workdir, *arguments),
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )


def losses(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def start(workdir, *arguments):
    return subprocess.Popen(
        command(workdir, *arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def wait_for_losses(workdir):
    while not (workdir / "metrics.jsonl").exists() or not losses(workdir):
        time.sleep(0.01)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    result = run(workdir)
    assert result.returncode == 0, result.stderr
    return workdir


def test_what_a_run_begins_with_is_told_once(unbroken, tmp_path):
    arguments = [f"--start_from={unbroken}", "--config.num_steps=10"]
    told = [run(tmp_path / "run", *arguments) for _ in range(2)]
    sentence = f"It begins with what {unbroken} has learned."
    assert [(each.returncode, sentence in each.stdout) for each in told] == [(0, True), (0, False)]


def test_killed_wherever_it_is_and_started_again_it_is_the_run_never_killed(check, tmp_path):
    kills, differences = check("chaos").check(tmp_path, 5, "SIGKILL", seed=1)
    assert kills.total() == 5 and {outcome for _, outcome in kills} == {"ended with -9"}
    assert not differences


def test_a_workdir_is_for_one_run_at_a_time(run_command, tmp_path):
    with start(tmp_path) as process:
        wait_for_losses(tmp_path)
        code, _, errors = run_command(train, f"--workdir={tmp_path}", *QUICK)
        process.kill()
    assert code == cli.BAD_INPUT
    assert f"is in use by another run (process {process.pid} on" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("request_to_stop", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_that_very_step_and_goes_on_later(
    unbroken, tmp_path, request_to_stop
):
    never_between = "--config.checkpoint_every_steps=60"
    with start(tmp_path, never_between) as process:
        wait_for_losses(tmp_path)
        process.send_signal(request_to_stop)
        printed = process.communicate()[0]
    assert process.returncode == 75
    step = max(losses(tmp_path))
    assert f"Stopped and saved at step {step};" in printed and 1 <= step < 60
    resumed = run(tmp_path, never_between)
    assert resumed.returncode == 0 and f"from step {step} to 60" in resumed.stdout
    assert losses(tmp_path) == losses(unbroken)


def test_eight_devices_give_the_losses_of_one_and_one_loads_what_they_saved(unbroken, tmp_path):
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    count_devices = [sys.executable, "-c", "import jax; print(jax.device_count())"]
    assert subprocess.check_output(count_devices, env=os.environ | environment) == b"8\n"
    result = run(tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    ours, theirs = losses(tmp_path), losses(unbroken)
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3)
    assert checkpoint.load(tmp_path).step == 60


def test_the_workdir_explains_itself(unbroken):
    assert json.loads((unbroken / "config.json").read_text())["model"]["hidden_size"] == 8
    assert {"jax", "flax", "midijax"} <= json.loads((unbroken / "versions.json").read_text()).keys()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data=/nowhere"], "not a prepared corpus"),
        (["--config=/nowhere.py"], "is no file"),
        (["--config.model.hiden_size=8"], "did you mean config.model.hidden_size?"),
        (["--config.seed=x"], "'x' is not a whole number"),
        (["--config.data.batch_size=0"], "data.batch_size=0 must be from 1"),
        (["--workdir=/dev/null/x"], "cannot be written to: Not a directory"),
        (["somewhere"], "unknown argument 'somewhere'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run_command, tmp_path, arguments, sentence):
    code, _, errors = run_command(train, f"--workdir={tmp_path / 'run'}", *QUICK, *arguments)
    assert code == cli.BAD_INPUT
    assert sentence in errors and errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_config_in_the_home_folder_is_found(run_command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text("1 / 0")
    code, _, errors = run_command(train, "--workdir=~/run", "--config=~/mine.py")
    assert code == cli.BAD_INPUT
    assert f"{tmp_path / 'mine.py'}: ZeroDivisionError" in errors


def test_another_config_is_refused_by_name(run_command, unbroken):
    arguments = [f"--workdir={unbroken}", *QUICK, "--config.seed=5"]
    code, _, errors = run_command(train, *arguments)
    assert code == cli.BAD_INPUT
    assert "seed: 5 here, 0 there" in errors
