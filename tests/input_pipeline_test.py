import contextlib
import dataclasses
import itertools
import signal
import subprocess
import sys

import jax
import numpy as np
import psutil
import pytest

from midijax import corpus, etudes, input_pipeline, passage
from midijax.batches import Cutter, join
from midijax.config import Config, DataConfig
from midijax.controls import Controls
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.events import NOTE_ON, NOTEBOOK, OORE_2018, PAD, PERFORMANCE_RNN
from midijax.performance import NOTE_DTYPE, Performance
from midijax.windows import ConsecutiveWindows, RandomWindows

PLAIN = DataConfig(batch_size=4, sequence_length=64, max_transpose=0, max_stretch=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "etudes"
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(6)]
    corpus.write(folder, {"train": recordings[:4], "validation": recordings[4:]})
    return folder


FOLLOWING = dataclasses.replace(PLAIN, num_streams=8)
AUGMENTED = {
    "random": DataConfig(batch_size=4, sequence_length=64),
    "consecutive": DataConfig(batch_size=4, sequence_length=64, num_streams=8),
}
augmented = pytest.mark.parametrize("data", AUGMENTED.values(), ids=AUGMENTED)


def config(data=PLAIN, **fields):
    return Config(vocabulary=PERFORMANCE_RNN, data=data, **fields)


def take(batches, count):
    return [next(batches).targets_BxT for _ in range(count)]


def test_unaugmented_windows_are_excerpts_of_the_performance():
    performance = random_performance()
    whole = PERFORMANCE_RNN.encode(performance).tolist()
    for moment in np.linspace(0, 0.999, 50):
        window = passage.cut(
            performance, moment, PERFORMANCE_RNN, PLAIN, np.random.default_rng(0)
        ).tokens.tolist()
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


