import dataclasses
import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import metrics
from midijax.errors import UserError
from midijax.events import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY, EventVocabulary
from midijax.model import PerformanceRNN, init

VOCABULARY = EventVocabulary(steps_per_second=10, max_shift_steps=5, num_velocity_bins=2)


@pytest.fixture(scope="module")
def model():
    return PerformanceRNN(VOCABULARY.size, num_layers=2, hidden_size=8, dropout_rate=0.5)


@pytest.fixture(scope="module")
def params(model):
    """Parameters large enough that what came before an event matters for it."""
    return jax.jit(lambda key: jax.tree.map(lambda x: 3 * x, init(model, key)))(jax.random.key(0))


def random_sequences(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(VOCABULARY.size, size=length).astype(np.int32) for length in lengths]


def slow_scores(model, params, sequences):
    """One sequence at a time, in float64 numpy from the logits on."""
    nats, correct, count, steps = np.zeros(4), np.zeros(4, int), np.zeros(4, int), 0
    apply = jax.jit(model.apply)
    for targets in sequences:
        inputs_1xT = np.zeros((1, max(map(len, sequences))), np.int32)  # one shape: one program
        inputs_1xT[0, : len(targets)] = np.concatenate([[VOCABULARY.size], targets[:-1]])
        logits, _ = apply({"params": params}, inputs_1xT, model.initial_carry(1))
        logits_TxV = np.asarray(logits[0], np.float64)[: len(targets)]
        for logits_V, target in zip(logits_TxV, targets, strict=True):
            kind = VOCABULARY.kinds[target]
            nats[kind] += np.log(np.exp(logits_V).sum()) - logits_V[target]
            correct[kind] += logits_V.argmax() == target
            count[kind] += 1
            steps += VOCABULARY.values[target] if kind == TIME_SHIFT else 0
    return metrics.Scores(tuple(nats), tuple(count.tolist()), tuple(correct.tolist()), steps / 10)


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours.nats, theirs.nats, rtol=1e-5)
    assert ours.count == theirs.count
    assert ours.correct == theirs.correct
    assert ours.seconds == pytest.approx(theirs.seconds)


def test_equals_one_sequence_at_a_time(model, params):
    sequences = random_sequences([1, 31, 7, 16, 8, 17, 3])
    scores = metrics.score(model, params, sequences, VOCABULARY, batch_size=3, chunk=8)
    assert_same(scores, slow_scores(model, params, sequences))


@pytest.mark.parametrize(("batch_size", "chunk"), [(1, 8), (2, 5), (64, 8), (3, 64)])
def test_neither_batch_size_nor_chunk_changes_a_score(model, params, batch_size, chunk):
    sequences = random_sequences([1, 31, 7, 16, 8, 17, 3])
    scores = metrics.score(model, params, sequences, VOCABULARY, batch_size, chunk)
    assert_same(scores, metrics.score(model, params, sequences, VOCABULARY, 4, 31))


def test_order_does_not_change_a_score(model, params):
    sequences = random_sequences([9, 12, 9, 30])
    scores = metrics.score(model, params, sequences, VOCABULARY, batch_size=2, chunk=8)
    turned = metrics.score(model, params, sequences[::-1], VOCABULARY, batch_size=2, chunk=8)
    assert_same(scores, turned)


def test_empty_sequences_count_for_nothing(model, params):
    sequences = random_sequences([0, 5, 0])
    scores = metrics.score(model, params, sequences, VOCABULARY)
    assert_same(scores, metrics.score(model, params, sequences[1:2], VOCABULARY))


@pytest.mark.parametrize("sequences", [[], [np.empty(0, np.int32)]])
def test_an_empty_evaluation_is_an_error(model, params, sequences):
    with pytest.raises(UserError, match="nothing to evaluate"):
        metrics.score(model, params, sequences, VOCABULARY)


