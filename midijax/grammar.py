"""Which events may come next, so that what is generated is always playable.

No note-off without its note, no note-on for a sounding note, no velocity but right before a
note-on, no note that lasts longer than allowed. B batch, P pitches, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from midijax.events import NOTE_OFF, NOTE_ON, TIME_SHIFT, VELOCITY, EventVocabulary
from midijax.performance import NUM_PITCHES

SILENT = -1


class GrammarState(NamedTuple):
    """What has been played so far, as far as it bears on what may follow.

    Attributes:
      age_BxP: for how many steps each pitch has sounded, or SILENT; int32.
      after_velocity_B: whether the latest event was a velocity; bool.
      elapsed_B: steps since the start; int32.
    """

    age_BxP: jax.Array
    after_velocity_B: jax.Array
    elapsed_B: jax.Array


class Limits(NamedTuple):
    """How long notes and performances may be, in steps; both at least 1, int32 scalars."""

    max_note_steps: jax.Array | int
    max_steps: jax.Array | int


def initial_state(batch_size: int) -> GrammarState:
    """Nothing sounds and no time has passed."""
    return GrammarState(
        age_BxP=jnp.full((batch_size, NUM_PITCHES), SILENT, jnp.int32),
        after_velocity_B=jnp.zeros(batch_size, bool),
        elapsed_B=jnp.zeros(batch_size, jnp.int32),
    )


def legal_events(vocabulary: EventVocabulary, state: GrammarState, limits: Limits) -> jax.Array:
    """The events that may come next, bool (B, V).

    A note sounds for a step at least and for `max_note_steps` at most: one that has reached them
    leaves no choice but to release it. While there is time left, every time-shift is legal, to be
    cut by `shorten`: to forbid the long ones would turn their probability into more notes. From any
    state that such events lead to, some event is legal until `max_steps` have passed: after a
    velocity a silent pitch, with a note at its limit that note's release, and else a time-shift.
    """
    age_BxP = state.age_BxP
    silent_BxP = age_BxP == SILENT
    overdue_BxP = age_BxP >= limits.max_note_steps
    overdue_Bx1 = overdue_BxP.any(axis=1, keepdims=True)
    free_Bx1 = ~state.after_velocity_B[:, None]
    shift_Bx1 = free_Bx1 & (_room(state, limits) > 0)[:, None]
    velocity_Bx1 = free_Bx1 & ~overdue_Bx1 & silent_BxP.any(axis=1, keepdims=True)
    legal_by_kind = {
        NOTE_ON: silent_BxP & ~overdue_Bx1,
        NOTE_OFF: free_Bx1 & (age_BxP >= 1) & (overdue_BxP | ~overdue_Bx1),
        TIME_SHIFT: shift_Bx1.repeat(vocabulary.max_shift_steps, axis=1),
        VELOCITY: velocity_Bx1.repeat(vocabulary.num_velocity_bins, axis=1),
    }
    return jnp.concatenate([legal_by_kind[kind] for kind in sorted(legal_by_kind)], axis=1)


def shorten(
    vocabulary: EventVocabulary, state: GrammarState, limits: Limits, token_B: jax.Array
) -> jax.Array:
    """Cuts time-shifts that lead past a limit to end there; other events are left, int32 (B,)."""
    is_shift_B = jnp.asarray(vocabulary.kinds)[token_B] == TIME_SHIFT
    longest_B = vocabulary.shift_base - 1 + _room(state, limits)
    return jnp.where(is_shift_B, jnp.minimum(token_B, longest_B), token_B)


def _room(state: GrammarState, limits: Limits) -> jax.Array:
    """The steps until the first sounding note or the performance reaches its limit, int32 (B,)."""
    is_silent_BxP = state.age_BxP == SILENT
    left_BxP = jnp.where(is_silent_BxP, limits.max_steps, limits.max_note_steps - state.age_BxP)
    return jnp.minimum(left_BxP.min(axis=1), limits.max_steps - state.elapsed_B)


def advance(vocabulary: EventVocabulary, state: GrammarState, token_B: jax.Array) -> GrammarState:
    """The state after one more event each, int32 (B,); events need not be legal."""
    kind_B = jnp.asarray(vocabulary.kinds)[token_B]
    value_B = jnp.asarray(vocabulary.values)[token_B]
    steps_B = jnp.where(kind_B == TIME_SHIFT, value_B, 0)
    is_pitch_BxP = value_B[:, None] == jnp.arange(NUM_PITCHES)
    age_BxP = state.age_BxP + jnp.where(state.age_BxP == SILENT, 0, steps_B[:, None])
    age_BxP = jnp.where(is_pitch_BxP & (kind_B == NOTE_ON)[:, None], 0, age_BxP)
    age_BxP = jnp.where(is_pitch_BxP & (kind_B == NOTE_OFF)[:, None], SILENT, age_BxP)
    return GrammarState(age_BxP, kind_B == VELOCITY, state.elapsed_B + steps_B)
