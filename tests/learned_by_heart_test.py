"""experiments/checks/learned_by_heart.py."""

import dataclasses

import numpy as np
import pytest

from midijax import checkpoint, corpus, etudes, metrics, model
from midijax.config import Config, DataConfig, ModelConfig
from midijax.corpus import Recording
from midijax.events import PERFORMANCE_RNN

MODULE = "learned_by_heart"
TITLES = ("often", "once", "often", "twice", "often", "twice")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(8)]
    train = [
        dataclasses.replace(one, entry=dataclasses.replace(one.entry, title=title))
        for one, title in zip(recordings, TITLES, strict=False)
    ]
    folder = tmp_path_factory.mktemp("corpus") / "data"
    corpus.write(folder, {"train": train, "validation": recordings[6:]})
    return folder


def test_pieces_are_parted_by_how_often_they_were_recorded(check, folder):
    numbers = {title: (split, chosen) for title, split, chosen in check(MODULE).kinds(folder)}
    assert numbers == {
        "training, one recording": ("train", [1]),
        "training, 3 recordings or more": ("train", [0, 2, 4]),
        "validation": ("validation", [0, 1]),
    }


def test_each_kind_is_scored_as_played_and_moved_beyond_what_was_heard(
    check, folder, tmp_path, save_run, run_command
):
    config = Config(
        vocabulary=PERFORMANCE_RNN,
        model=ModelConfig(num_layers=1, hidden_size=8),
        data=DataConfig(max_transpose=4),
    )
    workdir = save_run(tmp_path / "run", config)
    flags = [f"--workdir={workdir}", f"--data={folder}", "--num_performances=2", "--num_events=50"]
    code, told, errors = run_command(check(MODULE), *flags)
    assert code == 0, errors
    header, _, once, often, held_out = told.splitlines()
    assert "5 semitones up" in header
    loaded = checkpoint.load(workdir)

    def nats(split, *numbers_and_semitones):
        records = corpus.open_split(folder, split)
        events = [
            PERFORMANCE_RNN.encode(corpus.unpack(records[number])[1].transpose(semitones))[:50]
            for number, semitones in numbers_and_semitones
        ]
        network = model.from_config(config)
        return metrics.score(network, loaded.params, events, PERFORMANCE_RNN).nats_per_event

    for row, expected in (
        (once, (nats("train", (1, 0)), nats("train", (1, 5)))),
        (often, (nats("train", (0, 0), (4, 0)), nats("train", (0, 5), (4, 5)))),
        (held_out, (nats("validation", (0, 0), (1, 0)), nats("validation", (0, 5), (1, 5)))),
    ):
        np.testing.assert_allclose([float(x) for x in row.split("|")[2:4]], expected, atol=6e-4)
