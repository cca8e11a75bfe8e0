"""PSF stamps without the noise in their wings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .psf_moments import stamp_moments
from .psf_profiles import pixel_offsets

__all__ = ["without_noisy_wings"]

Array = NDArray[np.floating[Any]]

# Noise of a stamp, in units of its light and times its number of pixels, from which on its wings are cleaned.
WORST_NOISE = 0.05


def without_noisy_wings(stamp: Array) -> Array:
    """A centered stamp with the mean over ellipses where noise drowns the PSF, and 0 where it drowns that mean."""
    noise = _pixel_noise(stamp)
    if noise * stamp.size < WORST_NOISE:
        return stamp
    center, covariance = stamp_moments(stamp)
    y, x = pixel_offsets(stamp.shape, (center[0], center[1]))
    (a, b), (_, c) = np.linalg.inv(covariance)
    # Along the geometric mean of the axes, in pixels.
    ellipse = np.rint(np.sqrt((a * y**2 + 2 * b * y * x + c * x**2) * np.sqrt(np.linalg.det(covariance)))).astype(int)
    count = np.maximum(np.bincount(ellipse.ravel()), 1)
    mean = np.bincount(ellipse.ravel(), stamp.ravel()) / count
    drowned = _first(mean < noise)
    mean[drowned + _first(mean[drowned:] < 3 * noise / np.sqrt(count[drowned:])) :] = 0
    cleaned = np.where(ellipse >= drowned, mean[ellipse], stamp)
    return cleaned / cleaned.sum()


def _pixel_noise(stamp: Array) -> float:
    """Standard deviation of what differs from pixel to pixel in the outer half of a stamp, where a PSF is smooth on that scale."""
    y, x = pixel_offsets(stamp.shape, None)
    radius = np.hypot(y, x)[1:-1, 1:-1]
    neighbors = (stamp[:-2, 1:-1] + stamp[2:, 1:-1] + stamp[1:-1, :-2] + stamp[1:-1, 2:]) / 4
    rough = np.abs(stamp[1:-1, 1:-1] - neighbors)[radius > np.median(radius)]
    # 1.4826: median of |x| to sigma; 5/4: variance of the difference from the mean of four.
    return float(1.4826 * np.median(rough) / np.sqrt(5 / 4)) if rough.size else 0.0


def _first(found: NDArray[np.bool_]) -> int:
    """Index of the first True, or the length where there is none."""
    return int(np.argmax(found)) if found.any() else len(found)
