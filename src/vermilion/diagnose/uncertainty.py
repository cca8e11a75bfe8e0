"""Errors of one factor while the other is held fixed, and least-squares maps without constraints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .correlated_sums import CorrelationKernel

__all__ = [
    "inverse_matrices",
    "least_squares_maps",
    "morphology_errors",
    "morphology_noise_factors",
    "noise_from_residuals",
    "normal_matrices",
    "spectra_errors",
    "spectra_noise_factors",
]

Array = NDArray[np.floating[Any]]

_SAMPLED_BANDS = 100


def _tiles(n: int, size: int) -> Iterator[slice]:
    step = max(1, (1 << 17) // max(1, size))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def normal_matrices(design: Array, W: Array | None, columns: slice) -> NDArray[np.float64]:
    """``designᵀ W_m design`` for every column m, shape (M, K, K); without weights one matrix, shape (1, K, K)."""
    if W is None:
        return (design.T @ design)[None]
    K = design.shape[1]
    rows, cols = np.triu_indices(K)
    packed = W[:, columns].T.astype(np.float64) @ (design[:, rows] * design[:, cols])
    systems = np.empty((len(packed), K, K))
    systems[:, rows, cols] = systems[:, cols, rows] = packed
    return systems


def inverse_matrices(systems: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses (M, K, K); NaN where a system is singular."""
    size = np.sqrt(np.einsum("mkk->mk", systems))
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse_size = np.where(size > 0, 1 / size, 0)
    scaled = systems * inverse_size[:, :, None] * inverse_size[:, None, :]
    try:
        inverses = np.linalg.inv(scaled)
        singular = ~(np.einsum("mkk->m", np.abs(inverses)) < 1e10)
    except np.linalg.LinAlgError:  # one of them is singular to the last digit
        values, vectors = np.linalg.eigh(scaled)
        singular = values[:, 0] < 1e-10
        inverses = np.einsum("mik,mk,mjk->mij", vectors, 1 / np.where(singular[:, None], 1.0, values), vectors)
    inverses = inverses * inverse_size[:, :, None] * inverse_size[:, None, :]
    inverses[singular] = np.nan
    return np.asarray(inverses, dtype=np.float64)


def _errors(design: Array, W: Array | None, n_columns: int) -> NDArray[np.float64]:
    errors = np.empty((design.shape[1], n_columns))
    for columns in _tiles(n_columns, len(design)):
        variances = np.einsum("mkk->km", inverse_matrices(normal_matrices(design, W, columns)))
        errors[:, columns] = np.sqrt(variances)
    return errors


def morphology_errors(A: Array, W: Array | None, n_pixels: int) -> NDArray[np.float64]:
    """1-sigma errors of S with the spectra fixed, ``sqrt(diag((Aᵀ W_n A)⁻¹))`` per pixel.

    Parameters
    ----------
    A : ndarray, shape (B, K)
        Finite; 0 in bands without weight.
    W : ndarray, shape (B, N), or None
        Inverse variances; None: all 1.
    n_pixels : int
        N.

    Returns
    -------
    ndarray, shape (K, N)
        NaN where a pixel has too few bands to tell the components apart.
    """
    return _errors(np.asarray(A, dtype=np.float64), W, n_pixels)


def spectra_errors(S: Array, W: Array | None, n_bands: int) -> NDArray[np.float64]:
    """1-sigma errors of A with the morphologies fixed, ``sqrt(diag((S W_b Sᵀ)⁻¹))`` per band.

    Parameters
    ----------
    S : ndarray, shape (K, N)
    W : ndarray, shape (B, N), or None
    n_bands : int
        B.

    Returns
    -------
    ndarray, shape (B, K)
    """
    return _errors(np.asarray(S, dtype=np.float64).T, None if W is None else W.T, n_bands).T


def morphology_noise_factors(A: Array, W: Array, kernel: CorrelationKernel) -> NDArray[np.float64]:
    """How much larger the errors of S are because the noise of neighboring bands is correlated.

    A map is a weighted sum over bands, ``s_n = (Aᵀ W_n A)⁻¹ Aᵀ W_n y_n``. With the correlation C of bands its variance is vᵀ C v
    instead of vᵀ v, ``v = W_n^½ A (Aᵀ W_n A)⁻¹``.

    Parameters
    ----------
    A : ndarray, shape (B, K)
        Finite; 0 in bands without weight.
    W : ndarray, shape (B, N)
        Inverse variances.
    kernel : CorrelationKernel

    Returns
    -------
    ndarray, shape (K, N)
        1 where a pixel has too few bands to tell the components apart.
    """
    A = np.asarray(A, dtype=np.float64)
    factors = np.ones((A.shape[1], W.shape[1]))
    for columns in _tiles(W.shape[1], A.size):
        weights = W[:, columns].astype(np.float64)
        v = np.einsum("bm,bi,mij->bjm", np.sqrt(weights), A, inverse_matrices(normal_matrices(A, weights, slice(None))), optimize=True)
        factors[:, columns] = kernel.over_bands(np.nan_to_num(v))
    return factors


