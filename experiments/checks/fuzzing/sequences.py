"""Event ids of many sorts, and some that are no events."""

import numpy as np

from midijax.events import EventVocabulary

MEAN_EVENTS, MAX_EVENTS = 150, 2000
INTEGERS = ("int16", "uint16", "int32", "uint32", "int64", "uint64")  # those that hold every id
NO_EVENTS = np.array([-(2**63), -(2**31), -413, -2, -1, 413, 2**16, 2**31, 2**32, 2**63 - 1])


def sequence(
    rng: np.random.Generator, vocabulary: EventVocabulary, played: list[np.ndarray]
) -> np.ndarray:
    """Event ids (events,) of one of five sorts and any integer type that holds them."""
    length = min(int(rng.exponential(MEAN_EVENTS)), MAX_EVENTS)
    sort = rng.integers(5)
    if sort == 0:  # any events
        tokens = rng.integers(vocabulary.size, size=length)
    elif sort == 1:
        tokens = _of_each_kind(rng, vocabulary, length)
    elif sort == 2:  # a few, again and again
        tokens = rng.choice(rng.integers(vocabulary.size, size=6), length)
    elif sort == 3:
        tokens = _with_faults(rng, played, length, np.arange(vocabulary.size))
    else:
        return _with_faults(rng, played, length, NO_EVENTS)
    return tokens.astype(rng.choice(INTEGERS))


def _of_each_kind(rng: np.random.Generator, vocabulary: EventVocabulary, length: int) -> np.ndarray:
    """As many events of each kind."""
    kinds = np.unique(vocabulary.kinds)
    bounds = np.append(np.searchsorted(vocabulary.kinds, kinds), vocabulary.size)
    kind = rng.integers(len(kinds), size=length)
    return rng.integers(bounds[kind], bounds[kind + 1])


def _with_faults(
    rng: np.random.Generator, played: list[np.ndarray], length: int, pool: np.ndarray
) -> np.ndarray:
    """As played, but for ids from the pool."""
    source = played[rng.integers(len(played))]
    start = rng.integers(len(source))
    tokens = source[start : start + length].astype(np.int64)
    faulty = rng.random(len(tokens)) < 0.05
    tokens[faulty] = rng.choice(pool, int(faulty.sum()))
    return tokens
