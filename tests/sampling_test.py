"""Temperature and filters, against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from midijax import sampling
from midijax.errors import UserError
from midijax.sampling import Filters, SamplingSettings

draw, likely_events = jax.jit(sampling.draw), jax.jit(sampling.likely_events)
LOGITS = np.log([0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.float32)


def draw_many(legal=(True,) * 5, temperature=1.0, filters=None, count=20_000):
    uniform = (jnp.arange(count) + 0.5) / count
    logits = jnp.broadcast_to(LOGITS, (count, 5))
    tokens = draw(uniform, logits, jnp.array([legal]), temperature, filters)
    return np.bincount(tokens, minlength=5) / count


def numpy_filter(weights, filters):
    """By definition, each event compared with all others."""
    kept = []
    for event, weight in enumerate(weights):
        likelier = weights[weights > weight]
        in_k = filters.top_k == 0 or len(likelier) < filters.top_k
        in_p = filters.top_p == 1 or likelier.sum() < filters.top_p * weights.sum()
        if in_k and in_p and weight >= filters.min_p:
            kept.append(event)
    return kept


@given(
    seed=st.integers(0, 2**32 - 1),
    top_k=st.integers(0, 60),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 0.99),
    ties=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_filters_equal_numpy(seed, top_k, top_p, min_p, ties):
    logits = np.random.default_rng(seed).normal(0, 3, (2, 50))
    logits = logits.round() if ties else logits
    weights = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    min_p = float(np.float32(min_p))
    for row in weights.astype(float):
        shares = np.cumsum(np.sort(row)[::-1]) / row.sum()
        assume(np.abs(shares - top_p).min() > 1e-5)
    likely = likely_events(jnp.array(weights), Filters(top_k, top_p, min_p))
    for row, kept in zip(weights.astype(float), likely, strict=True):
        assert np.flatnonzero(kept).tolist() == numpy_filter(row, Filters(top_k, top_p, min_p))


def test_events_as_likely_as_the_last_to_pass_pass_too():
    weights = jnp.array([[0.5, 1.0, 0.5, 0.25, 0.5]])
    for filters in (Filters(2, 1.0, 0.0), Filters(0, 0.5, 0.0), Filters(0, 1.0, 0.5)):
        likely = likely_events(weights, filters)[0]
        assert likely.tolist() == [True, True, True, False, True]
    assert likely_events(weights, Filters(1, 1.0, 0.0))[0].tolist().count(True) == 1
    assert likely_events(weights, Filters(9, 1.0, 0.0)).all()


@given(seed=st.integers(0, 2**32 - 1), uniform=st.floats(0, 1 - 2**-23, width=32))
@settings(max_examples=200, deadline=None)
def test_the_event_drawn_is_where_the_probabilities_add_up_to_the_number(seed, uniform):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (3, 413)).astype(np.float32)
    legal = rng.random((3, 413)) < rng.choice([0.01, 0.5, 1.0])
    legal[:, rng.integers(413)] = True
    numbers = jnp.full(3, uniform)
    tokens = draw(numbers, jnp.array(logits), jnp.array(legal), 0.9, None)
    for row, allowed, token in zip(logits.astype(float), legal, np.asarray(tokens), strict=True):
        weights = np.where(allowed, np.exp((row - row.max()) / 0.9), 0)
        up_to = np.cumsum(weights) / weights.sum()
        assert allowed[token]
        assert up_to[token] - weights[token] / weights.sum() <= uniform + 1e-5
        assert uniform - 1e-5 <= up_to[token]


def test_the_ends_of_the_range_draw_legal_events():
    logits, legal = jnp.zeros((2, 413)), jnp.zeros((2, 413), bool).at[:, 7:11].set(True)
    numbers = jnp.array([0.0, 1 - 2**-23])
    assert draw(numbers, logits, legal, 1.0, None).tolist() == [7, 10]


def test_at_temperature_zero_the_first_of_the_likeliest_is_drawn():
    logits = jnp.array([[1.0, 2.0, 2.0, np.nextafter(np.float32(2), np.float32(1))]] * 3)
    numbers = jnp.array([0.0, 0.5, 0.99])
    legal = jnp.ones((3, 4), bool)
    assert draw(numbers, logits, legal, 0.0, None).tolist() == [1, 1, 1]
    last = logits.at[:, 1:3].set(0)
    assert draw(numbers, last, legal, 0.0, Filters(2, 0.9, 0.1)).tolist() == [3, 3, 3]


def test_draws_follow_the_probabilities():
    np.testing.assert_allclose(draw_many(), np.exp(LOGITS), atol=1e-4)


def test_temperature_sharpens_and_zero_is_greedy():
    squared = np.exp(2 * LOGITS)
    np.testing.assert_allclose(draw_many(temperature=0.5), squared / squared.sum(), atol=1e-4)
    assert draw_many(temperature=0.0)[0] == 1
    assert draw_many(temperature=0.0, filters=Filters(3, 0.9, 0.01))[0] == 1


def test_only_legal_events_are_drawn_and_filters_look_at_them_alone():
    legal = (False, False, True, True, True)
    np.testing.assert_allclose(draw_many(legal), [0, 0, 1 / 2, 1 / 3, 1 / 6], atol=1e-4)
    filtered = draw_many(legal, filters=Filters(2, 1.0, 0.0))
    np.testing.assert_allclose(filtered, [0, 0, 0.6, 0.4, 0], atol=1e-4)


def test_filters_look_at_the_probabilities_after_temperature():
    shares = draw_many(temperature=0.25, filters=Filters(0, 0.7, 0.0), count=500)
    assert shares[0] == 1  # 0.4^4 is three quarters of the whole


def test_filters_that_are_off_are_left_out():
    assert SamplingSettings(temperature=0.5, top_p=1.0).filters is None
    assert SamplingSettings(top_k=3, top_p=1.0).filters == Filters(3, 1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("min_p", -0.1),
        ("min_p", 1.0),
        ("max_note_seconds", 0.0),
        ("max_note_seconds", float("nan")),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(UserError, match=f"{name}={value}"):
        SamplingSettings(**{name: value})