def spectra_noise_factors(
    S: Array, W: Array, kernel: CorrelationKernel, pixels: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """How much larger the errors of A are because the noise of neighboring spaxels is correlated.

    As `morphology_noise_factors`, with sums over spaxels. In cubes with more than 100 bands every so many-th is computed and the rest
    interpolated: the factor follows from the shape of the maps, which is the same in all.

    Parameters
    ----------
    S : ndarray, shape (K, N)
    W : ndarray, shape (B, N)
        Inverse variances.
    kernel : CorrelationKernel
    pixels : ndarray of int, shape (N,)
        Flat indices of the N pixels in the image plane.
    shape : tuple of int
        Of the image plane, (Ny, Nx).

    Returns
    -------
    ndarray, shape (B, K)
        1 in bands without weight.
    """
    S = np.asarray(S, dtype=np.float64)
    live = np.flatnonzero((W > 0).any(axis=1))
    factors = np.ones((len(W), len(S)))
    if len(live) == 0:
        return factors
    sampled = live[np.unique(np.linspace(0, len(live) - 1, _SAMPLED_BANDS).astype(int))]
    found = np.ones((len(sampled), len(S)))
    for i, b in enumerate(sampled):
        weights = W[b].astype(np.float64)
        inverse = inverse_matrices((S * weights @ S.T)[None])[0]
        images = np.zeros((len(S), shape[0] * shape[1]))
        images[:, pixels] = np.nan_to_num(inverse @ S) * np.sqrt(weights)
        found[i] = kernel.over_spaxels(images.reshape(len(S), *shape))
    for k in range(len(S)):
        factors[live, k] = np.interp(live, sampled, found[:, k])
    return factors


def least_squares_maps(
    Y: Array, W: Array | None, A: Array, *, groups: NDArray[np.integer[Any]] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed maps ``(Aᵀ W_n A)⁻¹ Aᵀ W_n y_n`` per pixel, and their 1-sigma errors.

    Positive maps of blank sky add up to a source; these do not.

    Parameters
    ----------
    Y : ndarray, shape (B, N)
        Entries of weight 0 may be NaN.
    W : ndarray, shape (B, N), or None
    A : ndarray, shape (B, K), or (G, B, K) with `groups`
    groups : ndarray of int, shape (N,), optional
        Which of G sets of spectra a pixel is seen with.

    Returns
    -------
    maps, errors : ndarray, shape (K, N)
    """
    A = np.asarray(A, dtype=np.float64)
    A = A if A.ndim == 3 else A[None]
    groups = np.zeros(Y.shape[1], dtype=np.int64) if groups is None else groups
    maps, errors = np.empty((A.shape[2], Y.shape[1])), np.empty((A.shape[2], Y.shape[1]))
    for columns in _tiles(Y.shape[1], A.shape[1]):
        y, w = Y[:, columns].astype(np.float64), None if W is None else W[:, columns]
        y = y if w is None else np.where(w > 0, y, 0) * w
        for g in np.unique(groups[columns]):
            which = np.flatnonzero(groups[columns] == g)
            inverses = inverse_matrices(normal_matrices(A[g], None if w is None else w[:, which], slice(None)))
            onto = A[g].T @ y[:, which]
            place = columns.start + which
            maps[:, place] = np.einsum("mij,jm->im", np.broadcast_to(inverses, (len(which), *inverses.shape[1:])), onto)
            errors[:, place] = np.sqrt(np.einsum("mkk->km", inverses))
    return maps, errors


def noise_from_residuals(squares: float, count: int, shape: tuple[int, ...], n_components: int) -> float:
    """Standard deviation of the noise where no weights are given: the residual rms per degree of freedom.

    Parameters
    ----------
    squares : float
        ``Σ (y − m)²``.
    count : int
        Number of data.
    shape : tuple of int
        (B, N).
    n_components : int
        K; K(B + N − K) parameters are taken off.
    """
    n_bands, n_pixels = shape
    freedom = max(1, int(count) - n_components * (n_bands + n_pixels - n_components))
    return float(np.sqrt(squares / freedom))
