"""Spectra as a sensor with broad bands sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from ..errors import ParameterError, ShapeError

__all__ = ["resample_spectra"]

Array = NDArray[np.float64]

_SIGMA = 1 / np.sqrt(8 * np.log(2))  # of a Gaussian of full width 1 at half maximum


def resample_spectra(
    spectra: ArrayLike,
    wavelengths: ArrayLike,
    bands: ArrayLike | None = None,
    *,
    fwhm: ArrayLike | None = None,
    edges: ArrayLike | None = None,
    coverage: float = 0.95,
) -> Array:
    """Mean of every spectrum under the response of every band.

    ``∫ R_b(λ) f(λ) dλ / ∫ R_b(λ) dλ``, exactly for f that is straight between its samples. With `edges` the response is a box, and sums
    over adjacent bands times their width keep the flux; with `fwhm` it is a Gaussian.

    Parameters
    ----------
    spectra : array_like, shape (L, M) or (L,)
        Flux densities or reflectances, one column per spectrum. What is not finite counts as absent.
    wavelengths : array_like, shape (L,)
        In any order, in the unit of the bands.
    bands : array_like, shape (B,), optional
        Centers; with `fwhm`.
    fwhm : array_like, scalar or shape (B,), optional
        Full width at half maximum of Gaussian responses.
    edges : array_like, shape (B, 2) or (B + 1,), optional
        Lower and upper edge of every band, or the edges of adjacent bands.
    coverage : float
        Least part of a response that must lie where the spectra are known.

    Returns
    -------
    ndarray, shape (B, M) or (B,)

    Raises
    ------
    ParameterError
        If the spectra do not cover the bands, or both or neither of `fwhm` and `edges` are given.
    ShapeError
        If shapes do not agree.

    Examples
    --------
    >>> resample_spectra([0.0, 1.0, 2.0], [400.0, 500.0, 600.0], edges=[400.0, 500.0, 600.0]).tolist()
    [0.5, 1.5]
    """
    f, at = np.asarray(spectra, dtype=np.float64), np.asarray(wavelengths, dtype=np.float64)
    if f.ndim not in (1, 2) or at.ndim != 1 or len(f) != len(at) or len(at) < 2:
        raise ShapeError(
            f"spectra have shape {f.shape} and wavelengths {at.shape}: expected (wavelengths, spectra) and (wavelengths,), at least two."
        )
    if not np.isfinite(at).all():
        raise ParameterError(f"{np.count_nonzero(~np.isfinite(at))} of {len(at)} wavelengths are not finite: leave these rows out.")
    order = np.argsort(at, kind="stable")
    columns, at = f.reshape(len(f), -1)[order], at[order]
    left, right = _segment_weights(at, bands, fwhm, edges)
    known = np.isfinite(columns)
    known = known[1:] & known[:-1]
    f = np.where(np.isfinite(columns), columns, 0)
    inside = (left + right) @ known
    means = (left @ (known * f[:-1]) + right @ (known * f[1:])) / np.where(inside > 0, inside, 1)
    _check_coverage(inside, coverage, at, _ranges(bands, fwhm, edges))
    return means if np.ndim(spectra) == 2 else means[:, 0]


def _segment_weights(at: Array, bands: Any, fwhm: Any, edges: Any) -> tuple[Array, Array]:
    """Integrals (B, L - 1) of unit responses times the two straight functions that are 1 at one end of a segment, 0 at the other."""
    ranges = _ranges(bands, fwhm, edges)
    if edges is not None:
        widths = (ranges[:, 1] - ranges[:, 0])[:, None]
        x = np.clip(at, ranges[:, :1], ranges[:, 1:])
        zeroth, first = x / widths, x**2 / (2 * widths)
        origin = np.zeros((len(ranges), 1))
    else:
        origin = ranges.mean(axis=1, keepdims=True)
        sigma = (ranges[:, 1:] - ranges[:, :1]) * _SIGMA
        u = (at - origin) / sigma
        # ∫ R and ∫ (λ - center) R up to λ
        zeroth, first = erf(u / np.sqrt(2)) / 2, -sigma * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    whole, moment = np.diff(zeroth, axis=1), np.diff(first, axis=1)
    length = np.diff(at)
    safe = np.where(length > 0, length, 1)
    right = np.where(length > 0, (moment - (at[:-1] - origin) * whole) / safe, 0)
    return whole - right, right


def _ranges(bands: Any, fwhm: Any, edges: Any) -> Array:
    """Lower and upper edge (B, 2) of every box, or of the full width at half maximum."""
    if (edges is None) == (fwhm is None) or (edges is None and bands is None):
        raise ParameterError("the response of the bands is not stated once: pass either bands= and fwhm=, or edges=.")
    if edges is not None:
        ranges = np.asarray(edges, dtype=np.float64)
        ranges = np.stack([ranges[:-1], ranges[1:]], axis=1) if ranges.ndim == 1 else ranges
        if ranges.ndim != 2 or ranges.shape[1] != 2:
            raise ShapeError(f"edges has shape {np.shape(edges)}: expected (bands, 2), or (bands + 1,) where the bands are adjacent.")
        ranges = np.sort(ranges, axis=1)
    else:
        centers = np.asarray(bands, dtype=np.float64)
        widths = np.asarray(fwhm, dtype=np.float64)
        if centers.ndim != 1 or widths.shape not in ((), (1,), centers.shape):
            raise ShapeError(f"bands has shape {centers.shape} and fwhm {widths.shape}: expected (bands,) and one width, or one per band.")
        ranges = np.stack([centers - widths / 2, centers + widths / 2], axis=1)
    bad = ~(ranges[:, 1] > ranges[:, 0])  # NaN too
    if bad.any():
        raise ParameterError(f"{np.count_nonzero(bad)} of {len(ranges)} bands have no width > 0: pass positive widths.")
    return ranges


def _check_coverage(inside: Array, coverage: float, at: Array, ranges: Array) -> None:
    short = inside < coverage
    if not short.any():
        return
    bands = np.flatnonzero(short.any(axis=1))
    spectra = np.flatnonzero(short.any(axis=0))
    raise ParameterError(
        f"the spectra, known from {at[0]:g} to {at[-1]:g}, do not cover {len(bands)} of {len(ranges)} bands "
        f"(first: band {bands[0]} from {ranges[bands[0], 0]:g} to {ranges[bands[0], 1]:g}, of whose response "
        f"{100 * inside[bands[0]].min():.0f} % is covered; {len(spectra)} of {inside.shape[1]} spectra): "
        f"leave these bands out, or pass coverage={np.floor(100 * max(0.0, float(inside.min()))) / 100:g}."
    )
