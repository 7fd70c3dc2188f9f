"""N-gram models of performance events, which a network that has learned anything must beat.

Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999, section 3): an event's share among
those that followed the same `order` - 1 events in training, less a discount that goes to the model
of the order below, whose counts are of the different contexts in which an event was seen; at the
bottom all events are alike. All is counted on the train split; the discounts too come from there.

    python experiments/baselines/ngram.py --data=runs/data/maestro-v3 --order=2
    python experiments/baselines/ngram.py --data=runs/data/maestro-v3 --order=5 --max_transpose=3

Shapes: B events scored at once, V vocabulary, G grams, C contexts.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import baseline
import numpy as np
from absl import flags
from baseline import START, VOCABULARY

from midijax import cli, progress
from midijax.events import NOTE_OFF
from midijax.metrics import Scores
from midijax.performance import Performance

BITS = 9  # of an event in a gram's key, the latest in the lowest
MAX_ORDER = 63 // BITS
BATCH = 512  # events whose distributions are held at once

FLAGS = baseline.FLAGS
_ORDER = flags.DEFINE_integer(
    "order",
    5,
    "Events in a gram, the predicted one included.",
    lower_bound=1,
    upper_bound=MAX_ORDER,
    flag_values=FLAGS,
)
_MAX_TRANSPOSE = flags.DEFINE_integer(
    "max_transpose",
    0,
    "Count every training performance in all transpositions by up to so many semitones.",
    lower_bound=0,
    upper_bound=12,
    flag_values=FLAGS,
)


@dataclasses.dataclass(frozen=True)
class Level:
    """The grams of one order, by context; it refines the distribution of the order below.

    Attributes:
      contexts: the keys of the contexts seen, ascending, int64 (C,).
      first: where the grams of each context begin, and where the last one's end, (C + 1,).
      backoff: the share of probability that each context leaves to the order below, (C,).
      events: the last event of each gram, (G,).
      shares: its own share of the context's probability, after the discount, (G,).
    """

    contexts: np.ndarray
    first: np.ndarray
    backoff: np.ndarray
    events: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, keys_G: np.ndarray, counts_G: np.ndarray) -> "Level":
        """From the keys of grams, ascending and distinct, and how often each was seen."""
        first = _first_of_each(keys_G >> BITS)
        discounts_G = discounts(counts_G)[np.minimum(counts_G, 3)]
        seen_C = np.add.reduceat(counts_G, first)
        shares = counts_G - discounts_G
        shares /= np.repeat(seen_C, np.diff(first, append=len(keys_G)))
        return cls(
            contexts=keys_G[first] >> BITS,
            first=np.append(first, len(keys_G)),
            backoff=np.add.reduceat(discounts_G, first) / seen_C,
            events=(keys_G & (2**BITS - 1)).astype(np.int16),
            shares=shares,
        )

    def refine(self, lower_BxV: np.ndarray, contexts_B: np.ndarray) -> np.ndarray:
        """The distributions after some contexts, given those of the order below."""
        place_B = np.minimum(np.searchsorted(self.contexts, contexts_B), len(self.contexts) - 1)
        is_seen_B = self.contexts[place_B] == contexts_B
        probabilities_BxV = lower_BxV * np.where(is_seen_B, self.backoff[place_B], 1.0)[:, None]
        first_B = self.first[place_B]
        counts_B = np.where(is_seen_B, self.first[place_B + 1] - first_B, 0)
        grams = np.repeat(first_B - np.cumsum(counts_B) + counts_B, counts_B)
        grams += np.arange(len(grams))
        row = np.repeat(np.arange(len(contexts_B)), counts_B)
        probabilities_BxV[row, self.events[grams]] += self.shares[grams]
        return probabilities_BxV


def discounts(counts_G: np.ndarray) -> np.ndarray:
    """What to take from a gram seen 0, 1, 2, and 3 or more times.

    Estimated from the numbers of grams seen once to four times (Chen & Goodman 1999, equation 17);
    where these allow no estimate, as in a tiny corpus, a half for each time.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts_G, 5), minlength=6)[1:5].tolist()
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        estimate = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        if all(0 < discount < times for times, discount in enumerate(estimate, start=1)):
            return np.array([0.0, *estimate])
    return np.array([0.0, 0.5, 1.0, 1.5])


