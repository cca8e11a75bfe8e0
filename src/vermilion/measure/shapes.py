"""Sizes and shapes of morphologies, as they were before the PSF of the model frame blurred them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, nnls

from .normal_equations import Array

__all__ = ["NO_SHAPE", "Shape", "moments"]

_POINT = 1e-3  # deconvolved variance, in units of that of the PSF, below which nothing is resolved
_ROUND = 1e-3
_TURNS = 12
_MIXTURE = 24
_PATIENCE = 100  # steps of the active set for each unknown


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape:
    """Ellipse of half the light.

    Parameters
    ----------
    half_light_radius : float
        Geometric mean ``sqrt(a b)`` of the half axes in pixels; 0 where the source is not resolved.
    major_axis : float
        Half axis ``a`` in pixels.
    axis_ratio : float
        Minor over major axis, 0 … 1; NaN where the source is not resolved.
    angle : float
        Of the major axis, in degrees from the x axis towards the y axis, 0 … 180; NaN where the source is round.
    center : tuple of float
        First moments, pixel (y, x) of the image.
    covariance : ndarray, shape (2, 2)
        Second moments (y, x) in pixel²; the PSF's are subtracted.
    """

    half_light_radius: float
    major_axis: float
    axis_ratio: float
    angle: float
    center: tuple[float, float]
    covariance: NDArray[np.float64]


NO_SHAPE = Shape(
    half_light_radius=np.nan,
    major_axis=np.nan,
    axis_ratio=np.nan,
    angle=np.nan,
    center=(np.nan, np.nan),
    covariance=np.full((2, 2), np.nan),
)


def moments(image: Array, *, sigma: float = 0.0) -> Shape:
    """Shape of a non-negative image that a circular Gaussian has blurred.

    The second moments are taken within the largest similar ellipse that the image holds, so that a square border does not round them,
    less ``sigma²``. The radius is that of a mixture of concentric Gaussians of this shape, blurred with sigma and fitted
    to the image with non-negative weights.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        Negative and non-finite pixels count as 0.
    sigma : float, >= 0
        Standard deviation of the blur in pixels.

    Returns
    -------
    Shape
        All NaN where the image holds no light.
    """
    light: NDArray[np.float64] = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0).clip(min=0)
    peak = light.max(initial=0.0)
    if peak <= 0:
        return NO_SHAPE
    light = light / peak
    center, covariance = _second_moments(light, sigma)
    (minor, major), axes = np.linalg.eigh(covariance)
    if major <= _POINT * max(sigma**2, 1 / 12):
        return Shape(half_light_radius=0.0, major_axis=0.0, axis_ratio=np.nan, angle=np.nan, center=center, covariance=covariance)
    ratio = float(np.sqrt(max(minor, 0.0) / major))
    angle = float(np.degrees(np.arctan2(axes[0, 1], axes[1, 1])) % 180) if ratio < 1 - _ROUND else np.nan
    form = np.outer(axes[:, 1], axes[:, 1]) + ratio**2 * np.outer(axes[:, 0], axes[:, 0])
    major_axis = _half_light_axis(light, center, form, sigma)
    return Shape(
        half_light_radius=major_axis * ratio**0.5,
        major_axis=major_axis,
        axis_ratio=ratio,
        angle=angle,
        center=center,
        covariance=covariance,
    )


def _second_moments(image: NDArray[np.float64], sigma: float) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """First moments (y, x) and second moments less sigma², within an ellipse of their own form."""
    y, x = np.indices(image.shape, dtype=np.float64)
    inside = np.ones(image.shape, dtype=bool)
    limits = np.array(image.shape) - 1.0
    for _ in range(_TURNS):
        light = image * inside
        total = light.sum()
        center = np.array([(light * y).sum(), (light * x).sum()]) / total
        dy, dx = y - center[0], x - center[1]
        across = (light * dy * dx).sum()
        covariance = np.array([[(light * dy**2).sum(), across], [across, (light * dx**2).sum()]]) / total - sigma**2 * np.eye(2)
        form = covariance + (1e-2 * max(np.trace(covariance), 0.0) + 1e-3) * np.eye(2)
        before = inside
        (a, b), (_, c) = np.linalg.inv(form)
        reach = (np.minimum(center, limits - center).clip(min=1.0) ** 2 / np.diag(form)).min()
        inside = a * dy**2 + 2 * b * dy * dx + c * dx**2 <= reach
        if not (image * inside).any() or (inside == before).all():
            break
    return (float(center[0]), float(center[1])), covariance


def _half_light_axis(image: NDArray[np.float64], center: tuple[float, float], form: NDArray[np.float64], sigma: float) -> float:
    """Along the major axis; `form` is the covariance of an ellipse with major axis 1."""
    y, x = np.indices(image.shape, dtype=np.float64)
    dy, dx = (y - center[0]).ravel(), (x - center[1]).ravel()
    scales = np.geomspace(0.25, max(max(image.shape) / 3, 1.0), _MIXTURE)
    if sigma > 0:
        scales = np.append(0.0, scales)
    covariances = scales[:, None, None] ** 2 * form + max(sigma, 0.25) ** 2 * np.eye(2)
    inverses, sizes = np.linalg.inv(covariances), 2 * np.pi * np.sqrt(np.linalg.det(covariances))
    distances = np.stack([dy**2, 2 * dy * dx, dx**2])
    profiles = np.exp(-0.5 * inverses[:, [0, 0, 1], [0, 1, 1]] @ distances) / sizes[:, None]
    # wings count, but less than the core
    root = 1 / np.sqrt(image.ravel() + 1e-3)
    design = profiles * root
    lower = np.linalg.cholesky(design @ design.T + 1e-12 * np.eye(len(scales)) * np.square(design).sum(axis=1).max())
    light, _ = nnls(lower.T, np.linalg.solve(lower, design @ (image.ravel() * root)), maxiter=_PATIENCE * len(scales))
    light = light / light.sum()

    def beyond(radius: float) -> float:
        with np.errstate(divide="ignore"):
            return float(light @ np.exp(-0.5 * (radius / scales) ** 2)) - 0.5

    return 0.0 if light[scales == 0].sum() >= 0.5 else float(brentq(beyond, 1e-9, 4 * scales[-1]))
