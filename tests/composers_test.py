"""experiments/checks/composers.py."""

import dataclasses

import numpy as np
import pytest

from midijax import corpus, etudes
from midijax.config import Config, ModelConfig
from midijax.controls import Controls
from midijax.corpus import Recording
from midijax.events import PERFORMANCE_RNN

NAMES = ("Bach", "Chopin")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, save_run):
    config = Config(
        vocabulary=PERFORMANCE_RNN,
        controls=Controls(enabled=True, composers=NAMES),
        model=ModelConfig(num_layers=1, hidden_size=16),
    )
    return save_run(tmp_path_factory.mktemp("untrained"), config)


def test_composers_are_told_by_what_differs_and_not_by_what_is_wide(check):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    features = rng.normal(0, (0.1, 3.0), (400, 2))
    features[:, 0] += labels
    discriminant = check("composers").Discriminant(features[:200], labels[:200])
    counts = discriminant.recognize(features[200:], labels[200:])
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(labels[200:]))
    assert np.diag(counts).sum() >= 198


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The second composer's music is the first's at twice the speed."""
    recordings = []
    for name, etude in etudes.corpus(6):
        for speed, composer in zip((1.0, 0.5), NAMES, strict=True):
            recording = Recording.of(f"{name}-{composer}", etude.stretch(speed))
            entry = dataclasses.replace(recording.entry, composer=composer)
            recordings.append(dataclasses.replace(recording, entry=entry))
    folder = tmp_path_factory.mktemp("corpus") / "data"
    corpus.write(folder, {"train": recordings[:8], "validation": recordings[8:]})
    return folder


def test_what_was_asked_is_held_against_what_is_recognized(
    check, workdir, folder, run_command, monkeypatch
):
    """Of a model that plays the first composer's music for the first, the second's for both."""
    module = check("composers")

    def played(loaded):
        features, labels = module.real(loaded, folder, "validation")
        assert len(np.unique(features, axis=0)) == len(features)  # each from elsewhere
        mixed = np.concatenate((features[labels == 0], features))
        return mixed, np.repeat([0, 1], [(labels == 0).sum(), len(labels)])

    monkeypatch.setattr(module, "played", played)
    code, out, err = run_command(module, f"--workdir={workdir}", f"--data={folder}", "--seconds=4")
    assert code == 0, err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[2:]]
    assert [row[0] for row in rows] == [*NAMES, "mean of those with excerpts"]
    first, second, mean = ([float(cell) for cell in row[2:]] for row in rows)
    assert min(first[0], second[0], first[1]) > 0.75 and second[2] < 0.25
    assert 0.2 < first[2] < 0.8 and 0.2 < second[1] < 0.8
    np.testing.assert_allclose(mean, np.mean((first, second), axis=0), atol=0.01)


def test_the_model_is_asked_for_each_composer(check, workdir, folder, run_command):
    flags = (f"--workdir={workdir}", f"--data={folder}", "--seconds=4", "--num_samples=2")
    code, out, err = run_command(check("composers"), *flags)
    assert code == 0 and len(out.splitlines()) == 5, err


def test_a_corpus_without_the_composers_is_refused(check, workdir, tmp_path, run_command):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(2)]
    corpus.write(tmp_path / "data", {"train": recordings, "validation": recordings})
    code, _, err = run_command(
        check("composers"), f"--workdir={workdir}", f"--data={tmp_path / 'data'}"
    )
    assert code == 2 and "has nothing by those the model knows" in err


def test_a_composer_without_training_music_is_named(check, workdir, tmp_path, run_command):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(2)]
    entry = dataclasses.replace(recordings[0].entry, composer=NAMES[0])
    recordings[0] = dataclasses.replace(recordings[0], entry=entry)
    corpus.write(tmp_path / "data", {"train": recordings, "validation": recordings})
    flags = (f"--workdir={workdir}", f"--data={tmp_path / 'data'}", "--seconds=4")
    code, _, err = run_command(check("composers"), *flags)
    assert code == 2 and f"no 4 seconds of {NAMES[1]}" in err


def test_a_model_without_composers_is_refused(check, tmp_path, save_run, run_command):
    config = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=1, hidden_size=16))
    flags = (f"--workdir={save_run(tmp_path / 'plain', config)}", f"--data={tmp_path}")
    code, _, err = run_command(check("composers"), *flags)
    assert code == 2 and "knows no composers" in err
