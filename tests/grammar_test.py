"""The grammar, against a plain-Python account of a piano and random events."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midijax import grammar
from midijax.events import (
    NOTE_OFF,
    NOTE_ON,
    NOTEBOOK,
    OORE_2018,
    PERFORMANCE_RNN,
    TIME_SHIFT,
    VELOCITY,
    EventVocabulary,
)

VOCABULARIES = {
    "oore_2018": OORE_2018,
    "performance_rnn": PERFORMANCE_RNN,
    "notebook": NOTEBOOK,
    "coarse": EventVocabulary(steps_per_second=4, max_shift_steps=3, num_velocity_bins=2),
}


class Piano:
    """Says which events are legal from lists of what sounds."""

    def __init__(self, vocabulary: EventVocabulary, max_note_steps: int, max_steps: int):
        self.vocabulary = vocabulary
        self.max_note_steps = max_note_steps
        self.max_steps = max_steps
        self.ages: dict[int, int] = {}
        self.latest_kind: int | None = None
        self.elapsed = 0

    def legal(self) -> list[int]:
        silent = [pitch for pitch in range(128) if pitch not in self.ages]
        overdue = [pitch for pitch, age in self.ages.items() if age >= self.max_note_steps]
        if overdue:
            return [128 + pitch for pitch in sorted(overdue)]
        if self.latest_kind == VELOCITY:
            return silent
        releases = [128 + pitch for pitch, age in sorted(self.ages.items()) if age > 0]
        shifts = [255 + steps for steps in range(1, self.vocabulary.max_shift_steps + 1)]
        velocities = range(self.vocabulary.velocity_base, self.vocabulary.size) if silent else []
        return silent + releases + shifts + list(velocities)

    def shortened(self, token: int) -> int:
        if self.vocabulary.kinds[token] != TIME_SHIFT:
            return token
        room = min([self.max_note_steps - age for age in self.ages.values()] + [10**9])
        steps = min(self.vocabulary.values[token], room, self.max_steps - self.elapsed)
        return int(255 + steps)

    def play(self, token: int) -> None:
        kind, value = self.vocabulary.kinds[token], int(self.vocabulary.values[token])
        self.latest_kind = kind
        if kind == NOTE_ON:
            self.ages[value] = 0
        elif kind == NOTE_OFF:
            del self.ages[value]
        elif kind == TIME_SHIFT:
            self.elapsed += value
            self.ages = {pitch: age + value for pitch, age in self.ages.items()}


@functools.partial(jax.jit, static_argnames="vocabulary")
def legal(vocabulary, state, limits):
    return grammar.legal_events(vocabulary, state, limits)


@functools.partial(jax.jit, static_argnames="vocabulary")
def shorten(vocabulary, state, limits, token_B):
    return grammar.shorten(vocabulary, state, limits, token_B)


@functools.partial(jax.jit, static_argnames="vocabulary")
def advance(vocabulary, state, token_B):
    return grammar.advance(vocabulary, state, token_B)


@pytest.mark.parametrize("name", VOCABULARIES)
@given(
    seed=st.integers(0, 2**32 - 1),
    max_note_steps=st.sampled_from([1, 2, 40, 1250]),
    max_steps=st.sampled_from([1, 7, 300, 10**9]),
    taste=st.sampled_from([(1, 1, 1, 1), (20, 0.1, 0.1, 5), (1, 9, 9, 1), (9, 0, 0.01, 9)]),
)
@settings(max_examples=10, deadline=None)
def test_agrees_with_a_piano_and_never_leaves_without_a_choice(
    name, seed, max_note_steps, max_steps, taste
):
    vocabulary = VOCABULARIES[name]
    limits = grammar.Limits(max_note_steps, max_steps)
    rng = np.random.default_rng(seed)
    piano = Piano(vocabulary, max_note_steps, max_steps)
    state = grammar.initial_state(1)
    weights = np.array(taste)[vocabulary.kinds]
    for _ in range(300):
        if piano.elapsed == max_steps:
            break
        allowed = np.asarray(legal(vocabulary, state, limits))[0]
        assert np.flatnonzero(allowed).tolist() == piano.legal()
        assert allowed.any()
        chances = (weights + 1e-9) * allowed
        drawn = rng.choice(vocabulary.size, p=chances / chances.sum())
        token = int(shorten(vocabulary, state, limits, jnp.array([drawn]))[0])
        assert token == piano.shortened(drawn)
        piano.play(token)
        state = advance(vocabulary, state, jnp.array([token]))
        assert max(piano.ages.values(), default=0) <= max_note_steps
        assert int(state.elapsed_B[0]) == piano.elapsed


def test_a_full_keyboard_leaves_time_to_pass():
    vocabulary = OORE_2018
    state = grammar.initial_state(1)
    for pitch in range(128):
        state = advance(vocabulary, state, jnp.array([pitch]))
    allowed = np.asarray(legal(vocabulary, state, grammar.Limits(50, 1000)))[0]
    shifts = range(vocabulary.shift_base, vocabulary.velocity_base)
    assert np.flatnonzero(allowed).tolist() == list(shifts)


def test_performances_do_not_touch_each_other():
    vocabulary = PERFORMANCE_RNN
    state = advance(vocabulary, grammar.initial_state(2), jnp.array([60, vocabulary.velocity_base]))
    allowed_BxV = np.asarray(legal(vocabulary, state, grammar.Limits(1000, 1000)))
    assert not allowed_BxV[0, 60] and allowed_BxV[0, vocabulary.shift_base]
    assert allowed_BxV[1, :128].all() and not allowed_BxV[1, 128:].any()
