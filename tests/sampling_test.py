"""Temperature and filters, against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midijax import sampling
from midijax.errors import UserError
from midijax.sampling import Filters, SamplingSettings

LOGITS = np.log([0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.float32)


def draw_many(legal=(True,) * 5, temperature=1.0, filters=None, count=20_000):
    keys = jax.random.split(jax.random.key(0), count)
    logits = jnp.broadcast_to(LOGITS, (count, 5))
    tokens = sampling.draw(keys, logits, jnp.array([legal]), temperature, filters)
    return np.bincount(tokens, minlength=5) / count


def numpy_filter(logits, filters):
    """One event at a time, from the likeliest on."""
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    kept, total = [], 0.0
    for rank, token in enumerate(np.argsort(-probabilities)):
        in_k = filters.top_k == 0 or rank < filters.top_k
        in_p = filters.top_p == 1 or total < filters.top_p
        if in_k and in_p and probabilities[token] >= filters.min_p * probabilities.max():
            kept.append(token)
        total += probabilities[token]
    return sorted(kept)


@given(
    seed=st.integers(0, 2**32 - 1),
    top_k=st.integers(0, 60),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_filters_equal_numpy(seed, top_k, top_p, min_p):
    logits = np.random.default_rng(seed).normal(0, 3, 50).astype(np.float32)
    filters = Filters(top_k, top_p, min_p)
    likely = sampling.likely_events(jnp.array([logits]), filters)[0]
    assert np.flatnonzero(likely).tolist() == numpy_filter(logits, filters)


def test_draws_follow_the_probabilities():
    np.testing.assert_allclose(draw_many(), np.exp(LOGITS), atol=0.015)


def test_temperature_sharpens_and_zero_is_greedy():
    squared = np.exp(2 * LOGITS)
    np.testing.assert_allclose(draw_many(temperature=0.5), squared / squared.sum(), atol=0.015)
    assert draw_many(temperature=0.0)[0] == 1
    assert draw_many(temperature=0.0, filters=Filters(3, 0.9, 0.01))[0] == 1


def test_only_legal_events_are_drawn_and_filters_look_at_them_alone():
    legal = (False, False, True, True, True)
    np.testing.assert_allclose(draw_many(legal), [0, 0, 1 / 2, 1 / 3, 1 / 6], atol=0.015)
    filtered = draw_many(legal, filters=Filters(2, 1.0, 0.0))
    np.testing.assert_allclose(filtered, [0, 0, 0.6, 0.4, 0], atol=0.015)


def test_filters_look_at_the_probabilities_after_temperature():
    shares = draw_many(temperature=0.25, filters=Filters(0, 0.7, 0.0), count=500)
    assert shares[0] == 1  # 0.4^4 is three quarters of the whole


def test_filters_that_are_off_are_left_out():
    assert SamplingSettings(temperature=0.5).filters is None
    assert SamplingSettings(top_k=3).filters == Filters(3, 1.0, 0.0)


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