@augmented
def test_same_seed_same_batches_and_another_seed_others(folder, data):
    first, again = (
        take(input_pipeline.training_batches(folder, config(data)), 5) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    other = take(input_pipeline.training_batches(folder, config(data, seed=1)), 5)
    assert not np.array_equal(first, other)


@augmented
def test_goes_on_exactly_where_the_state_was_taken(folder, data):
    batches = input_pipeline.training_batches(folder, config(data))
    take(batches, 7)
    state = batches.get_state()
    expected = take(batches, 5)
    resumed = input_pipeline.training_batches(folder, config(data))
    resumed.set_state(state)
    np.testing.assert_array_equal(take(resumed, 5), expected)


def test_an_epoch_shows_each_performance_in_proportion_to_its_events():
    windows = RandomWindows([64, 640, 100, 3], PLAIN, seed=0)
    rng = np.random.default_rng(0)
    drawn = [windows.draw(window, rng) for window in range(len(windows))]
    assert np.bincount([record for record, _ in drawn]).tolist() == [1, 10, 1, 1]
    moments = np.array([moment for record, moment in drawn if record == 1])
    assert (np.floor(moments * 10) == np.arange(10)).all()


def test_consecutive_windows_show_whole_performances_in_order(folder):
    recordings = [etude for _, etude in etudes.corpus(4)]
    wholes = [PERFORMANCE_RNN.encode(etude).tolist() for etude in recordings]
    data = dataclasses.replace(PLAIN, batch_size=2, num_streams=4)
    batches = input_pipeline.training_batches(folder, config(data))
    heard = [[] for _ in range(4)]
    finished = []
    for index in range(120):
        batch = next(batches)
        assert batch.streams_B.tolist() == [[0, 1], [2, 3]][index % 2]
        for stream, targets, inputs, begins in zip(
            batch.streams_B, batch.targets_BxT, batch.inputs_BxT, batch.begins_B, strict=True
        ):
            events = targets[targets != PAD].tolist()
            opens = any(whole[: len(events)] == events for whole in wholes) and bool(events)
            assert opens == (inputs[0] == PERFORMANCE_RNN.size) or not events
            if begins:
                finished.append(heard[stream])
                heard[stream] = []
            elif heard[stream] and events:
                assert inputs[0] == heard[stream][-1]
            np.testing.assert_array_equal(inputs[1:], np.maximum(targets[:-1], 0))
            heard[stream] += events
    assert [whole for whole in wholes if whole in finished]
    for piece in filter(None, finished):
        assert any(
            piece == whole[i : i + len(piece)] for whole in wholes for i in range(len(whole))
        )


def test_an_epoch_of_consecutive_windows_shows_each_once_but_for_the_rest():
    data = dataclasses.replace(PLAIN, batch_size=3, num_streams=6)
    windows = ConsecutiveWindows([64, 640, 100, 3], data, seed=0)
    assert windows.batches_per_epoch == 14 // 3  # three streams: six would have two windows each
    orders = []
    for epoch in range(5):
        seen = []
        for index in range(windows.batches_per_epoch):
            its_epoch, places = windows.batch(epoch * windows.batches_per_epoch + index)
            assert its_epoch == epoch
            seen += [(place.record, place.window) for place in places]
        assert len(set(seen)) == len(seen) == 12
        orders.append(seen)
    assert orders[0] != orders[1]


def test_streams_take_turns_through_parts_of_equal_length():
    data = dataclasses.replace(PLAIN, batch_size=3, num_streams=6)
    windows = ConsecutiveWindows([64 * 200], data, seed=0)
    assert windows.batches_per_epoch == 200 // 6 * 2
    places = [place for index in range(4) for place in windows.batch(index)[1]]
    assert [place.stream for place in places] == [0, 1, 2, 3, 4, 5] * 2
    assert [place.window for place in places[:6]] == [0, 33, 66, 99, 132, 165]
    assert [place.window for place in places[6:]] == [1, 34, 67, 100, 133, 166]
    assert [place.begins for place in places] == [True] * 6 + [False] * 6


def test_windows_are_counted_in_the_events_of_the_vocabulary(folder):
    data = dataclasses.replace(FOLLOWING, batch_size=1, num_streams=1)
    for vocabulary in (OORE_2018, NOTEBOOK):
        cutter = Cutter(folder, Config(vocabulary=vocabulary, data=data))
        lengths = [len(vocabulary.encode(etude)) for _, etude in etudes.corpus(4)]
        whole = sum(-(-length // 64) for length in lengths)
        assert cutter.consecutive_windows.batches_per_epoch == whole


def test_what_is_told_of_an_opening_does_not_follow_from_how_it_is_stretched(folder):
    controls = Controls(enabled=True)
    data = dataclasses.replace(FOLLOWING, control_dropout=0.5, max_stretch=0.5, batch_size=1)
    cutter = Cutter(folder, config(data, controls=controls))
    durations = [etude.apply_sustain().duration for _, etude in etudes.corpus(4)]
    stretches, kept = [], []
    for index in range(40 * cutter.consecutive_windows.batches_per_epoch):
        epoch, [place] = cutter.consecutive_windows.batch(index)
        if place.window == 0:
            told_T = cutter.consecutive(index).controls_BxTxC[0]
            kept.append([told_T[:, span].any() for span in controls.spans.values()][:3])
            music = cutter._passage(epoch, place.record)._music
            stretches.append(music.duration / durations[place.record])
    correlations = np.corrcoef(stretches, np.array(kept, float).T)[0, 1:]
    assert len(kept) > 100 and np.abs(correlations).max() < 0.3


def test_a_performance_has_one_transposition_and_stretch_in_an_epoch_and_others_in_the_next(folder):
    data = dataclasses.replace(
        FOLLOWING, max_transpose=5, max_stretch=0.1, batch_size=1, num_streams=1
    )
    cutter = Cutter(folder, config(data))
    per_epoch = cutter.consecutive_windows.batches_per_epoch
    heard = {}
    for index in range(3 * per_epoch):
        epoch, [place] = cutter.consecutive_windows.batch(index)
        targets = cutter.consecutive(index).targets_BxT
        heard.setdefault((epoch, place.record), []).extend(targets[targets != PAD].tolist())
    music = {key: PERFORMANCE_RNN.decode(np.array(tokens)) for key, tokens in heard.items()}
    plain = [etude.apply_sustain() for _, etude in etudes.corpus(4)]
    shifts = set()
    for (epoch, record), performance in music.items():
        count = len(performance.notes) // 2  # a tail beyond the planned windows is left out
        by_note = performance.notes["pitch"][:count].astype(int)
        shift = int(np.median(by_note - plain[record].notes["pitch"][:count]))
        shifts.add((epoch, record, shift))
    assert len({shift for *_, shift in shifts}) > 3


def test_controls_tell_of_the_music_ahead_unless_dropped(folder):
    controls = Controls(enabled=True)
    told = config(dataclasses.replace(FOLLOWING, control_dropout=0.0), controls=controls)
    batch = next(input_pipeline.training_batches(folder, told))
    assert batch.controls_BxTxC.shape == (4, 64, controls.num_features)
    is_event = batch.targets_BxT != PAD
    density = batch.controls_BxTxC[..., controls.spans["notes_per_second"]]
    np.testing.assert_allclose(density.sum(-1), is_event, atol=1e-6)
    silent = config(dataclasses.replace(FOLLOWING, control_dropout=1.0), controls=controls)
    assert not next(input_pipeline.training_batches(folder, silent)).controls_BxTxC.any()


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_composer_is_told_unless_dropped(tmp_path, dropout, share):
    recording = Recording.of("x", etudes.compose(0))
    entry = dataclasses.replace(recording.entry, composer="Anna")
    corpus.write(tmp_path / "corpus", {"train": [dataclasses.replace(recording, entry=entry)]})
    controls = Controls(enabled=True, composers=("Berta", "Anna"))
    data = dataclasses.replace(PLAIN, control_dropout=dropout)
    batches = input_pipeline.training_batches(tmp_path / "corpus", config(data, controls=controls))
    batch = next(batches)
    told = batch.controls_BxTxC[..., controls.spans["composer"]][batch.targets_BxT != PAD]
    assert (told == [0, share]).all()


def test_each_control_is_dropped_by_itself(folder):
    controls = Controls(enabled=True)
    data = dataclasses.replace(FOLLOWING, control_dropout=0.5)
    batches = input_pipeline.training_batches(folder, config(data, controls=controls))
    kept = {
        tuple(row[:, span].any() for kind, span in controls.spans.items() if kind != "composer")
        for _ in range(40)
        for row in next(batches).controls_BxTxC
    }
    assert len(kept) == 8


def test_max_performances_draws_that_many_by_seed():
    data = dataclasses.replace(PLAIN, max_performances=2)
    rng = np.random.default_rng(0)
    drawn = []
    for seed in range(3):
        windows = RandomWindows([100] * 50, data, seed)
        drawn.append({windows.draw(window, rng)[0] for window in range(len(windows))})
    assert [len(records) for records in drawn] == [2, 2, 2]
    assert len(set.union(*drawn)) > 2


def cut(data, seed):
    rng = np.random.default_rng(seed)
    return passage.cut(random_performance(), 0.3, PERFORMANCE_RNN, data, rng).tokens


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
        tokens = passage.cut(Performance(notes), 0.5, PERFORMANCE_RNN, data, rng).tokens
        assert set(PERFORMANCE_RNN.values[notes_on(tokens)].tolist()) <= {0, 127}


@pytest.mark.parametrize(("num_processes", "num_parts"), [(2, 1), (4, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("data", [PLAIN, FOLLOWING], ids=["random", "consecutive"])
def test_processes_share_the_windows_without_overlap(
    folder, monkeypatch, data, num_processes, num_parts
):
    told = config(data, controls=Controls(enabled=True))
    whole = list(itertools.islice(input_pipeline.training_batches(folder, told), 3))
    monkeypatch.setattr("jax.process_count", lambda: num_processes)
    parts = []
    for process in range(num_processes):
        monkeypatch.setattr("jax.process_index", lambda process=process: process)
        cut_part = input_pipeline._Parts(Cutter(folder, told, num_parts), told)
        parts.append([cut_part.map(number) for number in range(3 * num_parts)])
    for index, expected in enumerate(whole):
        numbers = slice(index * num_parts, (index + 1) * num_parts)
        together = join([part for of_process in parts for part in of_process[numbers]])
        jax.tree.map(np.testing.assert_array_equal, together, expected)


@augmented
def test_workers_make_the_batches_that_a_thread_makes(folder, data):
    told = config(dataclasses.replace(data, batch_size=5, num_streams=data.num_streams and 10))
    alone = take(input_pipeline.training_batches(folder, told), 9)
    with contextlib.closing(input_pipeline.training_batches(folder, told, 2)) as batches:
        np.testing.assert_array_equal(take(batches, 6), alone[:6])
        state = batches.get_state()
    with contextlib.closing(input_pipeline.training_batches(folder, told, 3)) as batches:
        batches.set_state(state)
        np.testing.assert_array_equal(take(batches, 3), alone[6:])


WITH_WORKERS = """
import contextlib, itertools, multiprocessing, os, signal, sys
from midijax import input_pipeline
from midijax.config import Config

if __name__ == "__main__":
    with contextlib.closing(input_pipeline.training_batches(sys.argv[1], Config(), 3)) as batches:
        next(batches)
        workers = [worker.pid for worker in multiprocessing.active_children()]
        print(*workers, flush=True)
        for number in map(int, sys.argv[2:]):
            for worker in workers:
                os.kill(worker, number)
        print(sum(1 for _ in itertools.islice(batches, 40)), flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def with_workers(folder, tmp_path):
    """Starts a program that reads batches, and sends signals to the workers that cut them."""
    script = tmp_path / "with_workers.py"
    script.write_text(WITH_WORKERS)

    def start(*signals):
        command = [sys.executable, str(script), str(folder), *(str(int(s)) for s in signals)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        run = subprocess.Popen(command, **pipes, text=True)
        return run, [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]

    return start


def test_workers_leave_stopping_to_the_run(with_workers):
    run, workers = with_workers(signal.SIGINT, signal.SIGTERM)
    told, errors = run.communicate(timeout=60)
    assert (len(workers), told, errors, run.returncode) == (3, "40\n", "", 0)


def test_a_worker_that_is_killed_is_one_sentence(with_workers):
    run, _ = with_workers(signal.SIGKILL)
    _, errors = run.communicate(timeout=60)
    assert "TryAgain: a process that cuts batches has ended (" in errors and "code -9" in errors


def test_workers_end_with_a_run_that_is_killed(with_workers):
    run, workers = with_workers()
    run.kill()
    run.communicate()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert len(gone) == 3


def test_workers_are_for_accelerators_with_memory_to_share(tmp_path, monkeypatch):
    class Free:
        free = 2**26

    large = config(DataConfig(batch_size=1024, sequence_length=256))
    monkeypatch.setattr(input_pipeline, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: Free)
    monkeypatch.setattr("midijax.workers.num_cores", lambda: 4)
    assert input_pipeline.useful_workers(config()) == 0
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert input_pipeline.useful_workers(config()) == 3
    told = dataclasses.replace(large, controls=Controls(enabled=True))
    assert input_pipeline.useful_workers(large) == 3
    assert input_pipeline.useful_workers(told) == 0
    monkeypatch.setattr("midijax.workers.num_cores", lambda: 64)
    assert input_pipeline.useful_workers(config()) == input_pipeline.MAX_WORKERS
    monkeypatch.setattr(input_pipeline, "SHARED_MEMORY", tmp_path / "none")
    assert input_pipeline.useful_workers(config()) == 0


@pytest.mark.parametrize(
    "state", [{}, {"next_index": -1}, {"next_index": 1.5}, {"next_index": None}]
)
def test_no_place_in_the_data_is_refused(folder, state):
    batches = input_pipeline.training_batches(folder, config())
    with pytest.raises((KeyError, TypeError, ValueError)):
        batches.set_state(state)


def test_fingerprint_knows_content_not_place(folder, tmp_path):
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(6)]
    corpus.write(tmp_path / "same", {"train": recordings[:4], "validation": recordings[4:]})
    corpus.write(tmp_path / "other", {"train": recordings[:3], "validation": recordings[4:]})
    assert input_pipeline.fingerprint(tmp_path / "same") == input_pipeline.fingerprint(folder)
    assert input_pipeline.fingerprint(tmp_path / "other") != input_pipeline.fingerprint(folder)
