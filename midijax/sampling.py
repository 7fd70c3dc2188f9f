"""How the next event is drawn from the logits: temperature, top-k, top-p and min-p.

B batch, V vocabulary.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from midijax.errors import require

COLDEST = 1e-30  # stands for temperature 0 where something is divided by it
ONE_BITS = 0x3F800000  # the float32 1.0


class Filters(NamedTuple):
    """Limits on which events are drawn at all; see `SamplingSettings`."""

    top_k: jax.Array | int
    top_p: jax.Array | float
    min_p: jax.Array | float


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How events are chosen; each of the filters looks at the probabilities after temperature.

    Attributes:
      temperature: logits are divided by it: below 1 more cautious, above 1 wilder, 0 always takes
        the likeliest event.
      top_k: only the k likeliest events (and ties with the k-th) are drawn; 0 for all.
      top_p: only the likeliest events that together reach this probability (Holtzman et al. 2020),
        and ties with the last of them; 1 for all.
      min_p: only events at least this share as likely as the likeliest (Nguyen et al. 2024); 0 for
        all.
      max_note_seconds: no note is held longer.

    Raises:
      UserError: a value out of its range.
    """

    temperature: float = 1.03
    top_k: int = 0
    top_p: float = 0.995
    min_p: float = 0.0
    max_note_seconds: float = 10.0

    def __post_init__(self) -> None:
        require(0 <= self.temperature <= 100, "temperature", self.temperature, "from 0 to 100")
        require(0 <= self.top_k < 2**31, "top_k", self.top_k, "0 (off) or a number of events")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1 (off)")
        require(0 <= self.min_p < 1, "min_p", self.min_p, "from 0 (off) to below 1")
        seconds = self.max_note_seconds
        require(0 < seconds <= 3600, "max_note_seconds", seconds, "above 0 and at most 3600")

    @property
    def filters(self) -> Filters | None:
        """The filters, or None if all are off."""
        filters = Filters(int(self.top_k), float(self.top_p), float(self.min_p))
        return None if filters == Filters(0, 1.0, 0.0) else filters


def draw(
    uniform_B: jax.Array,
    logits_BxV: jax.Array,
    legal_BxV: jax.Array,
    temperature: jax.Array | float,
    filters: Filters | None,
) -> jax.Array:
    """Draws one legal event per row, int32 (B,), each by its own uniform number from [0, 1).

    It is the first event up to which the probabilities, of all events in order, add up to more than
    that number; at temperature 0 the likeliest, the first of several.
    """
    logits_BxV = jnp.where(legal_BxV, logits_BxV, -jnp.inf)
    below_BxV = logits_BxV - logits_BxV.max(axis=1, keepdims=True)
    weight_BxV = jnp.exp(below_BxV / jnp.maximum(temperature, COLDEST))
    if filters is not None:
        weight_BxV = jnp.where(likely_events(weight_BxV, filters), weight_BxV, 0)
    events_V = jnp.arange(weight_BxV.shape[1])
    share_B = jnp.where(temperature > 0, uniform_B, 0)
    target_B = share_B * weight_BxV.sum(axis=1)

    def is_reached(event_B: jax.Array) -> jax.Array:
        up_to_BxV = jnp.where(events_V <= event_B[:, None], weight_BxV, 0)
        return up_to_BxV.sum(axis=1) > target_B

    last_B = jnp.where(weight_BxV > 0, events_V, 0).max(axis=1)
    return _least(is_reached, jnp.zeros_like(last_B), last_B, len(events_V))


def likely_events(weight_BxV: jax.Array, filters: Filters) -> jax.Array:
    """The events that pass every filter, bool (B, V); the likeliest always do.

    An event passes top-k if fewer than k events are likelier, top-p if those that are likelier do
    not reach the probability p together, and equally likely ones pass alike. So those pass that
    have some least weight, which is looked for among the floats by their bits: far cheaper than to
    sort.

    Args:
      weight_BxV: how likely each event is, the likeliest being 1.
      filters: the limits.
    """
    batch_size, vocab_size = weight_BxV.shape
    top_k = jnp.where(filters.top_k > 0, filters.top_k, vocab_size)
    nucleus_B = jnp.where(filters.top_p < 1, filters.top_p, jnp.inf) * weight_BxV.sum(axis=1)

    def is_high(bits_B: jax.Array) -> jax.Array:
        is_likelier_BxV = _bits(weight_BxV) > bits_B[:, None]
        likelier_B = jnp.where(is_likelier_BxV, weight_BxV, 0).sum(axis=1)
        return (is_likelier_BxV.sum(axis=1) < top_k) & (likelier_B < nucleus_B)

    least_B, most_B = (jnp.full(batch_size, _bits(weight)) for weight in (filters.min_p, 1.0))
    threshold_B = _least(is_high, least_B, most_B, ONE_BITS)
    return _bits(weight_BxV) >= threshold_B[:, None]


def _bits(weight: jax.Array | float) -> jax.Array:
    """The bits of floats from 0 on, as int32 in the same order."""
    return jax.lax.bitcast_convert_type(jnp.float32(weight), jnp.int32)


def _least(
    holds: Callable[[jax.Array], jax.Array], low_B: jax.Array, high_B: jax.Array, span: int
) -> jax.Array:
    """The least integer of each row for which `holds`, from low on, by bisection.

    What holds for one holds for all above it, and for `high_B`; there are at most `span` to high.
    """

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low_B, high_B = bounds
        middle_B = (low_B + high_B) // 2
        holds_B = holds(middle_B)
        return jnp.where(holds_B, low_B, middle_B + 1), jnp.where(holds_B, middle_B, high_B)

    return jax.lax.fori_loop(0, span.bit_length(), halve, (low_B, high_B))[1]
