"""Whether long performances end like real music, or trail off, and how they change on the way."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from midijax import similarity
from midijax.statistics import STATISTICS, Measures

SPREAD = (5, 95)  # percentiles that real performances lie between, nine of ten

Ends = tuple[Measures, Measures]  # the first and the last part of a performance


class Long(NamedTuple):
    """Real performances that long ones are held against.

    Attributes:
      parts: as many of each performance, as long as the ends, from anywhere in it. The last parts
        of long performances would not do: those are seldom of the short pieces that a model, not
        told when to end, also plays.
      ends: of those that are as long as the generated ones.
    """

    parts: Sequence[Measures]
    ends: Sequence[Ends]


class Reference(NamedTuple):
    """Real performances, and how near to them others come, real ones too.

    Attributes:
      real: what is held against.
      others: what the ceilings are of.
      ceilings: how like to the parts of `real` draws from those of `others` are.
    """

    real: Long
    others: Long
    ceilings: list[similarity.Compared]


def reference(real: Long, others: Long, count: int, seed: int) -> Reference:
    """For `count` performances, which draws of others are as many as; `seed` is of the draws."""
    return Reference(real, others, similarity.ceilings(others.parts, real.parts, count, seed))


def compare(performances: Sequence[Ends], reference: Reference) -> dict[str, Any]:
    """How performances end and how they change, as JSON.

    `mean_overlapping_area` is of the values of the last parts and of real parts, as
    `similarity.mean_areas` gives it. Of each of the `statistics` there is:

    - `last_area`, the same of this statistic;
    - `last_within`, the share of performances whose last part lies within the SPREAD of real parts;
    - `change_within`, the share whose change from first to last part lies within that of the
      changes of real performances as long.

    A part with too few notes to be measured lies outside. Each of the three has a `_ceiling`: of
    the first two, of parts from anywhere in others. A statistic without order has areas only.
    """
    compared = similarity.compare([last for _, last in performances], reference.real.parts)
    likenesses = similarity.summary(compared, reference.ceilings)
    return {
        "mean_overlapping_area": similarity.mean_areas(compared, reference.ceilings),
        "statistics": {
            name: {
                "last_area": of["values"]["overlapping_area"],
                "last_area_ceiling": of["values"]["ceiling"]["overlapping_area"],
                **({} if STATISTICS[name].categorical else _change(name, performances, reference)),
            }
            for name, of in likenesses.items()
        },
    }


def mean_share(statistics: Mapping[str, Any], name: str) -> float:
    """The mean over the statistics that have it of one of the shares that `compare` gave."""
    return float(np.mean([of[name] for of in statistics.values() if name in of]))


def _change(name: str, performances: Sequence[Ends], reference: Reference) -> dict[str, Any]:
    real, others, _ = reference
    ends_Nx2, real_ends_Rx2, other_ends_Ox2 = (
        np.array([_figures(name, ends) for ends in group]).reshape(-1, 2)
        for group in (performances, real.ends, others.ends)
    )
    change_N, real_change_R, other_change_O = (
        ends[:, 1] - ends[:, 0] for ends in (ends_Nx2, real_ends_Rx2, other_ends_Ox2)
    )
    spread = _spread(_figures(name, real.parts))
    change_spread = _spread(real_change_R)
    return {
        "first": _median(ends_Nx2[:, 0]),
        "last": _median(ends_Nx2[:, 1]),
        "real_first": _median(real_ends_Rx2[:, 0]),
        "real_last": _median(real_ends_Rx2[:, 1]),
        "spread": spread,
        "last_within": _within(ends_Nx2[:, 1], spread),
        "last_within_ceiling": _within(_figures(name, others.parts), spread),
        "change": _median(change_N),
        "real_change": _median(real_change_R),
        "change_spread": change_spread,
        "change_within": _within(change_N, change_spread),
        "change_within_ceiling": _within(other_change_O, change_spread),
    }


def _figures(name: str, parts: Sequence[Measures]) -> np.ndarray:
    """The figure of each part, (parts,); NaN where there is none."""
    statistic = STATISTICS[name]
    return np.array([statistic.natural(float(part.features[name][0])) for part in parts])


def _spread(values: np.ndarray) -> list[float]:
    return np.nanpercentile(values, SPREAD).tolist()


def _median(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmedian(values))


def _within(values: np.ndarray, bounds: Sequence[float]) -> float:
    return float(((values >= bounds[0]) & (values <= bounds[1])).mean())
