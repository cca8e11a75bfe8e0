"""Where a star lies in its stamp, and how wide it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .psf_profiles import pixel_offsets

__all__ = ["stamp_moments"]

Array = NDArray[np.floating[Any]]

# Standard deviation of the narrowest weight under which moments are measured, in pixels, and of the widest PSF, in sizes of its stamp.
NARROWEST_WEIGHT, WIDEST = 0.8, 0.27  # a flat stamp has 0.289
NO_PEAK = "a PSF stamp shows no peak, or only the middle of one: expected the image of a star; pass a larger stamp or ('gaussian', fwhm)."


def stamp_moments(stamp: Array) -> tuple[Array, Array]:
    """Center (y, x) and covariance (2, 2) of the elliptical Gaussian that fits a stamp best, by adaptively weighted moments.

    Raises
    ------
    ParameterError
        If the moments do not settle inside the stamp, or on a width that it does not hold: no star is seen.

    References
    ----------
    Bernstein & Jarvis 2002, AJ 123, 583, section 3.1; Hirata & Seljak 2003, MNRAS 343, 459.
    """
    center = np.array(np.unravel_index(np.argmax(stamp), stamp.shape), dtype=float)
    weight = _floored(np.eye(2) * (stamp > stamp.max() / 2).sum() / np.pi / 2)
    for _ in range(50):
        step, seen = _moments_under(weight, stamp, center)
        # The product of two equal Gaussians lies half-way between them and has half their covariance.
        center, last, weight = center + 2 * step, weight, _floored(2 * seen)
        middle = (np.array(stamp.shape) - 1) / 2
        if not (np.isfinite(weight).all() and (np.abs(center - middle) <= middle + 0.5).all()):
            raise ParameterError(NO_PEAK)
        if np.abs(step).max() < 5e-5 and np.abs(weight - last).max() < 1e-2:
            break
    values, vectors = np.linalg.eigh(np.linalg.inv(seen + 1e-6 * np.eye(2)) - np.linalg.inv(last))
    covariance = (vectors / np.maximum(values, 1e-3)) @ vectors.T
    if np.sqrt(np.diag(covariance) / np.square(stamp.shape)).max() > WIDEST:
        raise ParameterError(NO_PEAK)
    return center, covariance


def _moments_under(weight: Array, stamp: Array, center: Array) -> tuple[Array, Array]:
    """Offset of the centroid from `center` and second moments about `center` of a stamp times a Gaussian of covariance `weight` there."""
    y, x = pixel_offsets(stamp.shape, (center[0], center[1]))
    (a, b), (_, c) = np.linalg.inv(weight)
    light = stamp * np.exp(-0.5 * (a * y**2 + 2 * b * y * x + c * x**2))
    total = light.sum()
    if not total > 0:
        return np.full(2, np.nan), np.full((2, 2), np.nan)
    yx = (light * y * x).sum()
    second = np.array([[(light * y * y).sum(), yx], [yx, (light * x * x).sum()]])
    return np.array([(light * y).sum(), (light * x).sum()]) / total, second / total


def _floored(covariance: Array) -> Array:
    """The covariance with no axis narrower than `NARROWEST_WEIGHT`, so that the weight sees more than one pixel."""
    if not np.isfinite(covariance).all():
        return covariance
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, NARROWEST_WEIGHT**2)) @ vectors.T
