"""Magnitudes, and colors of adjacent bands as magnitude differences and as flux ratios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError
from .normal_equations import Array

__all__ = ["Colors", "colors", "magnitude_errors", "magnitudes"]

_POGSON = 2.5 / np.log(10)


@dataclass(frozen=True, eq=False, kw_only=True)
class Colors:
    """Colors of n sources from band to next band.

    Parameters
    ----------
    magnitudes : ndarray, shape (n, B - 1)
        ``m_b − m_(b+1)``; NaN where one of the fluxes is not positive.
    covariance : ndarray, shape (n, B - 1, B - 1)
        Of `magnitudes`, to first order.
    ratios : ndarray, shape (n, B - 1)
        ``F_b / F_(b+1)``; NaN where F_(b+1) is not positive.
    ratio_errors : ndarray, shape (n, B - 1)
    """

    magnitudes: NDArray[np.float64]
    covariance: NDArray[np.float64]
    ratios: NDArray[np.float64]
    ratio_errors: NDArray[np.float64]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Standard errors of `magnitudes`, shape (n, B - 1)."""
        return np.sqrt(np.einsum("kcc->kc", self.covariance))


def colors(fluxes: Array, covariance: Array, *, zero_points: ArrayLike = 0.0) -> Colors:
    """Colors of adjacent bands.

    They are plain functions of the fluxes, not corrected for the curvature of the logarithm and of the quotient: to second order
    ``m_b − m_(b+1)`` lies too high by ``0.54 (σ_b²/F_b² − σ_(b+1)²/F_(b+1)²)`` mag, the ratio by the factor ``1 + σ_(b+1)²/F_(b+1)²``.

    Parameters
    ----------
    fluxes : ndarray, shape (n, B)
    covariance : ndarray, shape (n, B) or (n, B, B)
        Standard errors of independent bands, or the covariance between the bands of each source.
    zero_points : array_like, shape () or (B,)
        Magnitude of unit flux in each band.

    Returns
    -------
    Colors

    Raises
    ------
    ShapeError
        If the shapes do not belong together.
    """
    fluxes, covariance = np.asarray(fluxes, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if covariance.shape not in {fluxes.shape, (*fluxes.shape, fluxes.shape[-1])}:
        raise ShapeError(f"covariance has shape {covariance.shape}, fluxes {fluxes.shape}: expected (n, B) errors or (n, B, B).")
    if covariance.ndim == 2:
        covariance = np.where(np.eye(fluxes.shape[1], dtype=bool), np.square(covariance)[:, :, None], 0.0)
    positive = np.where(fluxes > 0, fluxes, np.nan)
    one, two = slice(None, -1), slice(1, None)
    with np.errstate(invalid="ignore"):
        m = magnitudes(fluxes, zero_points)
        ratios = fluxes[:, one] / positive[:, two]
        relative = covariance / positive[:, :, None] / positive[:, None, :]
        spread = relative[:, one, one] - relative[:, one, two] - relative[:, two, one] + relative[:, two, two]
        variances, neighbors = np.einsum("kbb->kb", covariance), np.einsum("kbb->kb", covariance[:, one, two])
        ratio_variances = variances[:, one] - 2 * ratios * neighbors + ratios**2 * variances[:, two]
    return Colors(
        magnitudes=m[:, one] - m[:, two],
        covariance=_POGSON**2 * spread,
        ratios=ratios,
        ratio_errors=np.sqrt(ratio_variances) / positive[:, two],
    )


def magnitudes(fluxes: Array, zero_points: ArrayLike = 0.0) -> NDArray[np.float64]:
    """``zero_point − 2.5 log10 F``, NaN where the flux is not positive."""
    fluxes = np.asarray(fluxes, dtype=np.float64)
    return np.asarray(zero_points, dtype=np.float64) - 2.5 * np.log10(np.where(fluxes > 0, fluxes, np.nan))


def magnitude_errors(fluxes: Array, errors: Array) -> NDArray[np.float64]:
    """First-order errors of `magnitudes`, ``2.5 / ln 10 σ/F``, NaN where the flux is not positive."""
    fluxes = np.asarray(fluxes, dtype=np.float64)
    return _POGSON * np.asarray(errors, dtype=np.float64) / np.where(fluxes > 0, fluxes, np.nan)
