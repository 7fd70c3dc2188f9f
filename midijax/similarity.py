"""How like a set of performances is to real ones: overlapping area, Kullback-Leibler divergence.

Each statistic is compared in two ways. By the values themselves, each performance counting alike:
whether notes are as long, as loud, as dense in all as in real music. And by distances, after Yang &
Lerch 2018 (On the evaluation of generative models in music): whether a performance and a real one
differ as much as two real ones do, each taken as one figure.

The first is the sounder, and is what settings are chosen by: the second does not see that all
performances are the same piece, nor that every note is as loud as the next, nor that notes are
twice as long, where real ones differ more than that. But only the second sees whether performances
keep to a key each, as all keys together have every pitch class.

N and R performances, D figures of each, K bins.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import cdist, pdist
from scipy.stats import entropy

from midijax.statistics import STATISTICS, Measures, features, mean_histogram

FEWEST_REAL = 4  # performances, for their distances to have a distribution
CEILING_DRAWS = 20
GRID_BINS = 1024
TAIL = 4.0  # bandwidths that a density is followed beyond its outermost sample
LEAST_SHARE = 1e-6  # of a bin in a divergence: of none the logarithm is infinite


class Likeness(NamedTuple):
    """What two distributions have in common.

    Attributes:
      overlapping_area: the integral of the lower of the two densities: 1 if they are the same.
      kl_divergence: from the real one to the other, in nats: 0 if they are the same.
    """

    overlapping_area: float
    kl_divergence: float


UNLIKE = Likeness(0.0, -math.log(LEAST_SHARE))


class Comparison(NamedTuple):
    """How like a statistic is to that of real performances."""

    values: Likeness
    distances: Likeness


Compared = dict[str, Comparison]  # by the names of STATISTICS


def compare(measures: Sequence[Measures], real: Sequence[Measures]) -> Compared:
    """Compares every statistic in which real performances differ.

    Music with too few notes for a statistic to be measured has nothing in common with any other;
    by distances, if there is other music beside it, it is left out.
    """
    compared = {}
    for name in STATISTICS:
        features_NxD, real_RxD = features(measures, name), features(real, name)
        if len(real_RxD) < FEWEST_REAL or not np.ptp(pdist(real_RxD)):
            continue
        if not len(features_NxD):
            compared[name] = Comparison(UNLIKE, UNLIKE)
            continue
        values = of_histograms(_shares(measures, name), _shares(real, name))
        compared[name] = Comparison(values, of_distances(features_NxD, real_RxD))
    return compared


def ceilings(
    others: Sequence[Measures], real: Sequence[Measures], count: int, seed: int
) -> list[Compared]:
    """Compares CEILING_DRAWS draws of `count` other real performances, or of all if fewer."""
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(len(others))[:count] for _ in range(CEILING_DRAWS)]
    return [compare([others[index] for index in draw], real) for draw in draws]


def mean_areas(compared: Compared, drawn: Sequence[Compared]) -> dict[str, float]:
    """The overlapping area of the values, averaged over the statistics, as JSON.

    Beside it that of the `drawn` ceilings, on average, and how much it deviates between them.
    """
    area, *areas = (
        float(np.mean([of.values.overlapping_area for of in one.values()]))
        for one in (compared, *drawn)
    )
    return {
        "generated": area,
        "ceiling": float(np.mean(areas)),
        "ceiling_deviation": float(np.std(areas, ddof=1)),
    }


def summary(compared: Compared, drawn: Sequence[Compared]) -> dict[str, Any]:
    """As JSON: each statistic in both ways, and beside it the `drawn` ceilings' mean."""
    table: dict[str, Any] = {}
    for name, comparison in compared.items():
        table[name] = {}
        for way, likeness in comparison._asdict().items():
            ceiling = np.mean([getattr(one[name], way) for one in drawn], axis=0)
            table[name][way] = {
                **likeness._asdict(),
                "ceiling": Likeness(*ceiling.tolist())._asdict(),
            }
    return table


def _shares(measures: Sequence[Measures], name: str) -> np.ndarray:
    """The mean histogram of all, with one more bin for those in which there is nothing to count."""
    measured = len(features(measures, name)) / len(measures)
    return np.append(measured * mean_histogram(measures, name), 1 - measured)


def of_distances(features_NxD: np.ndarray, real_RxD: np.ndarray) -> Likeness:
    """Of the distances between performances and real ones to those between real ones.

    Distances are Euclidean, of all pairs; their densities are estimated by Gaussian kernels, the
    width by Scott's rule. There must be real performances that differ.
    """
    samples = cdist(features_NxD, real_RxD).ravel(), pdist(real_RxD)
    widths = [sample.std() * len(sample) ** -0.2 for sample in samples]
    low = min(sample.min() - TAIL * width for sample, width in zip(samples, widths, strict=True))
    high = max(sample.max() + TAIL * width for sample, width in zip(samples, widths, strict=True))
    grid = np.linspace(low, high, GRID_BINS + 1)
    return of_histograms(*map(functools.partial(_density, grid), samples, widths))


def _density(grid: np.ndarray, sample: np.ndarray, width: float) -> np.ndarray:
    """A kernel estimate on a grid, (bins,), each value moved to the middle of its bin."""
    counts = np.histogram(sample, grid)[0].astype(float)
    return gaussian_filter1d(counts, max(1.0, width / (grid[1] - grid[0])), truncate=TAIL)


def of_histograms(other_K: np.ndarray, real_K: np.ndarray) -> Likeness:
    """Of two histograms over the same bins, neither of them empty."""
    other_K, real_K = other_K / other_K.sum(), real_K / real_K.sum()
    divergence = entropy(*(np.maximum(share_K, LEAST_SHARE) for share_K in (real_K, other_K)))
    return Likeness(float(np.minimum(other_K, real_K).sum()), float(divergence))
