"""What was to be expected where photons were counted: the variance of a count is its expectation, not the count itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ..errors import ParameterError, ShapeError

__all__ = ["expected_counts"]


def expected_counts(
    counts: NDArray[np.floating],
    exposure: NDArray[np.floating] | None = None,
    good: NDArray[np.bool_] | None = None,
    *,
    at_least: float = 25.0,
) -> NDArray[np.float64]:
    """Expected counts of each pixel from the pixels around it, itself left out.

    In each band a square window grows about the pixel until the others in it hold `at_least` counts; the expectation is their rate
    times the exposure of the pixel. As a datum has no part in its own expectation, fits with the inverse of the result as weights are
    not biased low as fits with weights 1/n are. Where even the whole band holds fewer counts, its mean rate is taken, with one count
    added, so that the result is positive everywhere.

    Parameters
    ----------
    counts : ndarray, shape (B, Ny, Nx)
        Numbers of photons, >= 0.
    exposure : ndarray, broadcastable to counts, optional
        Relative or absolute exposure, >= 0; 1 where it is not given.
    good : ndarray of bool, shape (B, Ny, Nx), optional
        False where nothing was observed.
    at_least : float, > 0
        Counts in a window: the weights then scatter by ``1 / sqrt(at_least)``.

    Returns
    -------
    ndarray, shape (B, Ny, Nx)
        Expected counts, > 0 where there is exposure; NaN elsewhere.

    Raises
    ------
    ShapeError, ParameterError
        If shapes do not agree, or a number is out of range.

    Examples
    --------
    >>> float(expected_counts(np.full((1, 9, 9), 100.0))[0, 4, 4])
    100.0
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 3:
        raise ShapeError(f"counts has shape {counts.shape}: expected (bands, y, x).")
    if not at_least > 0:
        raise ParameterError(f"at_least is {at_least!r}: expected a number of counts > 0.")
    shown = np.ones(counts.shape) if exposure is None else np.broadcast_to(np.asarray(exposure, dtype=np.float64), counts.shape)
    seen = np.isfinite(counts) & np.isfinite(shown) & (shown > 0)
    if good is not None:
        seen &= good
    if (counts[seen] < 0).any():
        raise ParameterError(f"counts go down to {counts[seen].min():g}: expected numbers of photons >= 0.")
    number, time = np.where(seen, counts, 0.0), np.where(seen, shown, 0.0)
    rate = np.full(counts.shape, np.nan)
    size, largest = 3, 2 * max(counts.shape[1:]) + 1
    while size < largest and np.isnan(rate).any():
        around, together = (_sum(values, size) - values for values in (number, time))
        found = np.isnan(rate) & (around >= at_least - 0.5) & (together > 0)  # sums of floats: half a count is as good as none
        rate[found] = around[found] / together[found]
        size = 2 * size - 1
    total, whole = number.sum(axis=(1, 2), keepdims=True), time.sum(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(np.isnan(rate), (total + 1) / whole, rate)
    return np.where(seen, rate * shown, np.nan)


def _sum(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sums over windows of `size` × `size` pixels, cut at the border."""
    window = min(size, 2 * max(values.shape[1:]) + 1)
    return np.asarray(uniform_filter(values, size=(1, window, window), mode="constant") * window**2)
