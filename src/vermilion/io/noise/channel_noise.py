"""The noise of a cube that states none, channel by channel, from pixels and channels without emission."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_levels import fit_levels
from .channel_statistics import MAD, MIN_PIXELS, describe
from .empty_channels import find_continuum, find_empty
from .noise_lags import PLANES, box_factor, channel_correlation, image_correlation, independent_area

__all__ = ["ChannelNoise", "channel_noise", "gain_slope"]

Array = NDArray[Any]

_SAMPLE = 40_000  # pixels of a channel that are looked at
_MIN_SAMPLES = 30.0  # independent values in the whole cube, without which nothing is said
_PASSES = 3  # of finding the empty channels, the correlation and the continuum
_BOXES = ((1, 3), (1, 5), (5, 1), (5, 5))  # bands, pixels


@dataclass(frozen=True, eq=False)
class ChannelNoise:
    """Noise of each channel.

    Attributes
    ----------
    sigma : ndarray, shape (B,)
        Standard deviation, in the unit of the data. NaN where a channel has no data.
    empty : ndarray of bool, shape (B,)
        Channels without emission.
    samples : float
        Independent values in one channel, about.
    varies : float
        Scatter of sigma from channel to channel beyond its own uncertainty, 0 where all agree with a smooth curve.
    continuum : bool
        Whether a continuum was subtracted first.
    correlation : dict
        As `Frame.noise_correlation`: how much noisier sums over boxes are, ``{"1x3x3": 1.8}`` (bands × y × x).
    edge : float
        Scatter of the pixels far from the center over that of the near ones.
    adjacent : float
        Scatter of the second differences of channels, over what independent channels of that sigma would give.
    """

    sigma: Array
    empty: NDArray[np.bool_]
    samples: float
    varies: float
    continuum: bool
    correlation: dict[str, float]
    edge: float
    adjacent: float


def channel_noise(data: Array, good: NDArray[np.bool_]) -> ChannelNoise | None:
    """Noise of each channel of `data`; None where there is too little to tell.

    Each channel is described by its median, its scatter below and above it, and its outliers. Channels that stand out from the
    others, towards either side, hold emission or absorption. The level of the others is followed by a straight line over so many
    channels that its error is below a percent. A channel keeps its own value to the degree to which the values differ by more than
    their errors (empirical Bayes, Efron & Morris 1975); a channel with emission is measured on its negative side, where enough of it
    is empty, and follows the line otherwise. A continuum that the empty channels share is subtracted before.

    Parameters
    ----------
    data : ndarray, shape (B, Ny, Nx)
        Noise with one standard deviation per channel, correlated in any way, with or without emission.
    good : ndarray of bool, shape (B, Ny, Nx)
        False where there are no data.
    """
    step = max(1, math.isqrt(data[0].size // _SAMPLE))
    thin, seen = data[:, ::step, ::step], good[:, ::step, ::step]
    stats = describe(thin, seen, 1.0)
    if not (stats.scatter > 0).any():
        return None
    rho = image_correlation(data, good, stats)
    area = independent_area(rho, step)
    level: Array | None = None
    factors = np.ones(len(data))
    for _ in range(_PASSES):
        flat = thin if level is None else thin - level[::step, ::step]
        stats = describe(flat, seen, area)
        empty = find_empty(stats)
        if level is None:
            level, factors = find_continuum(data, good, stats, empty)
            if level is None:
                break
    if np.nansum(stats.samples) < _MIN_SAMPLES:
        return None
    along = channel_correlation(data, good, stats, empty, level)
    sigma, varies = fit_levels(flat, seen, stats, empty)
    correlation = {f"{b}x{p}x{p}": round(box_factor(rho, along, b, p), 3) for b, p in _BOXES if b <= len(data) and p <= min(data.shape[1:])}
    edge = _edge(flat, seen, sigma, empty)
    sigma = sigma * factors
    samples = float(np.nanmedian(stats.samples))
    return ChannelNoise(sigma, empty, samples, varies, level is not None, correlation, edge, _adjacent(thin, seen, sigma))


def gain_slope(data: Array, good: NDArray[np.bool_], sigma: Array, gain: Array) -> float | None:
    """How the scatter depends on the gain: the slope of log scatter over log gain, -1 for data divided by it, 0 for data as observed.

    None where the gain is too even to tell.

    Parameters
    ----------
    data, good : ndarray, shape (B, Ny, Nx)
        Of channels without emission.
    sigma : ndarray, shape (B,)
    gain : ndarray, broadcastable to data
    """
    gain = np.broadcast_to(gain, data.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.abs(data / sigma[:, None, None])
        usable = good & np.isfinite(residual) & np.isfinite(gain) & (gain > 0)
    values, gains = residual[usable], gain[usable]
    if values.size < 10 * MIN_PIXELS:
        return None
    edges = np.quantile(gains, np.linspace(0, 1, 9))
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (gains >= low) & (gains <= high)
        if np.count_nonzero(inside) >= MIN_PIXELS:
            scatter = float(np.median(values[inside]))
            if scatter > 0:
                rows.append((math.log(float(np.median(gains[inside]))), math.log(scatter)))
    x, y = np.array(rows).T if rows else (np.zeros(0), np.zeros(0))
    if len(x) < 3 or x.max() - x.min() < math.log(1.25):
        return None
    return float(np.polyfit(x, y, 1)[0])


def _edge(data: Array, good: NDArray[np.bool_], sigma: Array, empty: NDArray[np.bool_]) -> float:
    """Scatter of the pixels far from the center over that of the near ones, in the empty channels."""
    bands = np.flatnonzero(empty & np.isfinite(sigma))
    bands = bands[:: max(1, len(bands) // PLANES)]
    if len(bands) == 0:
        return 1.0
    seen = good[bands].any(axis=0)
    y, x = np.nonzero(seen)
    distance = np.hypot((y - y.mean()) / max(np.ptp(y), 1), (x - x.mean()) / max(np.ptp(x), 1))
    near, far = (np.zeros(seen.shape, dtype=bool) for _ in range(2))
    low, high = np.quantile(distance, [0.4, 0.8])
    near[y[distance <= low], x[distance <= low]] = True
    far[y[distance >= high], x[distance >= high]] = True
    with np.errstate(invalid="ignore"):
        values = np.abs(data[bands] / sigma[bands, None, None])
    inner, outer = (values[(good[bands] & part) & np.isfinite(values)] for part in (near, far))
    if min(inner.size, outer.size) < MIN_PIXELS:
        return 1.0
    return float(np.median(outer) / np.median(inner))


def _adjacent(data: Array, good: NDArray[np.bool_], sigma: Array) -> float:
    """Scatter of second differences of channels over what independent channels of that sigma would give, about 1 for white noise."""
    ratios = []
    middle = np.arange(1, len(data) - 1)
    for band in middle[:: max(1, len(middle) // PLANES)]:
        near = slice(band - 1, band + 2)
        difference = np.tensordot([1.0, -2.0, 1.0], data[near].astype(np.float64), axes=1)
        values = difference[good[near].all(axis=0) & np.isfinite(difference)]
        expected = math.sqrt(float(np.dot([1.0, 4.0, 1.0], sigma[near] ** 2)))
        if values.size >= MIN_PIXELS and expected > 0:
            ratios.append(MAD * float(np.median(np.abs(values - np.median(values)))) / expected)
    return float(np.median(ratios)) if ratios else 1.0
