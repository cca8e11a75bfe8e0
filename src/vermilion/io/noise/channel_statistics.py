"""What the values of one channel look like: median, scatter of either side, outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLAG", "MAD", "MIN_PIXELS", "Statistics", "describe", "half_scatter"]

Array = NDArray[Any]

MAD = 1.482602218505602  # 1 / Phi^-1(3/4)
MIN_PIXELS = 20
FLAG = 4.0  # standard errors by which a channel with emission differs


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of each channel: median, scatter, scatter below and above the median, share of outliers, independent samples."""

    median: Array
    scatter: Array
    below: Array
    above: Array
    outliers: Array
    samples: Array


def describe(data: Array, good: NDArray[np.bool_], area: float) -> Statistics:
    """Statistics of each channel; `area` is the number of pixels per independent value."""
    rows = [_channel(plane[seen & np.isfinite(plane)]) for plane, seen in zip(data, good, strict=True)]
    columns = np.array(rows, dtype=float).T
    median, scatter, below, above, outliers, count = columns
    return Statistics(median, scatter, below, above, outliers, count / area)


def _channel(values: Array) -> tuple[float, float, float, float, float, float]:
    n = values.size
    values = values.astype(np.float64)
    if n < MIN_PIXELS:
        return np.nan, np.nan, np.nan, np.nan, np.nan, float(n)
    kept = values
    for _ in range(10):
        median = float(np.median(kept))
        scatter = MAD * float(np.median(np.abs(kept - median)))
        inside = values[np.abs(values - median) <= FLAG * scatter]
        if inside.size == kept.size or inside.size < MIN_PIXELS:
            break
        kept = inside
    if not scatter > 0:
        return np.nan, np.nan, np.nan, np.nan, np.nan, float(n)
    below, above = median - values[values < median], values[values > median] - median
    outliers = 1 - kept.size / n
    return median, scatter, half_scatter(below), half_scatter(above), outliers, float(n)


def half_scatter(distances: Array) -> float:
    """Scatter of one side of a distribution."""
    return MAD * float(np.median(distances)) if distances.size else np.nan
