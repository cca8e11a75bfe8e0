"""Fluxes of sources of known shape (forced photometry), with or without a sign constraint, and their errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from .normal_equations import Array, check_images, normal_equations, solve

__all__ = ["constrained_errors", "positive_fluxes", "signal_to_noise", "signed_fluxes"]

_UNSEEN = 1e-20  # squared norm of a template, in units of the largest, at which the frame holds none of the source


def signed_fluxes(templates: Array, data: Array, weights: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fluxes of all sources together without any constraint, and their covariance: unbiased also where a source is absent.

    ``argmin_F Σ w (d − Σ_k F_k t_k)²`` per band; the covariance is conditional on the shapes.

    Parameters
    ----------
    templates : ndarray, shape (n, B, Ny, Nx)
        Image of each source at unit flux, as the telescope sees it.
    data : ndarray, shape (B, Ny, Nx)
        Finite where there is weight; elsewhere anything.
    weights : ndarray, shape (B, Ny, Nx)
        Inverse variances, 0 where data are absent.

    Returns
    -------
    fluxes : ndarray, shape (n, B)
        In the unit of the data. NaN where no pixel with weight lies under a source. Sources that the data cannot tell apart share
        their light in the way of least norm.
    covariance : ndarray, shape (B, n, n)
        In both cases the variance is inf and the covariances are NaN; those of the other sources remain right.

    Raises
    ------
    ShapeError, ParameterError
        If shapes disagree, weights are negative or not finite, templates or data with weight are not finite.
    """
    templates, data, weights = np.asarray(templates), np.asarray(data), np.asarray(weights)
    check_images(templates, weights, data)
    fluxes, covariance = solve(*_flux_equations(templates, data, weights))
    return fluxes.T, covariance


def positive_fluxes(templates: Array, data: Array, weights: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `signed_fluxes` with ``F >= 0``; the covariance is that of the fluxes above 0, NaN for those at 0.

    Solved exactly per band by the active-set method on the normal equations.

    Parameters
    ----------
    templates, data, weights : ndarray
        As in `signed_fluxes`.

    Returns
    -------
    fluxes : ndarray, shape (n, B)
        NaN where no pixel with weight lies under a source.
    covariance : ndarray, shape (B, n, n)

    References
    ----------
    Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23.
    """
    templates, data, weights = np.asarray(templates), np.asarray(data), np.asarray(weights)
    check_images(templates, weights, data)
    gram, right = _flux_equations(templates, data, weights)
    fluxes = np.stack([_nnls(g, h) for g, h in zip(gram, right, strict=True)]) if len(templates) else right
    return fluxes.T, _free_covariance(gram, fluxes)


def constrained_errors(templates: Array, weights: Array, fluxes: Array) -> NDArray[np.float64]:
    """Standard errors of fluxes found under ``F >= 0``, shapes and active constraints held fixed.

    Parameters
    ----------
    templates : ndarray, shape (n, B, Ny, Nx)
        At unit flux.
    weights : ndarray, shape (B, Ny, Nx)
    fluxes : ndarray, shape (n, B)

    Returns
    -------
    ndarray, shape (n, B)
        NaN where the constraint is active (flux <= 0), inf where the data do not determine the flux.
    """
    templates, weights = np.asarray(templates), np.asarray(weights)
    check_images(templates, weights)
    gram, _ = _flux_equations(templates, np.zeros_like(weights), weights)
    return np.sqrt(np.einsum("bii->ib", _free_covariance(gram, np.asarray(fluxes).T)))


def signal_to_noise(fluxes: Array, errors: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Flux over error per band (n, B), and in total (n,): the root of the summed squares of the positive ones.

    A band without a finite error counts 0 in the total.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        per_band = np.asarray(fluxes, dtype=np.float64) / np.asarray(errors, dtype=np.float64)
    return per_band, np.sqrt(np.square(np.nan_to_num(per_band, nan=0.0).clip(min=0)).sum(axis=1))


def _flux_equations(templates: Array, data: Array, weights: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normal equations with zeros for sources of which the frame holds no more than the last digits of a wing."""
    gram, right = normal_equations(templates, data, weights)
    norms = np.einsum("bii->bi", gram)
    seen = norms > _UNSEEN * norms.max(axis=1, initial=0.0, keepdims=True)
    return np.where(seen[:, :, None] & seen[:, None, :], gram, 0.0), np.where(seen, right, 0.0)


def _nnls(gram: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative solution of one system, by way of a square root of the scaled matrix."""
    diagonal = np.diag(gram)
    seen = diagonal > 0
    root = np.where(seen, 1 / np.sqrt(np.where(seen, diagonal, 1)), 0)
    values, vectors = np.linalg.eigh(gram * root[:, None] * root)
    half = np.sqrt(np.where(values > 1e-14, values, np.inf))
    scaled = vectors.T @ (right * root) / half
    size = np.abs(scaled).max()
    if size == 0:
        return np.where(seen, 0.0, np.nan)
    solution, _ = nnls(np.where(np.isfinite(half), half, 0)[:, None] * vectors.T, scaled / size, maxiter=100 * len(right))
    return np.where(seen, solution * size * root, np.nan)


def _free_covariance(gram: NDArray[np.float64], fluxes: Array) -> NDArray[np.float64]:
    """Covariance (B, n, n) of the fluxes above 0, NaN for the others; `fluxes` is (B, n)."""
    active = fluxes <= 0
    free = ~active
    _, covariance = solve(gram * (free[:, :, None] & free[:, None, :]), np.zeros(fluxes.shape))
    covariance[active[:, :, None] | active[:, None, :]] = np.nan
    return covariance
