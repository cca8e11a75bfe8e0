"""Normal equations of images with known shapes, per band, and solutions that say what the data do not determine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, ShapeError

__all__ = ["check_images", "normal_equations", "solve"]

Array = NDArray[np.floating[Any]]

# Eigenvalue of the correlation matrix below which a combination counts as undetermined: templates that differ by 1e-5 of their norm.
_SINGULAR = 1e-10


def check_images(models: Array, weights: Array, data: Array | None = None) -> None:
    """Refuse images whose shapes do not belong together, weights that are no inverse variances, data that are absent but have weight."""
    if models.ndim != 4 or models.shape[1:] != weights.shape:
        raise ShapeError(
            f"models or templates have shape {models.shape}, weights {weights.shape}: expected (n, B, Ny, Nx) and (B, Ny, Nx)."
        )
    if not np.isfinite(models).all():
        raise ParameterError("models or templates have entries that are not finite: give a source that is not measured a model of 0.")
    if data is not None and data.shape != weights.shape:
        raise ShapeError(f"data has shape {data.shape}, weights {weights.shape}: expected equal shapes (B, Ny, Nx).")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ParameterError("weights has negative or non-finite entries: expected inverse variances; give absent pixels weight 0.")
    if data is not None and not np.isfinite(data[weights > 0]).all():
        raise ParameterError("data is not finite in pixels with weight: expected weight 0 in absent pixels.")


def normal_equations(templates: Array, data: Array, weights: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gram matrices ``Σ w t_i t_j`` and right sides ``Σ w t_i d`` of every band, in float64.

    Parameters
    ----------
    templates : ndarray, shape (n, B, Ny, Nx)
    data, weights : ndarray, shape (B, Ny, Nx)
        Inverse variances; data of weight 0 may be NaN.

    Returns
    -------
    gram : ndarray, shape (B, n, n)
    right : ndarray, shape (B, n)
    """
    n, n_bands = templates.shape[:2]
    gram, right = np.empty((n_bands, n, n)), np.empty((n_bands, n))
    for b in range(n_bands):
        t = templates[:, b].reshape(n, weights[0].size).astype(np.float64)
        w = weights[b].ravel().astype(np.float64)
        d = np.where(w > 0, data[b].ravel().astype(np.float64), 0.0)
        weighted = t * w
        gram[b], right[b] = weighted @ t.T, weighted @ d
    return gram, right


def solve(
    gram: NDArray[np.float64], right: NDArray[np.float64], *, scale: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solutions of ``gram x = right`` of least norm in units of their errors alone, and their covariance.

    Parameters
    ----------
    gram : ndarray, shape (B, n, n)
        Symmetric, not negative.
    right : ndarray, shape (B, n)
    scale : ndarray, shape (B, n), optional
        Diagonal against which eigenvalues count as zero; default that of `gram`.

    Returns
    -------
    x : ndarray, shape (B, n)
        NaN where the diagonal is 0: there are no data.
    covariance : ndarray, shape (B, n, n)
        The variance is inf, its covariances NaN, where the data do not determine an unknown; the others keep their right values.
    """
    diagonal = np.einsum("bii->bi", gram) if scale is None else scale
    seen = diagonal > 0
    root = np.where(seen, 1 / np.sqrt(np.where(seen, diagonal, 1)), 0)
    values, vectors = np.linalg.eigh(gram * root[:, :, None] * root[:, None, :])
    kept = values > _SINGULAR
    inverse = np.where(kept, 1 / np.where(kept, values, 1), 0)
    covariance: NDArray[np.float64] = np.einsum("bik,bk,bjk->bij", vectors, inverse, vectors)
    x = root * np.einsum("bij,bj->bi", covariance, root * right)
    with np.errstate(over="ignore", invalid="ignore"):  # of a source whose last wing alone is seen
        covariance *= root[:, :, None] * root[:, None, :]
    lost = np.einsum("bik,bk->bi", vectors**2, ~kept) > np.sqrt(_SINGULAR)
    covariance[lost[:, :, None] | lost[:, None, :]] = np.nan
    np.einsum("bii->bi", covariance)[lost] = np.inf
    return np.where(seen, x, np.nan), covariance