class NGram:
    """Which event comes next, given the `order` - 1 before it; before the first are STARTs."""

    def __init__(self, order: int, sequences: Iterable[np.ndarray]):
        """Counts the grams of the sequences, each int (events,)."""
        self._order = order
        keys = np.concatenate([_grams(sequence, order) for sequence in sequences])
        self._levels: list[Level] = []
        for length in range(order, 0, -1):
            keys, counts = _count(keys)
            self._levels.insert(0, Level.of(keys, counts))
            keys = _latest(keys, length - 1)

    def distributions(self, contexts_B: np.ndarray) -> np.ndarray:
        """The probabilities of all events, (B, V), after contexts given by their keys."""
        probabilities_BxV = np.full((len(contexts_B), VOCABULARY.size), 1 / VOCABULARY.size)
        for length, level in enumerate(self._levels):
            probabilities_BxV = level.refine(probabilities_BxV, _latest(contexts_B, length))
        return probabilities_BxV

    def score(self, sequences: Sequence[np.ndarray]) -> Scores:
        """Scores every event of the sequences, each from its first event on."""
        grams_E = np.concatenate([_grams(sequence, self._order) for sequence in sequences])
        events_E = _latest(grams_E, 1)
        nats_E, correct_E = np.empty(len(events_E)), np.empty(len(events_E), bool)
        bar = progress.bar(total=len(events_E), desc="evaluating", unit=" events", unit_scale=True)
        with bar:
            for begin in range(0, len(events_E), BATCH):
                span = slice(begin, begin + BATCH)
                probabilities_BxV = self.distributions(grams_E[span] >> BITS)
                row = np.arange(len(probabilities_BxV))
                nats_E[span] = -np.log(probabilities_BxV[row, events_E[span]])
                correct_E[span] = probabilities_BxV.argmax(1) == events_E[span]
                bar.update(len(row))
        return baseline.scores(events_E, nats_E, correct_E)


def _grams(sequence: np.ndarray, order: int) -> np.ndarray:
    """The key of the gram that ends with each event of a sequence."""
    padded = np.concatenate([np.full(order - 1, START), sequence]).astype(np.int64)
    keys = np.zeros(len(sequence), np.int64)
    for begin in range(order):
        keys = keys << BITS | padded[begin : begin + len(sequence)]
    return keys


def _count(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, ascending, and how many there are of each; leaves `keys` sorted."""
    keys.sort()  # in place, as hundreds of millions may come
    first = _first_of_each(keys)
    return keys[first], np.diff(first, append=len(keys))


def _first_of_each(keys: np.ndarray) -> np.ndarray:
    """Where each of the distinct keys stands first, if they are sorted."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))


def _latest(keys: np.ndarray, length: int) -> np.ndarray:
    """The keys of the last `length` events of grams."""
    return keys & (2 ** (BITS * length) - 1)


def transpositions(performance: Performance, limit: int) -> Iterator[np.ndarray]:
    """The events of a performance in all transpositions up to `limit` that keep its pitches."""
    events = VOCABULARY.encode(performance)
    lowest, highest = performance.transposition_range()
    for semitones in range(max(lowest, -limit), min(highest, limit) + 1):
        yield events + np.where(VOCABULARY.kinds[events] <= NOTE_OFF, semitones, 0)


def main(arguments: list[str]) -> None:
    """Counts, scores, and tells the figures."""
    folder = baseline.begin(arguments)
    order, limit = _ORDER.value, _MAX_TRANSPOSE.value
    model = NGram(
        order,
        (
            sequence
            for performance in baseline.performances(folder, "train")
            for sequence in transpositions(performance, limit)
        ),
    )
    title = f"{order}-gram, trained on transpositions by -{limit} to {limit} semitones"
    baseline.report(title if limit else f"{order}-gram", model.score, baseline.to_predict(folder))


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
