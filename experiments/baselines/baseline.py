"""The frame of every baseline: its flags, the corpus it predicts, and how its scores are told."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from midijax import atomic, cli, corpus, metrics, outputs, progress
from midijax.errors import UserError
from midijax.events import KIND_NAMES, PERFORMANCE_RNN
from midijax.metrics import Scores
from midijax.performance import Performance

VOCABULARY = PERFORMANCE_RNN
START = VOCABULARY.size  # before the first event
RATIOS = ("nats_per_event", "nats_per_note", "nats_per_second", "accuracy")

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Corpus made by midijax.prepare.", flag_values=FLAGS)
_SPLIT = flags.DEFINE_enum(
    "split", "validation", corpus.SPLITS, "What to predict.", flag_values=FLAGS
)
_JSON = flags.DEFINE_string("json", None, "Also write all figures to this file.", flag_values=FLAGS)

Score = Callable[[Sequence[np.ndarray]], Scores]  # of sequences, each from its first event on


def begin(arguments: list[str]) -> Path:
    """Refuses flags that are not sound; returns the folder of --data."""
    cli.reject(arguments, FLAGS)
    if not _DATA.value:
        raise UserError("--data is needed: a corpus made by midijax.prepare")
    if _JSON.value is not None:
        outputs.require_file("json", cli.path(_JSON.value))
    folder = cli.path(_DATA.value)
    corpus.read_manifest(folder)
    return folder


def performances(folder: Path, split: str) -> Iterator[Performance]:
    """The performances of a split, in order."""
    records = corpus.open_split(folder, split)
    for index in progress.bar(range(len(records)), desc=f"reading {split}", unit="performance"):
        yield corpus.unpack(records[index])[1]


def to_predict(folder: Path) -> list[np.ndarray]:
    """Each performance of --split as events, int32 (events,)."""
    return [VOCABULARY.encode(performance) for performance in performances(folder, _SPLIT.value)]


def scores(events_E: np.ndarray, nats_E: np.ndarray, correct_E: np.ndarray) -> Scores:
    """Sums what each of E events costs, and whether it was the model's first guess."""
    kinds_E = VOCABULARY.kinds[events_E]
    count, nats, correct = (
        np.bincount(kinds_E, weights_E, minlength=len(KIND_NAMES))
        for weights_E in (None, nats_E, correct_E)
    )
    return Scores(
        nats=tuple(nats.tolist()),
        count=tuple(count.tolist()),
        correct=tuple(correct.astype(int).tolist()),
        seconds=float(VOCABULARY.steps(events_E)[-1] / VOCABULARY.steps_per_second),
    )


def report(title: str, score: Score, sequences: Sequence[np.ndarray]) -> None:
    """Tells the scores of whole performances and of crops, and writes them if asked to."""
    by_protocol = {"whole": score(sequences), "crops": score(metrics.crops(sequences))}
    print(f"{title}: {by_protocol['whole'].events:,} events of {len(sequences):,} performances")
    print(f"{'':8}" + "".join(f"{name.replace('_', ' '):>18}" for name in RATIOS))
    for protocol, measured in by_protocol.items():
        print(f"{protocol:8}" + "".join(f"{getattr(measured, name):18.4f}" for name in RATIOS))
    if _JSON.value is not None:
        told: dict[str, Any] = {"title": title, "split": _SPLIT.value}
        told |= {protocol: measured.to_json() for protocol, measured in by_protocol.items()}
        text = json.dumps(told, indent=2, allow_nan=False)
        atomic.write_text(cli.path(_JSON.value), text + "\n")
