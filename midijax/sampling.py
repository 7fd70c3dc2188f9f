"""How the next event is drawn from the logits: temperature, top-k, top-p and min-p.

B batch, V vocabulary.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from midijax.errors import require

COLDEST = 1e-6  # stands for temperature 0 where something is divided by it


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
      top_p: only the likeliest events that together reach this probability (Holtzman et al. 2020);
        1 for all.
      min_p: only events at least this share as likely as the likeliest (Nguyen et al. 2024); 0 for
        all.
      max_note_seconds: no note is held longer.

    Raises:
      UserError: a value out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
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
    keys_B: jax.Array,
    logits_BxV: jax.Array,
    legal_BxV: jax.Array,
    temperature: jax.Array | float,
    filters: Filters | None,
) -> jax.Array:
    """Draws one legal event per row, int32 (B,), each row with its own key.

    The draw is the Gumbel-max trick with the noise, not the logits, scaled by the temperature, so
    that temperature 0 is the greedy choice.
    """
    logits_BxV = jnp.where(legal_BxV, logits_BxV, -jnp.inf)
    if filters is not None:
        likely_BxV = likely_events(logits_BxV / jnp.maximum(temperature, COLDEST), filters)
        logits_BxV = jnp.where(likely_BxV, logits_BxV, -jnp.inf)
    noise_BxV = jax.vmap(lambda key: jax.random.gumbel(key, logits_BxV.shape[1:]))(keys_B)
    return jnp.argmax(logits_BxV + temperature * noise_BxV, axis=1).astype(jnp.int32)


def likely_events(logits_BxV: jax.Array, filters: Filters) -> jax.Array:
    """The events that pass every filter, bool (B, V); the likeliest always does."""
    vocab_size = logits_BxV.shape[1]
    sorted_BxV = jnp.sort(logits_BxV, axis=1, descending=True)
    top_k = jnp.where(filters.top_k > 0, jnp.minimum(filters.top_k, vocab_size), vocab_size)
    kth_B = sorted_BxV[:, top_k - 1]
    probability_BxV = jax.nn.softmax(sorted_BxV, axis=1)
    likelier_BxV = jnp.cumsum(probability_BxV, axis=1) - probability_BxV
    in_nucleus_BxV = (likelier_BxV < filters.top_p) | (filters.top_p >= 1)
    least_B = jnp.where(in_nucleus_BxV, sorted_BxV, jnp.inf).min(axis=1)
    near_B = sorted_BxV[:, 0] + jnp.log(filters.min_p)
    threshold_B = jnp.maximum(jnp.maximum(kth_B, least_B), near_B)
    return logits_BxV >= threshold_B[:, None]
