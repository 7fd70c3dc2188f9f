import dataclasses

import numpy as np
import pytest

from midijax import corpus, etudes, input_pipeline
from midijax.config import Config, DataConfig
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.events import NOTE_ON, PAD, PERFORMANCE_RNN
from midijax.input_pipeline import Windows
from midijax.performance import NOTE_DTYPE, Performance

PLAIN = DataConfig(batch_size=4, sequence_length=64, max_transpose=0, max_stretch=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "etudes"
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(6)]
    corpus.write(folder, {"train": recordings[:4], "validation": recordings[4:]})
    return folder


def config(data=PLAIN, **fields):
    return Config(vocabulary=PERFORMANCE_RNN, data=data, **fields)


def take(batches, count):
    return [next(batches) for _ in range(count)]


def test_unaugmented_windows_are_excerpts_of_the_performance():
    performance = random_performance()
    whole = PERFORMANCE_RNN.encode(performance).tolist()
    for moment in np.linspace(0, 0.999, 50):
        window = input_pipeline.cut(
            performance, moment, PERFORMANCE_RNN, PLAIN, np.random.default_rng(0)
        ).tolist()
        assert any(whole[i : i + len(window)] == window for i in range(len(whole)))
        assert len(window) == 64 or whole[-len(window) :] == window


def random_performance(count=300):
    rng = np.random.default_rng(0)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["onset"] = np.sort(rng.uniform(0, 40, count))
    notes["offset"] = notes["onset"] + rng.uniform(0.05, 2, count)
    notes["pitch"] = rng.integers(21, 109, count)
    notes["velocity"] = rng.integers(1, 128, count)
    return Performance(notes)


def test_batches_have_the_asked_shape_and_pad_only_at_the_end(folder):
    for batch in take(input_pipeline.training_batches(folder, config()), 20):
        assert batch.shape == (4, 64)
        assert batch.dtype == np.int32
        assert (np.diff((batch == PAD).astype(int), axis=1) >= 0).all()
        assert (batch[:, 0] != PAD).all()


def test_same_seed_same_batches_and_another_seed_others(folder):
    first, again = (take(input_pipeline.training_batches(folder, config()), 5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = take(input_pipeline.training_batches(folder, config(seed=1)), 5)
    assert not np.array_equal(first, other)


def test_goes_on_exactly_where_the_state_was_taken(folder):
    batches = input_pipeline.training_batches(folder, config())
    take(batches, 7)
    state = batches.get_state()
    expected = take(batches, 5)
    resumed = input_pipeline.training_batches(folder, config())
    resumed.set_state(state)
    np.testing.assert_array_equal(take(resumed, 5), expected)


def test_an_epoch_shows_each_performance_in_proportion_to_its_events():
    windows = Windows([64, 640, 100, 3], PLAIN, seed=0)
    rng = np.random.default_rng(0)
    drawn = [windows.draw(window, rng) for window in range(len(windows))]
    assert np.bincount([record for record, _ in drawn]).tolist() == [1, 10, 1, 1]
    moments = np.array([moment for record, moment in drawn if record == 1])
    assert (np.floor(moments * 10) == np.arange(10)).all()


def test_max_performances_draws_that_many_by_seed():
    data = dataclasses.replace(PLAIN, max_performances=2)
    rng = np.random.default_rng(0)
    drawn = []
    for seed in range(3):
        windows = Windows([100] * 50, data, seed)
        drawn.append({windows.draw(window, rng)[0] for window in range(len(windows))})
    assert [len(records) for records in drawn] == [2, 2, 2]
    assert len(set.union(*drawn)) > 2


def cut(data, seed):
    rng = np.random.default_rng(seed)
    return input_pipeline.cut(random_performance(), 0.3, PERFORMANCE_RNN, data, rng)


def test_transpositions_reach_their_limits_and_no_further():
    plain = notes_on(cut(PLAIN, 0))
    moved = dataclasses.replace(PLAIN, max_transpose=3)
    shifts = {int(shift) for seed in range(60) for shift in notes_on(cut(moved, seed)) - plain}
    assert shifts == {-3, -2, -1, 0, 1, 2, 3}


def test_stretching_moves_every_event_by_the_same_share():
    data = dataclasses.replace(PLAIN, max_stretch=0.25, sequence_length=600)
    plain = dataclasses.replace(PLAIN, sequence_length=600)
    length = PERFORMANCE_RNN.decode(cut(plain, 0)).duration
    shares = [PERFORMANCE_RNN.decode(cut(data, seed)).duration / length for seed in range(60)]
    assert 0.74 < min(shares) < 0.8 and 1.2 < max(shares) < 1.26


def test_a_corpus_without_training_files_is_refused_by_name(tmp_path):
    recording = Recording.of("held out", etudes.compose(0))
    corpus.write(tmp_path / "corpus", {"validation": [recording]})
    with pytest.raises(UserError, match="no train split"):
        input_pipeline.training_batches(tmp_path / "corpus", config())


def notes_on(tokens):
    return tokens[PERFORMANCE_RNN.kinds[tokens] == NOTE_ON]


def test_a_transposition_that_would_leave_the_keyboard_is_not_drawn():
    notes = etudes.compose(0).notes.copy()
    notes["pitch"] = np.where(np.arange(len(notes)) % 2, 127, 0)
    data = dataclasses.replace(PLAIN, max_transpose=6)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tokens = input_pipeline.cut(Performance(notes), 0.5, PERFORMANCE_RNN, data, rng)
        assert set(PERFORMANCE_RNN.values[notes_on(tokens)].tolist()) <= {0, 127}


def test_processes_share_the_windows_without_overlap(folder, monkeypatch):
    whole = take(input_pipeline.training_batches(folder, config()), 4)
    monkeypatch.setattr("jax.process_count", lambda: 2)
    shares = []
    for process in range(2):
        monkeypatch.setattr("jax.process_index", lambda process=process: process)
        shares.append(take(input_pipeline.training_batches(folder, config()), 4))
    for step in range(4):
        assert shares[0][step].shape == (2, 64)
        together = np.concatenate((shares[0][step], shares[1][step]))
        np.testing.assert_array_equal(together, whole[step])


def test_fingerprint_knows_content_not_place(folder, tmp_path):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(6)]
    corpus.write(tmp_path / "same", {"train": recordings[:4], "validation": recordings[4:]})
    corpus.write(tmp_path / "other", {"train": recordings[:3], "validation": recordings[4:]})
    assert input_pipeline.fingerprint(tmp_path / "same") == input_pipeline.fingerprint(folder)
    assert input_pipeline.fingerprint(tmp_path / "other") != input_pipeline.fingerprint(folder)
