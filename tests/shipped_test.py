"""The model that lies in the repository: sound, small, its own config's, and able to play."""

import re

import jax
import numpy as np
import pytest

from midijax import checkpoint, checksums, config, generate, publication
from midijax.controls import Wishes
from midijax.events import PERFORMANCE_RNN
from midijax.generate import Length

MOST_BYTES = 30e6


@pytest.fixture(scope="module")
def shipped():
    return checkpoint.load(config.SHIPPED_WORKDIR)


def test_it_is_one_checkpoint_as_it_was_saved_and_small_enough(shipped):
    (step,) = checkpoint.steps(checkpoint.folder_of(config.SHIPPED_WORKDIR))
    assert step == shipped.step
    checksums.verify(shipped.path)
    files = [path for path in config.SHIPPED_WORKDIR.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_it_says_nothing_of_the_machine_it_was_made_on(shipped):
    texts = [
        path.read_bytes()
        for path in config.SHIPPED_WORKDIR.rglob("*")
        if path.is_file() and path.suffix not in (".png", ".mid") and "d" not in path.parts
    ]
    assert texts
    assert not [text for text in texts if re.search(rb"/(work|tmp|home|root)/", text)]


def test_its_parameters_are_finite_and_its_vocabulary_the_published_one(shipped):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(shipped.params))
    assert shipped.config.vocabulary == PERFORMANCE_RNN
    assert shipped.config.controls.enabled


def test_it_plays_as_asked(shipped):
    def play(**wishes):
        length = Length(seconds=8.0)
        batch = generate.generate(
            shipped.params,
            jax.random.key(0),
            shipped.config,
            length,
            num_performances=4,
            wishes=Wishes(**wishes),
        )
        performances = [PERFORMANCE_RNN.decode(tokens) for tokens in batch.values()]
        return np.concatenate([performance.notes for performance in performances])

    assert len(play()) > 20
    quiet, loud = play(loudness=(40.0,)), play(loudness=(95.0,))
    assert quiet["velocity"].mean() + 10 < loud["velocity"].mean()


def test_publishing_it_again_changes_nothing(shipped, tmp_path):
    again = checkpoint.load(publication.publish(shipped, tmp_path / "again").parents[1])
    jax.tree.map(np.testing.assert_array_equal, again.params, shipped.params)
