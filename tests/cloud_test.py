"""The job files of experiments/cloud: they parse, start what exists, and go on when they should."""

import os
import re
import shlex
import socket
import subprocess
import sys

import pytest
import yaml
from commands import forget_flags

from midijax import cli, corpus, etudes, train
from midijax.stopping import TRY_AGAIN

CRASH = 134
SRUN = """#!/usr/bin/env bash
# Stands for Slurm: two tasks on this host, and the highest of their exit codes.
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" &
first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@"
second=$?
wait $first
first=$?
exit $((first > second ? first : second))
"""
GCLOUD = """#!/usr/bin/env bash
# Stands for the cloud: notes what is asked for, and answers from files.
echo "$*" >> calls
case "$*" in
  *describe*) cat state ;;
  *"create "*) echo ACTIVE > state ;;
  *"cat midijax/exit-code"*)
    head -n 1 codes
    sed -i 1d codes
    [[ -s states ]] && { head -n 1 states > state; sed -i 1d states; }
    true
    ;;
esac
"""


@pytest.fixture
def cloud(experiments):
    return experiments / "cloud"


def stub(folder, name, text):
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


def assert_starts_training(words):
    """The words of a start line: flags of train, given values that its flags take."""
    flags = [word for word in words if word.startswith("--")]
    assert "--distributed" in flags and len(flags) >= 4
    assert train.FLAGS(["train", *flags], known_only=True) == ["train"]
    forget_flags(train)


def commented_words(text, marker):
    """The words of the example in a script's head, from the line with `marker` on."""
    lines = [line.removeprefix("#").strip() for line in text.splitlines()]
    first = next(index for index, line in enumerate(lines) if marker in line)
    command = lines[first]
    while command.endswith("\\"):
        first += 1
        command = f"{command[:-1]} {lines[first]}"
    return shlex.split(command)


@pytest.mark.parametrize("name", ["slurm.sbatch", "tpu-vm.sh"])
def test_scripts_parse_and_their_start_line_is_a_real_one(cloud, name):
    text = (cloud / name).read_text()
    subprocess.run(["bash", "-n", cloud / name], check=True)
    assert "-m midijax.train --distributed " in text
    assert_starts_training(["--distributed", *commented_words(text, f"experiments/cloud/{name} ")])


