"""experiments/trials/trial.py."""

import re

import trial
from commands import run_prepare

SMALL = [
    "--config.model.hidden_size=16",
    "--config.data.batch_size=4",
    "--config.data.sequence_length=32",
    "--config.data.num_streams=8",
    "--config.optimizer.warmup_steps=5",
]


def test_a_longer_trial_of_what_is_asked_scores_better(tmp_path, experiments, run_command):
    run_prepare(f"--output_dir={tmp_path / 'corpus'}")
    flags = [f"--data={tmp_path / 'corpus'}", f"--config={experiments / 'tiny.py'}", *SMALL]
    scores = []
    for events in (0.01, 0.1):
        code, told, errors = run_command(trial, *flags, f"--events={events}")
        assert code == 0, errors
        row = re.fullmatch(r"\| `(.+)` \| (.+) M \| (.+) \| (.+) \|", told.splitlines()[-1])
        assert row[1] == " ".join(SMALL).replace("--config.", "")
        assert abs(float(row[2]) - events) <= 0.001
        scores.append(float(row[3]))
    assert scores[1] < scores[0] - 0.5


def test_the_data_must_be_named(run_command):
    code, _, errors = run_command(trial)
    assert code == 2 and "--data" in errors
