import numpy as np
import pytest

from midijax import corpus, etudes, excerpts
from midijax.config import Config, DataConfig
from midijax.events import PERFORMANCE_RNN

WINDOWS = Config(vocabulary=PERFORMANCE_RNN)
STREAMS = Config(vocabulary=PERFORMANCE_RNN, data=DataConfig(num_streams=64))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("excerpts") / "etudes"
    recordings = [corpus.Recording.of(f"étude {i}", etudes.compose(i)) for i in range(6)]
    corpus.write(folder, {"validation": recordings})
    return excerpts.performances(folder, "validation")


@pytest.mark.parametrize(("config", "begins"), [(WINDOWS, False), (STREAMS, True)])
def test_real_music_is_as_a_model_could_have_played_it(pieces, config, begins):
    chosen = excerpts.as_trained(pieces, config, 10.0, seed=0)
    assert [one.name for one in chosen] == [name for name, _ in pieces]
    assert ({one.start for one in chosen} == {0}) is begins
    for one in chosen:
        notes = one.performance.notes
        again = PERFORMANCE_RNN.decode(PERFORMANCE_RNN.encode(one.performance))
        np.testing.assert_array_equal(notes, again.notes)
        assert 0 < notes["offset"].max() < 10.02  # rounded to steps
    assert excerpts.as_trained(pieces, config, 1000.0, seed=0) == []


def test_excerpts_from_anywhere_are_those_of_their_seed(pieces):
    def starts(seed):
        return [one.start for one in excerpts.anywhere(pieces, PERFORMANCE_RNN, 5.0, seed)]

    assert starts(0) == starts(0) != starts(1)
    (name, piece), *_ = pieces
    for seed in range(20):
        (one,) = excerpts.anywhere([(name, piece)], PERFORMANCE_RNN, 5.0, seed)
        assert 0 <= one.start <= piece.duration - 5.0


def test_an_excerpt_is_what_is_played_from_its_start_on(pieces):
    chosen = excerpts.anywhere(pieces, PERFORMANCE_RNN, 5.0, seed=3)
    for one, (_, piece) in zip(chosen, pieces, strict=True):
        onset = piece.notes["onset"]
        struck = piece.notes[(onset >= one.start) & (onset < one.start + 5)]
        played = one.performance.notes
        np.testing.assert_array_equal(np.sort(played["pitch"]), np.sort(struck["pitch"]))
        np.testing.assert_allclose(
            np.sort(played["onset"]), np.sort(struck["onset"]) - one.start, atol=0.01
        )
    assert excerpts.heard(chosen) == [one.performance for one in chosen]
