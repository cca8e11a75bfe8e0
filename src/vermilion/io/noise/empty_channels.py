"""Channels without emission, and the continuum that they share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_statistics import FLAG, MIN_PIXELS, Statistics

__all__ = ["beside", "find_continuum", "find_empty"]

Array = NDArray[Any]

_WING = 3  # channels beside a line that may hold a little of it
_LEVEL = 49  # channels that tell a continuum


def find_empty(stats: Statistics) -> NDArray[np.bool_]:
    """Channels that are like the quietest quarter in median, symmetry and outliers, and so are those beside them."""
    known = np.isfinite(stats.scatter)
    count = int(np.count_nonzero(known))
    if count < 3:
        return known
    quiet = known & (stats.scatter <= np.quantile(stats.scatter[known], max(0.25, min(1.0, 3 / count))))
    error = 1 / np.sqrt(np.maximum(stats.samples, 1.0))
    empty = known.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        tests = (
            (stats.median / stats.scatter, 1.2533 * math.sqrt(2) * error),
            (np.log(stats.above / stats.below), 2.3 * error),
            (stats.outliers, np.maximum(2.0 * error**2, 0.25 * error)),
        )
        for values, errors in tests:
            common = float(np.median(values[quiet & np.isfinite(values)]))
            empty &= np.isfinite(values) & (np.abs(values - common) <= FLAG * errors)
    for wing, share in ((_WING, 0.3), (1, 0.1)):  # the wings of a line are faint
        inner = empty & ~beside(~empty, wing)
        if np.count_nonzero(inner) >= max(3, share * count):
            return inner
    return empty if np.count_nonzero(empty) >= 2 else quiet


def beside(marked: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Channels within `reach` of a marked one."""
    padded = np.pad(marked, reach)
    return np.asarray(np.any([padded[i : i + len(marked)] for i in range(2 * reach + 1)], axis=0))


def find_continuum(data: Array, good: NDArray[np.bool_], stats: Statistics, empty: NDArray[np.bool_]) -> tuple[Array | None, Array]:
    """Median (Ny, Nx) of empty channels if it scatters more than noise would, and factors that undo the noise it brings (B,)."""
    bands = np.flatnonzero(empty)
    bands = bands[np.unique(np.linspace(0, len(bands) - 1, min(_LEVEL, len(bands))).astype(int))]
    count, factors = len(bands), np.ones(len(data))
    if count < 4:
        return None, factors
    part = np.where(good[bands], data[bands], np.nan)
    seen = np.isfinite(part).any(axis=0)
    level = np.zeros(data.shape[1:])
    level[seen] = np.nanmedian(part[:, seen], axis=0)
    expected = float(np.median(stats.scatter[bands])) * math.sqrt(math.pi / 2 / count)
    samples = float(np.median(stats.samples[bands]))
    if not float(np.std(level[seen])) > 1.5 * expected or _shared(part) < max(0.3, FLAG / math.sqrt(max(samples, 1.0))):
        return None, factors
    # var(x - median) = sigma^2 (1 + pi/2n), less 2 sigma^2/n in the channels that the median is taken from
    factors[:] = 1 / math.sqrt(1 + math.pi / 2 / count)
    factors[bands] = 1 / math.sqrt(1 + (math.pi / 2 - 2) / count)
    return level, factors


def _shared(part: Array) -> float:
    """Correlation of the images in the lower and the upper half of the channels: near 1 for a continuum, not for the wings of a line."""
    half = len(part) // 2
    seen = np.isfinite(part[:half]).any(axis=0) & np.isfinite(part[-half:]).any(axis=0)
    if np.count_nonzero(seen) < MIN_PIXELS:
        return 0.0
    low, high = (np.nanmedian(piece[:, seen], axis=0) for piece in (part[:half], part[-half:]))
    return float(np.corrcoef(low, high)[0, 1]) if np.std(low) > 0 and np.std(high) > 0 else 0.0
