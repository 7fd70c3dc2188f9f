"""How much better a model knows what it was trained on than what is new to it.

    python experiments/checks/learned_by_heart.py --data=runs/data/maestro-v3

The table has nats per event over the beginnings of performances, each followed from its first event
on, nothing said by any control: of pieces that the training split has in one recording, of those
that it has in three or more, and of the validation split; as played, and in a key that the model
has never heard them in, one semitone beyond its training's transpositions.
"""

import collections
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trained_model
from absl import flags

from midijax import cli, corpus, metrics, model, progress
from midijax.checkpoint import Loaded
from midijax.report_tables import table

MANY_RECORDINGS = 3

FLAGS = flags.FlagValues()
trained_model.define_workdir(FLAGS)
trained_model.define_data(FLAGS, "that the model was trained on")
_NUM_PERFORMANCES = flags.DEFINE_integer(
    "num_performances", 40, "How many of each kind.", lower_bound=1, flag_values=FLAGS
)
_NUM_EVENTS = flags.DEFINE_integer(
    "num_events", 10_000, "How many of each performance.", lower_bound=1, flag_values=FLAGS
)


def main(arguments: list[str]) -> None:
    """Scores each kind of music and prints the table."""
    cli.reject(arguments, FLAGS)
    folder = trained_model.corpus_folder(FLAGS)
    loaded = trained_model.load(FLAGS)
    semitones = loaded.config.data.max_transpose + 1
    rows = [
        [title, *(_cell(loaded, folder, split, numbers, moved) for moved in (0, semitones))]
        for title, split, numbers in progress.bar(
            list(kinds(folder)), desc="scoring", unit=" kinds"
        )
    ]
    print(table(["music", "as played", f"{semitones} semitones up"], rows))


def kinds(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Each kind of music: its title, its split, and the numbers of its performances there."""
    performances = corpus.read_manifest(folder).performances
    pieces = [(entry.composer, entry.title) for entry in performances["train"]]
    recordings = collections.Counter(pieces)
    counts = [recordings[piece] for piece in pieces]
    yield "training, one recording", "train", [n for n, c in enumerate(counts) if c == 1]
    many = [n for n, c in enumerate(counts) if c >= MANY_RECORDINGS]
    yield f"training, {MANY_RECORDINGS} recordings or more", "train", many
    yield "validation", "validation", list(range(len(performances.get("validation", []))))


def _cell(loaded: Loaded, folder: Path, split: str, numbers: list[int], semitones: int) -> str:
    """Nats per event over an even choice of the performances, moved up, or as far as pitches go."""
    if not numbers:
        return ""
    places = np.linspace(0, len(numbers) - 1, min(_NUM_PERFORMANCES.value, len(numbers)))
    records, vocabulary = corpus.open_split(folder, split), loaded.config.vocabulary
    sequences = []
    for place in places.round().astype(int):
        performance = corpus.unpack(records[numbers[place]])[1]
        moved = performance.transpose(min(semitones, performance.transposition_range()[1]))
        sequences.append(vocabulary.encode(moved)[: _NUM_EVENTS.value])
    scores = metrics.score(model.from_config(loaded.config), loaded.params, sequences, vocabulary)
    return f"{scores.nats_per_event:.3f}"


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
