"""Parts of real performances, for generated music to be held against."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from midijax import corpus, progress
from midijax.config import Config
from midijax.events import EventVocabulary
from midijax.performance import Performance
from midijax.statistics import excerpt

Named = tuple[str, Performance]


class Excerpt(NamedTuple):
    """A part of a real performance, as a model could have played it: without pedal, in steps."""

    name: str
    start: float
    performance: Performance


def performances(folder: Path, split: str) -> list[Named]:
    """Names and performances of a split of a prepared corpus, the pedal folded in."""
    records = corpus.open_split(folder, split)
    bar = progress.bar(
        records, desc=f"reading the {split} split", unit=" performances", leave=False
    )
    return [(name, music.apply_sustain()) for name, music in map(corpus.unpack, bar)]


def as_trained(
    performances: Sequence[Named], config: Config, seconds: float, seed: int
) -> list[Excerpt]:
    """From each performance that is long enough an excerpt that begins as the model's music does.

    It is the performance's beginning if the model was trained on whole performances (in streams),
    which it begins like them; else it begins anywhere, as the model's windows did.
    """
    if config.data.num_streams:
        long = _lasting(performances, seconds)
        return [cut(config.vocabulary, one, 0, seconds) for one in long]
    return anywhere(performances, config.vocabulary, seconds, seed)


def anywhere(
    performances: Sequence[Named], vocabulary: EventVocabulary, seconds: float, seed: int
) -> list[Excerpt]:
    """From each performance that is long enough an excerpt from any second on, drawn by chance."""
    rng = np.random.default_rng(seed)
    return [
        cut(vocabulary, one, _drawn(rng, one[1].duration - seconds), seconds)
        for one in _lasting(performances, seconds)
    ]


def cut(vocabulary: EventVocabulary, one: Named, start: float, seconds: float) -> Excerpt:
    """An excerpt of one performance, through the vocabulary: as coarse as what a model plays."""
    name, performance = one
    events = vocabulary.encode(excerpt(performance, start, seconds))
    return Excerpt(name, start, vocabulary.decode(events))


def heard(group: Sequence[Excerpt]) -> list[Performance]:
    """The music alone."""
    return [one.performance for one in group]


def _lasting(performances: Sequence[Named], seconds: float) -> list[Named]:
    return [one for one in performances if one[1].duration >= seconds]


def _drawn(rng: np.random.Generator, last: float) -> int:
    return int(rng.integers(0, int(last), endpoint=True))
