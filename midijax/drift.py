"""Whether long performances stay what they are, or trail off: their first part against the last."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from midijax.statistics import STATISTICS, Measures

SPREAD = (5, 95)  # percentiles that real performances lie between, nine of ten

Ends = tuple[Measures, Measures]  # the first and the last part of a performance


def compare(performances: Sequence[Ends], real: Sequence[Ends]) -> dict[str, dict[str, Any]]:
    """Of each statistic of one figure, how it ends and how it changes, as JSON.

    `last_within` is the share of performances whose last part lies within the SPREAD of the last
    parts of real ones, `change_within` the share whose change from first to last part does; of real
    ones, nine of ten do. A part with too few notes to be measured lies outside.
    """
    names = [name for name, statistic in STATISTICS.items() if not statistic.categorical]
    return {name: _compare(_figures(performances, name), _figures(real, name)) for name in names}


def mean_share(compared: Mapping[str, Any], name: str) -> float:
    """The mean over the statistics of `last_within` or `change_within`, as `compare` gave them."""
    return float(np.mean([of[name] for of in compared.values()]))


def _figures(performances: Sequence[Ends], name: str) -> np.ndarray:
    """The figure of first and last part, (performances, 2); NaN where there is none."""
    statistic = STATISTICS[name]
    return np.array(
        [
            [statistic.natural(float(part.features[name][0])) for part in ends]
            for ends in performances
        ]
    )


def _compare(figures_Nx2: np.ndarray, real_Rx2: np.ndarray) -> dict[str, Any]:
    last_N, real_last_R = figures_Nx2[:, 1], real_Rx2[:, 1]
    change_N, real_change_R = np.diff(figures_Nx2)[:, 0], np.diff(real_Rx2)[:, 0]
    last_spread, change_spread = (
        np.nanpercentile(values, SPREAD).tolist() for values in (real_last_R, real_change_R)
    )
    return {
        "first": _median(figures_Nx2[:, 0]),
        "last": _median(last_N),
        "real_first": _median(real_Rx2[:, 0]),
        "real_last": _median(real_last_R),
        "real_last_spread": last_spread,
        "last_within": _within(last_N, last_spread),
        "change": _median(change_N),
        "real_change": _median(real_change_R),
        "real_change_spread": change_spread,
        "change_within": _within(change_N, change_spread),
    }


def _median(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmedian(values))


def _within(values: np.ndarray, bounds: Sequence[float]) -> float:
    return float(((values >= bounds[0]) & (values <= bounds[1])).mean())
