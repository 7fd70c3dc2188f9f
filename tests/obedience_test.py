"""The checks of what was asked and of what goes on from a primer, on untrained models."""

import json

import numpy as np
import pytest

from midijax import corpus, etudes
from midijax.config import Config, ModelConfig
from midijax.controls import LOUDNESS, NOTES_PER_SECOND, PITCH_CLASSES, Controls
from midijax.corpus import Recording
from midijax.events import PERFORMANCE_RNN
from midijax.performance import NOTE_DTYPE, Performance

CONFIG = Config(
    vocabulary=PERFORMANCE_RNN,
    controls=Controls(enabled=True),
    model=ModelConfig(num_layers=1, hidden_size=16),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, save_run):
    return save_run(tmp_path_factory.mktemp("untrained"), CONFIG)


def test_what_is_got_is_measured_over_the_whole(check):
    notes = np.array([(0, 1, 60, 40), (1, 9, 67, 80), (2, 2.5, 72, 60)], NOTE_DTYPE)
    got = check("obedience").measure(Performance(notes), seconds=6.0)
    assert got[NOTES_PER_SECOND] == 0.5 and got[LOUDNESS] == 60
    assert got[PITCH_CLASSES] == [1.5, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]


def test_every_control_is_asked_for_alone_and_with_the_others(
    check, workdir, tmp_path, run_command
):
    path = tmp_path / "pairs.json"
    code, out, err = run_command(
        check("obedience"),
        *(f"--workdir={workdir}", "--num_samples=3", "--seconds=2", f"--json={path}"),
    )
    assert code == 0, err
    assert out.count("correlation") == 4 and out.count("cosine") == 2
    pairs = json.loads(path.read_text())
    asked = [density for density, _ in pairs[f"all together: {NOTES_PER_SECOND}"]]
    assert sorted(asked) == [2, 10, 18] and len(pairs) == 6


def test_the_pianist_and_the_model_go_on_from_each_performance(
    check, workdir, tmp_path, run_command
):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(2)]
    corpus.write(tmp_path / "data", {"validation": recordings})
    flags = (f"--workdir={workdir}", f"--data={tmp_path / 'data'}", "--seconds=2")
    code, out, err = run_command(check("priming"), *flags, "--primer_seconds=3")
    assert code == 0, err
    rows = [line.split(" | ") for line in out.splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == list(check("priming").GOES_ON)
    assert all(0 <= float(row[1]) <= 1 for row in rows)


def test_an_excerpt_goes_on_where_the_primer_ends(check):
    priming = check("priming")
    if not priming.FLAGS.is_parsed():
        priming.FLAGS.mark_as_parsed()
    onsets = np.arange(1.0, 60.0)
    notes = np.zeros(len(onsets), NOTE_DTYPE)
    notes["onset"], notes["offset"], notes["pitch"], notes["velocity"] = onsets, onsets + 1, 60, 60
    after = priming.excerpt(Performance(notes)).notes
    assert after["onset"].tolist() == np.arange(0.0, 20.0).tolist()