def test_a_model_that_knows_nothing_scores_the_log_of_the_vocabulary(model, params):
    nothing = jax.tree.map(jnp.zeros_like, params)
    scores = metrics.score(model, nothing, random_sequences([50, 20]), VOCABULARY)
    assert scores.nats_per_event == pytest.approx(math.log(VOCABULARY.size), rel=1e-6)


def test_a_mesh_gives_the_same_scores(model, params):
    sequences = random_sequences([4, 20, 9])
    automatic = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=automatic)
    scores = metrics.score(model, params, sequences, VOCABULARY, chunk=8, mesh=mesh)
    assert_same(scores, metrics.score(model, params, sequences, VOCABULARY, chunk=8))


def test_eight_devices_give_the_same_scores():
    """The test above again, in a process that takes its CPU for eight devices."""
    test = f"{__file__}::{test_a_mesh_gives_the_same_scores.__name__}"
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", test],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout


def test_ratios():
    scores = metrics.Scores(
        nats=(8.0, 4.0, 2.0, 2.0), count=(4, 2, 1, 1), correct=(1, 1, 0, 0), seconds=0.5
    )
    assert scores.events == 8
    assert scores.nats_per_event == 2
    assert scores.nats_per_note == 4
    assert scores.nats_per_second == 32
    assert scores.accuracy == 0.25


def test_json_holds_every_ratio_and_every_kind():
    scores = metrics.Scores((8.0, 4.0, 2.0, 0.0), (4, 2, 1, 0), (1, 1, 0, 0), 0.5)
    told = scores.to_json()
    assert told["nats_per_event"] == 2
    assert told["events"] == 7
    assert told["by_kind"]["note_on"] == {
        "count": 4,
        "nats": 8.0,
        "nats_per_event": 2.0,
        "nats_per_note": 2.0,
        "nats_per_second": 16.0,
        "accuracy": 0.25,
    }
    assert told["by_kind"]["time_shift"]["nats_per_note"] == 0.5
    for ratio in ("nats_per_note", "nats_per_second"):
        assert sum(kind[ratio] for kind in told["by_kind"].values()) == told[ratio]
    assert told["by_kind"]["velocity"]["nats_per_event"] is None


def test_json_is_strict_where_nothing_can_be_divided():
    scores = metrics.Scores((0.0, 3.0, 0.0, 0.0), (0, 1, 0, 0), (0, 0, 0, 0), 0.0)
    told = scores.to_json()
    assert told["nats_per_note"] is None
    assert told["nats_per_second"] is None
    json.dumps(told, allow_nan=False)


def test_seconds_and_counts_are_those_of_the_music(model, params):
    shift, velocity = VOCABULARY.shift_base, VOCABULARY.velocity_base
    sequence = np.array([velocity, 60, shift + 4, shift + 2, 188], np.int32)
    scores = metrics.score(model, params, [sequence, sequence], VOCABULARY)
    assert scores.seconds == pytest.approx(1.6)
    assert [scores.count[k] for k in (NOTE_ON, NOTE_OFF, TIME_SHIFT, VELOCITY)] == [2, 2, 4, 2]


def test_crops_cover_every_event_once_and_keep_the_short_end():
    sequences = [np.arange(5), np.arange(4), np.arange(0)]
    pieces = metrics.crops(sequences, length=2)
    assert [piece.tolist() for piece in pieces] == [[0, 1], [2, 3], [4], [0, 1], [2, 3]]


def test_crops_start_afresh(model, params):
    sequence = random_sequences([16])[0]
    crops = metrics.crops([sequence], length=8)
    scores = metrics.score(model, params, crops, VOCABULARY, batch_size=1, chunk=8)
    assert_same(scores, slow_scores(model, params, crops))
    whole = metrics.score(model, params, [sequence], VOCABULARY, chunk=8)
    assert abs(whole.nats_per_event - scores.nats_per_event) > 1e-4


def test_scores_are_plain_numbers(model, params):
    scores = metrics.score(model, params, random_sequences([5]), VOCABULARY)
    json.dumps(dataclasses.asdict(scores))
