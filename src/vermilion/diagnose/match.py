"""Which found component is which true one, and how far apart the two are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..errors import ShapeError

__all__ = [
    "Comparison",
    "Components",
    "Match",
    "Spread",
    "compare_components",
    "match_components",
    "spectral_angle",
    "spread_of_spectra",
]

Array = NDArray[np.floating[Any]]


class Components(Protocol):
    """Anything with names (K), spectra (B, K) and maps (K, Ny, Nx); NaN means absent."""

    @property
    def names(self) -> Sequence[str]:
        """One per component."""

    @property
    def spectra(self) -> Array:
        """Shape (B, K)."""

    @property
    def maps(self) -> Array:
        """Shape (K, Ny, Nx)."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """One true component and the found one that comes nearest to it.

    Parameters
    ----------
    name : str
        Name of the true component.
    component : str or None
        Name of the found one; None where fewer were found than there are.
    angle : float
        Spectral angle in rad.
    correlation : float
        Pearson correlation of the maps.
    flux_ratio : float
        Found total flux / true total flux, both summed over the bands and pixels that both have.
    """

    name: str
    component: str | None
    angle: float = float("nan")
    correlation: float = float("nan")
    flux_ratio: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Found components beside the true ones.

    Parameters
    ----------
    matches : tuple of Match
        One per true component, in the order of the truth.
    unmatched : tuple of str
        Found components that no true one was left for.
    oracle : tuple of Match or None
        The floor that noise alone sets: maps by least squares with the true spectra, spectra by least squares with the true
        maps. None where no data were given.
    """

    matches: tuple[Match, ...]
    unmatched: tuple[str, ...] = ()
    oracle: tuple[Match, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far apart several solutions of the same problem are, in rad.

    Parameters
    ----------
    maximum : float
        The largest value of `components`.
    components : ndarray, shape (K,)
        Largest spectral angle between any two solutions, per component of the first one.
    """

    maximum: float
    components: NDArray[np.float64]


def spectral_angle(a: Array, b: Array) -> float:
    """Angle between two spectra in rad, from 0 (same shape) to π/2 (nothing in common) for non-negative ones.

    ``2 atan2(|a/|a| - b/|b||, |a/|a| + b/|b||)``: unlike arccos of the cosine it keeps its digits where the angle is small.

    Parameters
    ----------
    a, b : ndarray, shape (B,)
        In any unit. Bands where either is not finite are left out.

    Returns
    -------
    float
        π/2 if either is zero everywhere; NaN if no band is left.

    References
    ----------
    Kruse et al. 1993, Remote Sensing of Environment 44, 145; Kahan 2006, "How futile are mindless assessments of roundoff", section 12.

    Examples
    --------
    >>> round(spectral_angle(np.array([1.0, 0.0]), np.array([3.0, 3.0])), 6)
    0.785398
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError(f"spectra have shapes {a.shape} and {b.shape}: expected two of shape (bands,) on the same bands.")
    return float(_angles(a[:, None], b[:, None])[0, 0])


def match_components(spectra: Array, true_spectra: Array) -> NDArray[np.intp]:
    """Index of the found component that belongs to each true one, so that the sum of spectral angles is smallest.

    Parameters
    ----------
    spectra : ndarray, shape (B, K)
    true_spectra : ndarray, shape (B, K_true)
        Bands where any spectrum is not finite are left out.

    Returns
    -------
    ndarray of int, shape (K_true,)
        -1 for true components that stay without a partner because K < K_true.

    References
    ----------
    Kuhn 1955, Naval Research Logistics Quarterly 2, 83 (the assignment problem).
    """
    angles = _angles(*_as_columns(spectra, true_spectra))
    if np.isnan(angles).any():
        raise ShapeError("no band is finite in all spectra: nothing to match; compare spectra that have bands in common.")
    found, true = linear_sum_assignment(angles)
    partner = np.full(angles.shape[1], -1, dtype=np.intp)
    partner[true] = found
    return partner


def compare_components(found: Components, truth: Components, *, data: Array | None = None, weights: Array | None = None) -> Comparison:
    """Spectral angle, map correlation and flux ratio of every true component, and the floor set by the noise.

    Bands and pixels that are NaN on either side are left out on both.

    Parameters
    ----------
    found, truth : Components
        On the same bands and pixels; the number of components may differ.
    data, weights : ndarray, shape (B, Ny, Nx), optional
        The cube and its inverse variances (0 = absent), for the oracle.

    Returns
    -------
    Comparison

    Raises
    ------
    ShapeError
        If bands or pixels do not agree, or have nothing in common.
    """
    spectra, true_spectra = _as_columns(found.spectra, truth.spectra)
    if found.maps.shape[1:] != truth.maps.shape[1:]:
        raise ShapeError(f"maps have shape {found.maps.shape[1:]}, the true ones {truth.maps.shape[1:]}: expected the same pixels.")
    maps, true_maps = _as_rows(found.maps), _as_rows(truth.maps)
    bands = _finite(spectra, axis=1) & _finite(true_spectra, axis=1)
    pixels = _finite(maps, axis=0) & _finite(true_maps, axis=0)
    if not bands.any() or not pixels.any():
        raise ShapeError("no band or no pixel is finite on both sides: nothing to compare.")
    spectra, true_spectra, maps, true_maps = spectra[bands], true_spectra[bands], maps[:, pixels], true_maps[:, pixels]
    partner = match_components(spectra, true_spectra)
    matches = tuple(
        Match(name=name, component=None)
        if j < 0
        else _compare(name, found.names[j], spectra[:, j], maps[j], true_spectra[:, k], true_maps[k])
        for k, (name, j) in enumerate(zip(truth.names, partner, strict=True))
    )
    unmatched = tuple(name for j, name in enumerate(found.names) if j not in partner)
    oracle = None
    if data is not None:
        Y, W = _data_and_weights(data, weights, shape=(len(bands), *truth.maps.shape[1:]))
        Y, W = Y[bands][:, pixels], W[bands][:, pixels]
        oracle = _oracle(tuple(truth.names), Y, W, true_spectra, true_maps)
    return Comparison(matches=matches, unmatched=unmatched, oracle=oracle)


def spread_of_spectra(solutions: Sequence[Array]) -> Spread:
    """Largest angle between the same component of different solutions.

    Parameters
    ----------
    solutions : sequence of ndarray, shape (B, K)
        At least one; all are matched to the first.

    Returns
    -------
    Spread
        Zero for a single solution.
    """
    if not solutions or any(np.shape(A) != np.shape(solutions[0]) for A in solutions):
        raise ShapeError(f"solutions have shapes {[np.shape(A) for A in solutions]}: expected at least one, all of shape (B, K).")
    first = solutions[0]
    ordered = [np.asarray(A)[:, match_components(A, first)] for A in solutions]
    spread = np.zeros(np.shape(first)[1])
    for A, other in itertools.combinations(ordered, 2):
        spread = np.maximum(spread, np.diagonal(_angles(A, other)))
    return Spread(maximum=float(spread.max(initial=0.0)), components=spread)


def _as_columns(spectra: Array, true_spectra: Array) -> tuple[Array, Array]:
    spectra, true_spectra = np.asarray(spectra, dtype=np.float64), np.asarray(true_spectra, dtype=np.float64)
    if spectra.ndim != 2 or true_spectra.ndim != 2 or len(spectra) != len(true_spectra):
        raise ShapeError(
            f"spectra have shape {spectra.shape}, the true ones {true_spectra.shape}: expected (bands, components) on the same bands."
        )
    return spectra, true_spectra


def _as_rows(maps: Array) -> Array:
    return np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)


