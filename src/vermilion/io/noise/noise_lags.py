"""How noise is correlated between pixels and between channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_statistics import FLAG, MAD, Statistics

__all__ = ["PLANES", "box_factor", "channel_correlation", "image_correlation", "independent_area"]

Array = NDArray[Any]

PLANES = 24  # channels that tell how noise is correlated
_FAINT = 0.1  # correlation below which lags are left out


def image_correlation(data: Array, good: NDArray[np.bool_], stats: Statistics) -> Array:
    """Correlation of the noise by lag in the image (2r+1, 2r+1), of second differences of channels: sources fall out of them."""
    bands = np.flatnonzero(np.isfinite(stats.scatter))
    inner = bands[(bands > 0) & (bands < len(data) - 1)]
    quiet = inner[np.argsort(stats.scatter[inner], kind="stable")[: max(3, len(inner) // 2)]]
    rows = []
    for band in np.sort(quiet)[:: max(1, len(quiet) // PLANES)]:
        near = slice(band - 1, band + 2)
        difference = np.tensordot([1.0, -2.0, 1.0], data[near].astype(np.float64), axes=1)
        rows.append(_autocorrelation(_cut(difference, np.all(good[near], axis=0))))
    if not rows:
        rows = [_autocorrelation(_cut(data[band].astype(np.float64), good[band])) for band in bands]
    return np.asarray(np.mean(rows, axis=0))


def _cut(plane: Array, good: NDArray[np.bool_]) -> Array:
    """Deviations from the median in units of the scatter; 0 beyond four of them and where there are no data."""
    good = good & np.isfinite(plane)
    if not good.any():
        return np.zeros(plane.shape)
    values = plane - np.median(plane[good])
    scatter = MAD * float(np.median(np.abs(values[good])))
    with np.errstate(invalid="ignore"):
        values = values / scatter if scatter > 0 else values
        return np.where(good & (np.abs(values) <= FLAG), values, 0.0)


def channel_correlation(data: Array, good: NDArray[np.bool_], stats: Statistics, empty: NDArray[np.bool_], level: Array | None) -> Array:
    """Correlation of the noise of a channel with itself and the next four, (5,), in channels without emission."""
    along = [1.0]
    bands = np.flatnonzero(empty)
    for lag in range(1, 5):
        products = []
        for band in bands[:: max(1, len(bands) // (2 * PLANES))]:
            other = int(band) + lag
            if other < len(data) and empty[other]:
                a, b = (_standard(data[i], good[i], stats, i, level) for i in (int(band), other))
                both = (a != 0) & (b != 0)
                if both.any():
                    products.append(float((a * b)[both].mean()))
        along.append(float(np.mean(products)) if products else 0.0)
    return np.array(along)


def _standard(plane: Array, good: NDArray[np.bool_], stats: Statistics, band: int, level: Array | None) -> Array:
    """A channel in units of its scatter, 0 where there is no datum or a bright source."""
    values = plane.astype(np.float64) - stats.median[band] - (0 if level is None else level)
    with np.errstate(invalid="ignore"):
        values = values / stats.scatter[band]
        return np.where(good & (np.abs(values) <= FLAG), values, 0.0)


def _autocorrelation(plane: Array) -> Array:
    """Correlation by lag (y, x), the middle element is lag 0."""
    seen = (plane != 0).astype(float)
    shape = [2 * n for n in plane.shape]

    def correlate(values: Array) -> Array:
        power = np.abs(np.fft.rfft2(values, s=shape)) ** 2
        return np.asarray(np.fft.irfft2(power, s=shape))

    pairs = correlate(seen)
    product = correlate(plane)
    reach = [max(1, n // 3) for n in plane.shape]
    index = np.ix_(*(np.arange(-r, r + 1) for r in reach))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(pairs[index] > 0.5, product[index] / pairs[index], 0.0)
    middle = rho[reach[0], reach[1]]
    return np.asarray(rho / middle) if middle > 0 else rho


def independent_area(rho: Array, step: int) -> float:
    """Pixels per independent value of a variance, the sum of the squared correlation; of the pixels that are looked at."""
    cy, cx = (n // 2 for n in rho.shape)
    part = rho[cy % step :: step, cx % step :: step]
    core = np.abs(part) > _FAINT
    return float(max(1.0, (part[core] ** 2).sum()))


def box_factor(rho: Array, along: Array, bands: int, pixels: int) -> float:
    """Standard deviation of a sum over a box, over that of independent values."""
    cy, cx = (n // 2 for n in rho.shape)
    lags = np.arange(-(pixels - 1), pixels)
    inside = (np.abs(lags) <= min(cy, cx)).astype(float)
    pairs = (pixels - np.abs(lags)) * inside
    lags = np.clip(lags, -min(cy, cx), min(cy, cx))
    image = float((np.outer(pairs, pairs) * rho[np.ix_(cy + lags, cx + lags)]).sum()) / pixels**2
    spectrum = 1.0 + 2 * float(sum((bands - lag) * along[lag] for lag in range(1, bands))) / bands
    return math.sqrt(max(image, 0.0) * max(spectrum, 0.0))
