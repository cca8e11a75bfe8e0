"""The noise of each channel, by itself and by its neighbors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_statistics import FLAG, MAD, MIN_PIXELS, Statistics, half_scatter
from .empty_channels import beside

__all__ = ["fit_levels"]

Array = NDArray[Any]

_CLIP = 3.5
_CLIPPED = 0.99694  # standard deviation of a normal distribution cut at 3.5 sigma
_SIGNIFICANT = 6.0  # standard errors by which channels must differ before their differences are believed
_TREND_ERROR = 0.004  # of the logarithm of the level
_ZERO_ERROR = 0.02  # of the zero level, in sigma
_WING = 3  # channels beside a line that may hold a little of it
_NARROWEST = 9  # channels that a line is drawn through


def fit_levels(data: Array, good: NDArray[np.bool_], stats: Statistics, empty: NDArray[np.bool_]) -> tuple[Array, float]:
    """Sigma of each channel, and its scatter from channel to channel beyond the errors."""
    logs, error = _own(data, good, stats, empty)
    usable = empty & np.isfinite(logs)
    expected = float(np.median(error[usable])) if usable.any() else 0.0
    width = max(_NARROWEST, math.ceil((expected / _TREND_ERROR) ** 2))
    while True:  # narrower, until the channels follow the line to their errors
        trend = _trend(logs, error, usable, width)
        residual = (logs - trend)[usable]
        spread = _spread(residual)
        excess = (spread / expected) ** 2 - 1 if expected > 0 else 0.0
        significant = residual.size > 4 and excess > _SIGNIFICANT * math.sqrt(2.7 / residual.size)  # 2.7: the scatter of a squared MAD
        if not significant or width <= _NARROWEST:
            break
        width = max(_NARROWEST, min(width, residual.size) // 2)
    varies = expected * math.sqrt(excess) if significant else 0.0
    symmetric = np.abs(np.log(stats.above / stats.below)) <= 2.0 * 2.3 / np.sqrt(np.maximum(stats.samples, 1.0))
    near_emission = beside(~empty, _WING)
    with np.errstate(invalid="ignore"):
        weight = varies**2 / (varies**2 + error**2)
        weight = np.where(
            usable & symmetric & ~near_emission & (np.abs(logs - trend) > 5 * error), 1.0, weight
        )  # a channel of its own: interference
    shift = np.where(np.isfinite(logs) & (weight > 0), weight * np.where(np.isfinite(logs), logs - trend, 0), 0.0)
    return np.exp(trend + shift), varies


def _own(data: Array, good: NDArray[np.bool_], stats: Statistics, empty: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Logarithm of sigma of each channel by itself, NaN where emission leaves too little, and its error."""
    own, error = np.full(len(data), np.nan), np.full(len(data), np.inf)
    zero = _zero(stats, empty)
    for band in np.flatnonzero(np.isfinite(stats.scatter)):
        values = data[band][good[band] & np.isfinite(data[band])].astype(np.float64)
        samples = max(float(stats.samples[band]), 1.0)
        if empty[band]:
            own[band], error[band] = _clipped(values, zero[band], stats.scatter[band]), 1 / math.sqrt(2 * samples)
            continue
        below = zero[band] - values[values < zero[band]]
        share = 2 * below.size / values.size
        if share > 0.5 and below.size >= MIN_PIXELS:  # enough of the channel is empty
            own[band], error[band] = half_scatter(below), math.hypot(1.65 / math.sqrt(samples * share), 0.05)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(own) + np.where(empty, error**2, 0), error  # the logarithm of a noisy sigma is low by its variance


def _spread(residual: Array) -> float:
    """Scatter of the residuals, of their lower side if that is less: what is left of emission only raises."""
    if residual.size < 5:
        return 0.0
    distance = residual - np.median(residual)
    spread = MAD * float(np.median(np.abs(distance)))
    below = -distance[distance < 0]
    return min(spread, half_scatter(below), math.sqrt(float(np.mean(below[below <= FLAG * spread] ** 2)))) if below.size else spread


def _zero(stats: Statistics, empty: NDArray[np.bool_]) -> Array:
    """Zero level of each channel: that of many, since the mean of one is noise itself."""
    unit = float(np.median(stats.scatter[empty]))
    error = 1.2533 * math.sqrt(2) * stats.scatter / unit / np.sqrt(np.maximum(stats.samples, 1.0))
    width = max(_NARROWEST, math.ceil((float(np.median(error[empty])) / _ZERO_ERROR) ** 2))
    return unit * _trend(stats.median / unit, error, empty, width)


def _clipped(values: Array, zero: float, scatter: float) -> float:
    """Root mean square about the zero level, cut at 3.5 sigma until nothing changes."""
    sigma, squares = scatter, (values - zero) ** 2
    for _ in range(10):
        kept = squares[squares <= (_CLIP * sigma) ** 2]
        new = math.sqrt(float(kept.mean())) / _CLIPPED if kept.size else 0.0
        if not new > 0 or abs(new - sigma) < 1e-4 * sigma:
            break
        sigma = new
    return sigma


def _trend(logs: Array, error: Array, usable: NDArray[np.bool_], width: int) -> Array:
    """A straight line over the nearest usable channels, `width` of them."""
    index = np.flatnonzero(usable)
    n = len(index)
    if n == 0:
        return np.full(len(logs), np.nan)
    if n < _NARROWEST:
        return np.full(len(logs), float(np.median(logs[index])) if n > 4 else float(np.mean(logs[index])))
    trend = np.empty(len(logs))
    for band in range(len(logs)):
        place = int(np.searchsorted(index, band))
        start, end = place - width // 2, place + (width + 1) // 2
        if min(end, n) - max(start, 0) < _NARROWEST:
            start = min(max(start, 0), n - _NARROWEST)
            end = start + _NARROWEST
        near = index[max(start, 0) : end]
        trend[band] = _robust_line(near - band, logs[near], float(np.median(error[near])))
    return trend


def _robust_line(x: Array, y: Array, error: float) -> float:
    """Value at 0 of a straight line (of a constant, where the slope means nothing), outliers left out."""
    kept = np.abs(y - np.median(y)) <= np.maximum(5 * error, 4 * MAD * np.median(np.abs(y - np.median(y))))
    x, y = x[kept].astype(float), y[kept]
    center = x.mean()
    spread = float(((x - center) ** 2).sum())
    if spread == 0:
        return float(y.mean())
    slope = float(((x - center) * (y - y.mean())).sum() / spread)
    noise = max(error, float(np.std(y))) / math.sqrt(spread)
    reach = float(np.clip(0.0, x.min(), x.max()))  # lines are not drawn beyond their last point
    return float(y.mean()) + (slope * (reach - center) if abs(slope) > 2.5 * noise else 0.0)