def test_the_jobset_starts_training_and_ends_only_for_bad_input(cloud):
    jobset = yaml.safe_load((cloud / "gke-jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (hosts,) = jobset["spec"]["replicatedJobs"]
    job = hosts["template"]["spec"]
    assert job["parallelism"] == job["completions"] and job["completionMode"] == "Indexed"
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "midijax.train"]
    assert_starts_training(container["args"])
    assert job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
    disruption, exit_codes = job["podFailurePolicy"]["rules"]
    assert disruption["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert exit_codes["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "NotIn",
        "values": [cli.BAD_INPUT],
    }
    actions = {
        reason: rule["action"]
        for rule in jobset["spec"]["failurePolicy"]["rules"]
        for reason in rule["onJobFailureReasons"]
    }
    assert actions == {"BackoffLimitExceeded": "FailJobSet", "PodFailurePolicy": "RestartJobSet"}


def test_the_image_holds_what_the_jobset_names(cloud):
    text = (cloud / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (cloud.parent.parent / name).exists()


@pytest.fixture
def submit(cloud, tmp_path):
    """Runs slurm.sbatch as Slurm would; returns its process and whether it asked to go on."""

    def submit(*arguments, srun=SRUN, **environment):
        stub(tmp_path, "srun", srun)
        (tmp_path / "requeued").touch()
        stub(tmp_path, "scontrol", f'#!/bin/sh\necho "$@" >> {tmp_path / "requeued"}\n')
        with socket.create_server(("localhost", 0)) as server:
            job = server.getsockname()[1] % 4096  # from which JAX takes its port
        environment = (
            os.environ
            | environment
            | {
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "PYTHON": sys.executable,
                "SLURM_JOB_ID": str(job),
            }
        )
        finished = subprocess.run(
            ["bash", cloud / "slurm.sbatch", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        asked = (tmp_path / "requeued").read_text().splitlines()
        assert asked in ([], [f"requeue {job}"])
        return finished, bool(asked)

    return submit


def test_slurm_starts_one_run_in_all_its_tasks(submit, tmp_path):
    quick = {"model.hidden_size": 8, "data.batch_size": 4, "data.sequence_length": 16}
    steps = {"num_steps": 2, "eval_every_steps": 2, "checkpoint_every_steps": 2}
    config = [f"--config.{name}={value}" for name, value in (quick | steps).items()]
    recordings = [corpus.Recording.of(name, etude) for name, etude in etudes.corpus(2)]
    corpus.write(tmp_path / "data", {"train": recordings})
    folders = f"--workdir={tmp_path / 'run'}", f"--data={tmp_path / 'data'}"
    finished, requeued = submit(*folders, *config)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("Training in") == 1 and not requeued
    assert {path.name for path in (tmp_path / "run").glob("health-*")} == {
        "health-0.jsonl",
        "health-1.jsonl",
    }


@pytest.mark.parametrize(
    ("code", "restarts", "goes_on"),
    [
        (0, 0, False),
        (cli.BAD_INPUT, 0, False),
        (TRY_AGAIN, 0, True),
        (TRY_AGAIN, 500, True),
        (CRASH, 0, True),
        (CRASH, 500, False),
    ],
)
def test_slurm_goes_on_after_all_but_bad_input(submit, code, restarts, goes_on):
    finished, requeued = submit(srun=f"#!/bin/sh\nexit {code}\n", SLURM_RESTART_COUNT=str(restarts))
    assert requeued == goes_on
    assert finished.returncode == (0 if goes_on else code)


@pytest.fixture
def keep(cloud, tmp_path):
    """Runs `tpu-vm.sh keep` in an imagined cloud; returns its process and what it asked for.

    The states are those after each look at an exit code.
    """

    def keep(codes, states=()):
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        (tmp_path / "states").write_text("".join(f"{state}\n" for state in states))
        (tmp_path / "state").write_text("NONE\n")
        stub(tmp_path, "gcloud", GCLOUD)
        stub(tmp_path, "git", "#!/bin/sh\ntouch midijax.tar\n")
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SECONDS_BETWEEN_LOOKS": "0",
            **dict.fromkeys(("NAME", "ZONE", "TYPE", "RUNTIME"), "x"),
        }
        finished = subprocess.run(
            ["bash", cloud / "tpu-vm.sh", "keep", "--workdir=/shared/my run"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = (tmp_path / "calls").read_text()
        starts = r"-m midijax\.train --distributed --workdir=/shared/my\\ run "
        counts = {
            "created": len(re.findall("queued-resources create x", calls)),
            "deleted": len(re.findall("queued-resources delete x", calls)),
            "started": len(re.findall(starts, calls)),
        }
        return finished, counts

    return keep


def test_a_tpu_slice_is_kept_until_the_run_is_finished(keep):
    finished, counts = keep([TRY_AGAIN, CRASH, 0])
    assert finished.returncode == 0, finished.stderr
    assert counts == {"created": 1, "deleted": 0, "started": 3}


def test_a_tpu_slice_that_was_taken_away_is_made_anew(keep):
    finished, counts = keep(["", 0], states=["SUSPENDED", "ACTIVE"])
    assert finished.returncode == 0, finished.stderr
    assert counts == {"created": 2, "deleted": 1, "started": 2}


@pytest.mark.parametrize(
    ("codes", "started", "code"), [([cli.BAD_INPUT], 1, cli.BAD_INPUT), ([CRASH] * 9, 6, 1)]
)
def test_a_run_that_cannot_go_on_is_given_up(keep, codes, started, code):
    finished, counts = keep(codes)
    assert finished.returncode == code
    assert counts["started"] == started
