"""experiments/baselines/untrained.py."""

import json
import math

import pytest
import untrained
from commands import run_prepare

from midijax.events import PERFORMANCE_RNN

PLAIN = [
    "--config.model.num_layers=2",
    "--config.model.hidden_size=8",
    "--config.model.residual=false",
]


def test_a_network_that_has_learned_nothing_guesses_blindly(tmp_path, experiments, run_command):
    run_prepare(f"--output_dir={tmp_path / 'corpus'}")
    flags = [f"--data={tmp_path / 'corpus'}", f"--config={experiments / 'performance_rnn.py'}"]
    code, _, errors = run_command(untrained, *flags, *PLAIN, f"--json={tmp_path / 'scores.json'}")
    assert code == 0, errors
    told = json.loads((tmp_path / "scores.json").read_text())
    for protocol in ("whole", "crops"):
        blindly = math.log(PERFORMANCE_RNN.size)
        assert told[protocol]["nats_per_event"] == pytest.approx(blindly, abs=0.1)
    code, _, errors = run_command(untrained, *flags, "--config.vocabulary.num_velocity_bins=0")
    assert code == 2 and "has other events" in errors
