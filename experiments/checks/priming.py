"""Whether music that goes on from a primer keeps its key and its density.

Each performance of a split primes the model with its first seconds. The continuation is held
against the primer, and so is music that the model plays unprimed; the real continuation, by the
pianist, shows how much is kept at all:

    python experiments/checks/priming.py --data=runs/data/maestro-v3

The table has means over all performances: the cosine similarity of the pitch classes with the
primer's, and how far the density is from the primer's, as a factor.
"""

import jax
import numpy as np
import trained_model
from absl import flags
from obedience import cosine, measure

from midijax import cli, corpus, generate, primer, progress, statistics
from midijax.controls import NOTES_PER_SECOND, PITCH_CLASSES
from midijax.generate import Length
from midijax.performance import Performance
from midijax.sampling import SamplingSettings

FLAGS = flags.FlagValues()
trained_model.define_workdir(FLAGS)
trained_model.define_data(FLAGS, "with a validation split")
_PRIMER_SECONDS = flags.DEFINE_float(
    "primer_seconds", 10.0, "How much is heard of each.", 1.0, flag_values=FLAGS
)
_SECONDS = flags.DEFINE_float("seconds", 20.0, "How long it goes on.", 1.0, flag_values=FLAGS)
_MAX_PERFORMANCES = flags.DEFINE_integer(
    "max_performances", 0, "For a quick look, only so many; 0: all.", 0, flag_values=FLAGS
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", SamplingSettings().temperature, "As of midijax.sample.", 0.0, flag_values=FLAGS
)
GOES_ON = ("the pianist", "the model, primed", "the model, unprimed")


def main(arguments: list[str]) -> None:
    """Plays on from every performance and prints the table."""
    cli.reject(arguments, FLAGS)
    folder = trained_model.corpus_folder(FLAGS)
    loaded = trained_model.load(FLAGS)
    vocabulary = loaded.config.vocabulary
    records = corpus.open_split(folder, "validation")
    count = min(_MAX_PERFORMANCES.value or len(records), len(records))
    heard: list[dict] = []
    gone_on: dict[str, list[dict]] = {name: [] for name in GOES_ON}

    def play(index: int, tokens: np.ndarray | None) -> Performance:
        events = generate.generate(
            loaded.params,
            jax.random.key(index),
            loaded.config,
            Length(seconds=_SECONDS.value),
            SamplingSettings(temperature=_TEMPERATURE.value),
            primer=tokens,
        )[0]
        before = np.empty(0, np.int32) if tokens is None else tokens
        return primer.join(vocabulary, before, events, include_primer=False)

    for index in progress.bar(range(count), desc="going on", unit="performance"):
        real = corpus.unpack(records[index])[1]
        tokens = primer.encode(vocabulary, real, _PRIMER_SECONDS.value)
        heard.append(measure(vocabulary.decode(tokens), _PRIMER_SECONDS.value))
        for name, music in zip(
            GOES_ON,
            (excerpt(real), play(index, tokens), play(index, None)),
            strict=True,
        ):
            gone_on[name].append(measure(music, _SECONDS.value))
    print("| who goes on | pitch classes, cosine | density, factor |\n|---|--:|--:|")
    for name, played in gone_on.items():
        classes = cosine(_column(heard, PITCH_CLASSES), _column(played, PITCH_CLASSES))
        densities = (_column(one, NOTES_PER_SECOND) + 0.1 for one in (heard, played))
        factor = np.exp(np.abs(np.log(np.divide(*densities))).mean())
        print(f"| {name} | {classes:.3f} | {factor:.2f} |")


def excerpt(performance: Performance) -> Performance:
    """What the pianist plays after the primer, for as long as the model does."""
    heard = performance.apply_sustain()
    start = heard.notes["onset"].min() + _PRIMER_SECONDS.value
    return statistics.excerpt(heard, start, _SECONDS.value)


def _column(measured: list[dict], kind: str) -> np.ndarray:
    return np.array([one[kind] for one in measured], float)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
