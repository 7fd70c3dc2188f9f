"""Whether long performances stay what they are, or trail off: their first part against the last."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from midijax import similarity
from midijax.statistics import STATISTICS, Measures

SPREAD = (5, 95)  # percentiles that real performances lie between, nine of ten

Ends = tuple[Measures, Measures]  # the first and the last part of a performance


class Reference(NamedTuple):
    """Real performances to hold long ones against.

    Attributes:
      parts: as many of each performance, as long as the ends, from anywhere in it. The last parts
        of long performances would not do: those are seldom of the short pieces that a model, not
        told when to end, also plays.
      ends: of those that are as long as the generated ones.
    """

    parts: Sequence[Measures]
    ends: Sequence[Ends]


def compare(
    performances: Sequence[Ends], real: Reference, others: Reference, seed: int
) -> dict[str, dict[str, Any]]:
    """Of each statistic of one figure in which real ones differ, how it ends and changes, as JSON.

    `last_area` is the overlapping area of the last parts' values with those of real parts.
    `last_within` is the share of performances whose last part lies within the SPREAD of real
    parts, `change_within` the share whose change from first to last part lies within that of
    real changes; a part with too few notes to be measured lies outside. Each of the three has a
    `_ceiling`, the same of `others`, real performances too: of the area, the mean of draws of as
    many parts as there are performances, by `seed`.
    """
    likeness = similarity.summary(
        similarity.compare([last for _, last in performances], real.parts),
        similarity.ceilings(others.parts, real.parts, len(performances), seed),
    )
    return {
        name: {
            "last_area": of["values"]["overlapping_area"],
            "last_area_ceiling": of["values"]["ceiling"]["overlapping_area"],
            **_compare(name, performances, real, others),
        }
        for name, of in likeness.items()
        if not STATISTICS[name].categorical
    }


def mean_of(compared: Mapping[str, Any], name: str) -> float:
    """The mean over the statistics of one of the figures that `compare` gave."""
    return float(np.mean([of[name] for of in compared.values()]))


def _compare(
    name: str, performances: Sequence[Ends], real: Reference, others: Reference
) -> dict[str, Any]:
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