def _finite(values: Array, *, axis: int) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).all(axis=axis))


def _angles(A: Array, other: Array) -> NDArray[np.float64]:
    """Spectral angles between all columns of A (B, K) and of `other` (B, L), shape (K, L)."""
    bands = _finite(A, axis=1) & _finite(other, axis=1)
    if not bands.any():
        return np.full((A.shape[1], other.shape[1]), np.nan)
    a, b = _unit_columns(A[bands])[:, :, None], _unit_columns(other[bands])[:, None, :]
    angles = 2 * np.arctan2(np.linalg.norm(a - b, axis=0), np.linalg.norm(a + b, axis=0))
    empty = ~a.any(axis=0) | ~b.any(axis=0)
    return np.where(empty, np.pi / 2, angles)  # a spectrum of zeros points nowhere: as far as positive spectra can be


def _unit_columns(A: Array) -> Array:
    A = np.asarray(A, dtype=np.float64)
    largest = np.abs(A).max(axis=0)
    A = A / np.where(largest > 0, largest, 1)  # squares of 1e-200 underflow
    norm = np.linalg.norm(A, axis=0)
    return A / np.where(norm > 0, norm, 1)


def _compare(name: str, component: str, spectrum: Array, image: Array, true_spectrum: Array, true_image: Array) -> Match:
    true_flux = true_spectrum.sum() * true_image.sum()
    return Match(
        name=name,
        component=component,
        angle=spectral_angle(spectrum, true_spectrum),
        correlation=_correlation(image, true_image),
        flux_ratio=float(spectrum.sum() * image.sum() / true_flux) if true_flux != 0 else float("nan"),
    )


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale > 0 else float("nan")


def _data_and_weights(data: Array, weights: Array | None, *, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Y and W as (B, N) in float64, 0 where absent."""
    W = np.ones(shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if np.shape(data) != shape or W.shape != shape:
        raise ShapeError(f"data has shape {np.shape(data)} and weights {W.shape}, the truth {shape}: expected equal shapes.")
    Y = np.asarray(data, dtype=np.float64)
    good = np.isfinite(Y) & np.isfinite(W) & (W > 0)
    return np.where(good, Y, 0).reshape(shape[0], -1), np.where(good, W, 0).reshape(shape[0], -1)


def _oracle(names: tuple[str, ...], Y: Array, W: Array, A: Array, S: Array) -> tuple[Match, ...]:
    seen_bands, seen_pixels = W.any(axis=1), W.any(axis=0)
    Y, W, A, S = Y[seen_bands][:, seen_pixels], W[seen_bands][:, seen_pixels], A[seen_bands], S[:, seen_pixels]
    maps = _least_squares(A, Y, W)
    spectra = _least_squares(S.T, Y.T, W.T).T
    return tuple(
        replace(_compare(name, name, A[:, k], maps[k], A[:, k], S[k]), angle=spectral_angle(spectra[:, k], A[:, k]))
        for k, name in enumerate(names)
    )


def _least_squares(A: Array, Y: Array, W: Array) -> Array:
    """Signed S (K, N) that minimizes Σ w (y - A s)² in each column; the shortest one where a column has too few data."""
    n_rows, n_components = A.shape
    scale = np.abs(A).max(axis=0)
    A = A / np.where(scale > 0, scale, 1)
    W = W / np.where(W.any(axis=0), W.max(axis=0, initial=0), 1)  # weights of 1e40 belong to fluxes of 1e-20
    products = (A[:, :, None] * A[:, None, :]).reshape(n_rows, -1)
    gram = (W.T @ products).reshape(-1, n_components, n_components)
    solution = np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ (A.T @ (W * Y)).T[:, :, None]
    return solution[:, :, 0].T / np.where(scale > 0, scale, 1)[:, None]
