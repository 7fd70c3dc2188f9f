"""experiments/trials/trial.py."""

import re

import trial
from commands import run_prepare

from midijax import corpus, etudes
from midijax.corpus import Recording

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
        scores.append((float(row[3]), float(row[4])))
    (held_out, heard), (held_out_later, heard_later) = scores
    assert held_out_later < held_out - 0.5 and heard_later < heard - 0.5
    assert heard_later != held_out_later


def test_a_corpus_without_validation_is_refused_before_it_is_trained_on(
    tmp_path, experiments, run_command
):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(4)]
    corpus.write(tmp_path / "corpus", {"train": recordings})
    flags = [f"--data={tmp_path / 'corpus'}", f"--config={experiments / 'tiny.py'}", *SMALL]
    code, _, errors = run_command(trial, *flags, "--events=0.01")
    assert code == 2 and "has no validation split" in errors and "training" not in errors


def test_the_data_must_be_named(run_command):
    code, _, errors = run_command(trial)
    assert code == 2 and "--data" in errors
