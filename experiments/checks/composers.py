"""Whether music played in a composer's name is like that composer's: asked against recognized.

A linear discriminant learns from the training split to tell the model's composers by how their
music is played: density, timing, length, velocity, polyphony, pitch and pedal, by the histograms
of midijax.statistics. Then it names those of the validation split, which shows how much can be
told at all, and of music that the model was asked for:

    python experiments/checks/composers.py --data=runs/data/maestro-v3 --num_samples=16

The table has the share of excerpts that were given to the composer asked for, each composer
counting alike, and beside it that of the music played when the next composer was asked for.
"""

from pathlib import Path

import jax
import numpy as np
import trained_model
from absl import flags

from midijax import cli, corpus, excerpts, generate, progress, statistics
from midijax.checkpoint import Loaded
from midijax.controls import Wishes
from midijax.errors import UserError
from midijax.generate import Length
from midijax.performance import Performance
from midijax.sampling import SamplingSettings

MAX_EXCERPTS = 8  # of a performance
SHRINKAGE = 0.1  # of the covariance, towards a multiple of the identity

FLAGS = flags.FlagValues()
trained_model.define_workdir(FLAGS)
trained_model.define_data(FLAGS, "whose entries tell composers")
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 16, "Samples for each composer.", 1, flag_values=FLAGS
)
_SECONDS = flags.DEFINE_float("seconds", 30.0, "Length of each.", 1.0, flag_values=FLAGS)
_GUIDANCE = flags.DEFINE_float("guidance", 1.0, "As of midijax.sample.", 0.0, flag_values=FLAGS)


def main(arguments: list[str]) -> None:
    """Learns to tell composers, lets the model play, and prints the table."""
    cli.reject(arguments, FLAGS)
    folder = trained_model.corpus_folder(FLAGS)
    loaded = trained_model.load(FLAGS)
    composers = loaded.config.controls.composers
    if not composers:
        raise UserError(f"the model in '{FLAGS['workdir'].value}' knows no composers")
    features, labels = real(loaded, folder, "train")
    if missing := [name for index, name in enumerate(composers) if index not in labels]:
        raise UserError(
            f"the training split of '{folder}' has no {_SECONDS.value:g} seconds of {missing[0]}, "
            "whom the model knows; take the corpus that it was trained on"
        )
    learned = Discriminant(features, labels)
    held_out = learned.recognize(*real(loaded, folder, "validation"))
    asked = learned.recognize(*played(loaded))
    asked_of_next = np.roll(asked, -1, axis=0)
    shares_Cx3 = np.stack([own_shares(one) for one in (held_out, asked, asked_of_next)], axis=1)
    print("| composer | excerpts | real | asked for | next asked for |\n|---|--:|--:|--:|--:|")
    for name, count, shares_3 in zip(composers, held_out.sum(axis=1), shares_Cx3, strict=True):
        print(f"| {name} | {count} | {_cells(shares_3)} |")
    known = held_out.any(axis=1)  # those of whom the validation split has something
    print(f"| mean of those with excerpts | | {_cells(shares_Cx3[known].mean(axis=0))} |")


class Discriminant:
    """Fisher's linear discriminant with a shrunk common covariance and equal priors."""

    def __init__(self, features_NxD: np.ndarray, labels_N: np.ndarray):
        """Learns from the features of excerpts and their composers' numbers, from 0."""
        means_CxD = np.stack(
            [features_NxD[labels_N == label].mean(axis=0) for label in range(labels_N.max() + 1)]
        )
        within_NxD = features_NxD - means_CxD[labels_N]
        covariance_DxD = within_NxD.T @ within_NxD / len(within_NxD)
        spread = np.trace(covariance_DxD) / len(covariance_DxD)
        shrunk_DxD = (1 - SHRINKAGE) * covariance_DxD
        shrunk_DxD += SHRINKAGE * spread * np.eye(len(covariance_DxD))
        self._weights_DxC = np.linalg.solve(shrunk_DxD, means_CxD.T)
        self._bias_C = -(means_CxD.T * self._weights_DxC).sum(axis=0) / 2

    def recognize(self, features_NxD: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
        """How many excerpts of each composer (rows) were given to each (columns)."""
        named_N = (features_NxD @ self._weights_DxC + self._bias_C).argmax(axis=1)
        counts = np.zeros((len(self._bias_C), len(self._bias_C)), int)
        np.add.at(counts, (labels_N, named_N), 1)
        return counts


def real(loaded: Loaded, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and composers' numbers of excerpts of a split, as the model could play them."""
    vocabulary, composers = loaded.config.vocabulary, loaded.config.controls.composers
    every = excerpts.performances(folder, split)
    entries = corpus.read_manifest(folder).performances[split]
    features, labels = [], []
    for entry, one in zip(entries, every, strict=True):
        if entry.composer in composers:
            count = min(MAX_EXCERPTS, int(one[1].duration / _SECONDS.value))
            for start in np.arange(count) * _SECONDS.value:
                part = excerpts.cut(vocabulary, one, start, _SECONDS.value)
                features.append(feature(part.performance))
                labels.append(composers.index(entry.composer))
    if not labels:
        raise UserError(f"the {split} split of '{folder}' has nothing by those the model knows")
    return np.array(features), np.array(labels)


def played(loaded: Loaded) -> tuple[np.ndarray, np.ndarray]:
    """The same of music that the model is asked for."""
    features, labels = [], []
    composers = loaded.config.controls.composers
    for index, name in enumerate(progress.bar(composers, desc="playing", unit="composer")):
        every = generate.generate(
            loaded.params,
            jax.random.key(index),
            loaded.config,
            Length(seconds=_SECONDS.value),
            SamplingSettings(),
            _NUM_SAMPLES.value,
            wishes=Wishes(composer=(name,), guidance=_GUIDANCE.value),
        )
        for events in every.values():
            features.append(feature(loaded.config.vocabulary.decode(events)))
            labels.append(index)
    return np.array(features), np.array(labels)


def feature(performance: Performance) -> np.ndarray:
    """Roots of histograms side by side, whose differences are Hellinger distances."""
    measured = statistics.measure(performance, _SECONDS.value).histograms
    ordered = [measured[name] for name, of in statistics.STATISTICS.items() if not of.categorical]
    return np.sqrt(np.nan_to_num(np.concatenate(ordered)))


def own_shares(counts_CxC: np.ndarray) -> np.ndarray:
    """What part of each row of counts is in the column of its own number; NaN of an empty one."""
    totals_C = counts_CxC.sum(axis=1)
    return np.diag(counts_CxC) / np.where(totals_C > 0, totals_C, np.nan)


def _cells(shares: np.ndarray) -> str:
    return " | ".join("" if np.isnan(share) else f"{share:.2f}" for share in shares)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
