"""experiments/baselines/ngram.py."""

import collections
import json
import math

import ngram
import numpy as np
import pytest
from commands import run_prepare

from midijax import etudes, metrics
from midijax.events import PERFORMANCE_RNN

V, START = PERFORMANCE_RNN.size, PERFORMANCE_RNN.size
A, B, C = 0, 1, 2
TINY = [np.array(events, np.int32) for events in ([A, B], [A, B], [A, C])]


@pytest.fixture(scope="module")
def encoded():
    """Eight études for training and two to predict."""
    sequences = [PERFORMANCE_RNN.encode(etudes.compose(seed)) for seed in range(10)]
    return sequences[:8], sequences[8:]


def keys(contexts):
    """Contexts of the same length as `NGram.distributions` takes them."""
    return np.array([sum(e << ngram.BITS * i for i, e in enumerate(c[::-1])) for c in contexts])


def test_a_bigram_by_hand():
    """A corpus as tiny as that has discounts of 0.5, 1 and 1.5."""
    after_start, after_a, after_b = ngram.NGram(2, TINY).distributions(keys([[START], [A], [B]]))
    once = 1 / 6 + 1 / 2 / V  # each of A, B and C follows one event only: 3 contexts in all
    assert after_start[A] == pytest.approx(1.5 / 3 + 1.5 / 3 * once)
    assert after_a[B] == pytest.approx(1 / 3 + 1.5 / 3 * once)
    assert after_a[C] == pytest.approx(0.5 / 3 + 1.5 / 3 * once)
    assert after_a[A] == pytest.approx(1.5 / 3 * once)
    assert after_a[3] == pytest.approx(1.5 / 3 / 2 / V)
    assert after_b[:4] == pytest.approx([once, once, once, 1 / 2 / V])


def test_scores_by_hand():
    once = 1 / 6 + 1 / 2 / V
    shift = PERFORMANCE_RNN.shift_base + 49  # 0.5 s, never seen
    scores = ngram.NGram(2, TINY).score([np.array([A, B]), np.array([A, shift])])
    nats = -2 * math.log(0.5 + 0.5 * once) - math.log(1 / 3 + 0.5 * once)
    assert scores.nats == pytest.approx((nats, 0, math.log(4 * V), 0))
    assert scores.count == (3, 0, 1, 0)
    assert scores.correct == (3, 0, 0, 0)
    assert scores.seconds == 0.5


def test_discounts_are_those_of_chen_and_goodman():
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4, 9])
    assert ngram.discounts(counts) == pytest.approx([0, 0.5, 1.25, 1.0])


@pytest.mark.parametrize("counts", [[1], [1, 2, 3], [1] * 10 + [2, 3, 3, 4]])
def test_where_they_cannot_be_estimated_it_is_a_half_each_time(counts):
    assert ngram.discounts(np.array(counts)).tolist() == [0, 0.5, 1.0, 1.5]


def slow_probability(sequences, context, event):
    """The same smoothing in plain dictionaries, straight from its definition."""
    order = len(context) + 1
    grams = collections.Counter()
    for sequence in sequences:
        padded = [START] * (order - 1) + sequence.tolist()
        grams.update(tuple(padded[i : i + order]) for i in range(len(sequence)))
    probability = 1 / V
    for length in range(1, order + 1):
        counts = grams
        for _ in range(order - length):
            counts = collections.Counter(gram[1:] for gram in counts)
        discounts = dict(enumerate(ngram.discounts(np.array(list(counts.values())))))
        history = tuple(context[order - length :])
        followers = {gram[-1]: n for gram, n in counts.items() if gram[:-1] == history}
        if followers:
            taken = {e: discounts[min(n, 3)] for e, n in followers.items()}
            own = followers.get(event, 0) - taken.get(event, 0)
            probability = (own + sum(taken.values()) * probability) / sum(followers.values())
    return probability


@pytest.mark.parametrize("order", [1, 2, 4])
def test_equals_plain_dictionaries(encoded, order):
    train, (piece, _) = encoded[0][:2], encoded[1]
    model = ngram.NGram(order, train)
    padded = [START] * (order - 1) + piece.tolist()
    for end in (order, order + 1, order + 100, order + 101):
        *context, event = padded[end - order : end]
        (distribution,) = model.distributions(keys([context]))
        assert distribution[event] == pytest.approx(slow_probability(train, context, event))


@pytest.mark.parametrize("order", [1, 2, 3, 5, ngram.MAX_ORDER])
def test_distributions_sum_to_one(encoded, order):
    rng = np.random.default_rng(0)
    contexts = rng.integers(V + 1, size=(50, order - 1)).tolist()
    seen = encoded[0][0].tolist()
    contexts += [seen[i : i + order - 1] for i in range(50)] + [[START] * (order - 1)]
    probabilities = ngram.NGram(order, encoded[0]).distributions(keys(contexts))
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)


def test_context_helps_and_so_does_training(encoded):
    train, held_out = encoded
    unigram, bigram, trigram = (ngram.NGram(order, train).score(held_out) for order in (1, 2, 3))
    assert math.log(V) > unigram.nats_per_event > bigram.nats_per_event > trigram.nats_per_event
    itself = ngram.NGram(3, train).score(train)
    assert itself.nats_per_event < trigram.nats_per_event
    assert trigram.accuracy > unigram.accuracy


def test_neither_repetition_nor_the_order_of_sequences_changes_a_score(encoded):
    train, held_out = encoded
    scores = ngram.NGram(3, train).score(held_out)
    assert ngram.NGram(3, train).score(held_out) == scores
    assert ngram.NGram(3, train[::-1]).score(held_out) == scores


def test_crops_begin_with_start(encoded):
    train, held_out = encoded
    model = ngram.NGram(3, train)
    pieces = metrics.crops(held_out, 50)
    one_by_one = sum(model.score([piece]).nats_per_event * len(piece) for piece in pieces)
    whole, cropped = model.score(held_out), model.score(pieces)
    assert sum(cropped.nats) == pytest.approx(one_by_one)
    assert cropped.nats_per_event > whole.nats_per_event


def test_transpositions_are_those_of_the_notes():
    performance = etudes.compose(0)
    moved = [performance.transpose(semitones) for semitones in range(-2, 3)]
    expected = [PERFORMANCE_RNN.encode(each) for each in moved]
    for ours, theirs in zip(ngram.transpositions(performance, 2), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    highest = performance.transpose(performance.transposition_range()[1])
    assert len(list(ngram.transpositions(highest, 2))) == 3


def test_the_command_tells_and_writes_both_protocols(tmp_path, run_command):
    run_prepare(f"--output_dir={tmp_path / 'corpus'}")
    json_path = tmp_path / "scores.json"
    flags = [f"--data={tmp_path / 'corpus'}", "--order=2", "--max_transpose=1"]
    code, out, _ = run_command(ngram, *flags, f"--json={json_path}")
    told = json.loads(json_path.read_text())
    assert code == 0
    assert told["whole"]["events"] == told["crops"]["events"] > 1000
    for protocol in ("whole", "crops"):
        assert told[protocol]["nats_per_event"] < math.log(V)
        assert f"{told[protocol]['nats_per_note']:.4f}" in out


def test_what_is_missing_is_told(tmp_path, run_command):
    code, _, errors = run_command(ngram)
    assert code == 2 and "--data is needed" in errors
    code, _, errors = run_command(ngram, f"--data={tmp_path}")
    assert code == 2 and "is not a prepared corpus" in errors
