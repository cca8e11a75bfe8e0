"""How near found endmembers and abundances come to the true ones, in the figures of the unmixing literature."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..errors import InputWarning, ParameterError, ShapeError
from .match import match_components, spectral_angle

__all__ = ["Score", "reconstruction_errors", "score"]

Array = NDArray[np.floating[Any]]
Vector = NDArray[np.float64]

MATCHINGS = ("spectra", "abundances")


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """Figures of one solution. Arrays run over the true endmembers, in the order of the truth.

    Parameters
    ----------
    partner : ndarray of int, shape (K_true,)
        Index of the found endmember that belongs to each true one; -1 where none was left.
    matched_by : {"spectra", "abundances"}
    matchings_differ : bool
        Whether the other matching pairs them otherwise: the figures then depend on the choice.
    extra : tuple of int
        Found endmembers without a true partner.
    sad : ndarray, shape (K_true,)
        Spectral angle distance in rad; π/2 for a true endmember that was not found.
    rmse : ndarray, shape (K_true,)
        Root mean square error of the abundances in per cent; one that was not found counts as 0 everywhere.
    rmse_total : float
        The same over all endmembers and pixels, in per cent.
    sre : float
        Signal to reconstruction error of the abundances, ``10 log10(|S|² / |S - Ŝ|²)``, in dB.
    rmse_renormalized : float
        As `rmse_total`, after both sides were divided by their sum in each pixel: free of the scale of a pixel.
    correlation : ndarray, shape (K_true,)
        Pearson correlation of the abundances: free of the scale of an endmember. NaN where one of them is constant.
    reconstruction_rmse : float
        Root mean square of ``Y - A S`` where Y has weight, in the unit of Y; NaN without data.
    reconstruction_sre : float
        ``10 log10(|Y|² / |Y - A S|²)`` in dB; NaN without data.
    """

    partner: NDArray[np.intp]
    matched_by: str
    matchings_differ: bool
    extra: tuple[int, ...]
    sad: Vector
    rmse: Vector
    rmse_total: float
    sre: float
    rmse_renormalized: float
    correlation: Vector
    reconstruction_rmse: float
    reconstruction_sre: float

    @property
    def sad_mean(self) -> float:
        """Mean of `sad` in rad."""
        return float(self.sad.mean())

    @property
    def sad_mean_degrees(self) -> float:
        """Mean of `sad` in degrees."""
        return math.degrees(self.sad_mean)

    @property
    def missing(self) -> tuple[int, ...]:
        """True endmembers that were not found."""
        return tuple(int(k) for k in np.flatnonzero(self.partner < 0))


def score(
    spectra: Array,
    abundances: Array,
    true_spectra: Array,
    true_abundances: Array,
    *,
    data: Array | None = None,
    weights: Array | None = None,
    brightness: Array | None = None,
    match_by: str = "spectra",
) -> Score:
    """Figures of endmembers and abundances beside the true ones.

    Found endmembers are assigned to true ones so that the sum of spectral angles is smallest, or the sum of squared differences of
    the abundances (renormalized to sum 1 in each pixel, so that a scale does not decide). Where the two assignments differ an
    `InputWarning` says so. Bands and pixels that are not finite on either side are left out.

    Parameters
    ----------
    spectra : ndarray, shape (B, K)
    abundances : ndarray, shape (K, N) or (K, Ny, Nx)
    true_spectra : ndarray, shape (B, K_true)
    true_abundances : ndarray, shape (K_true, N) or (K_true, Ny, Nx)
        The numbers of endmembers may differ: see `Score`.
    data : ndarray, shape (B, N) or (B, Ny, Nx), optional
        For the errors of reconstruction; NaN where absent.
    weights : ndarray, shape of `data`, optional
        0 = absent.
    brightness : ndarray, shape (N,) or (Ny, Nx), optional
        What each pixel was divided by before it was unmixed; the reconstruction is multiplied by it.
    match_by : {"spectra", "abundances"}

    Returns
    -------
    Score

    Raises
    ------
    ShapeError
        If bands or pixels do not agree, or have nothing in common.
    ParameterError
        If `match_by` is unknown.

    References
    ----------
    Kruse et al. 1993, Remote Sensing of Environment 44, 145 (spectral angle).
    Iordache, Bioucas-Dias & Plaza 2011, IEEE Transactions on Geoscience and Remote Sensing 49, 2014 (SRE).

    Examples
    --------
    >>> A, S = np.eye(3), np.array([[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]])
    >>> found = score(A[:, [2, 0, 1]], S[[2, 0, 1]], A, S)
    >>> found.partner.tolist(), found.sad_mean, found.rmse_total
    ([1, 2, 0], 0.0, 0.0)
    """
    if match_by not in MATCHINGS:
        raise ParameterError(f"match_by is {match_by!r}: expected one of {', '.join(MATCHINGS)}.")
    A, A_true = _columns(spectra, "spectra"), _columns(true_spectra, "true_spectra")
    S, S_true = _rows(abundances, "abundances", A.shape[1]), _rows(true_abundances, "true_abundances", A_true.shape[1])
    if len(A) != len(A_true) or S.shape[1] != S_true.shape[1]:
        raise ShapeError(
            f"found {len(A)} bands and {S.shape[1]} pixels, the truth has {len(A_true)} and {S_true.shape[1]}: expected the same."
        )
    reconstruction = (math.nan, math.nan)
    if data is not None:
        reconstruction = reconstruction_errors(data, A, S, weights=weights, brightness=brightness)
    seen = np.isfinite(S).all(axis=0) & np.isfinite(S_true).all(axis=0)
    if not seen.any():
        raise ShapeError("no pixel is finite on both sides: nothing to score.")
    S, S_true = S[:, seen], S_true[:, seen]
    assignments = {"spectra": match_components(A, A_true), "abundances": _match_abundances(S, S_true)}
    partner = assignments[match_by]
    differ = not np.array_equal(assignments["spectra"], assignments["abundances"])
    if differ:
        warnings.warn(
            f"matching by spectra pairs found and true endmembers as {assignments['spectra'].tolist()}, matching by abundances as "
            f"{assignments['abundances'].tolist()}: the scores depend on it, these are by {match_by}.",
            InputWarning,
            stacklevel=2,
        )
    ordered = _in_order(S, partner)
    errors = ordered - S_true
    return Score(
        partner=partner,
        matched_by=match_by,
        matchings_differ=differ,
        extra=tuple(j for j in range(A.shape[1]) if j not in partner),
        sad=np.array([np.pi / 2 if j < 0 else spectral_angle(A[:, j], A_true[:, k]) for k, j in enumerate(partner)]),
        rmse=100 * np.sqrt(np.mean(errors**2, axis=1)),
        rmse_total=100 * _rms(errors),
        sre=_decibel(S_true, errors),
        rmse_renormalized=100 * _rms(_in_order(_sum_to_one(S), partner) - _sum_to_one(S_true)),
        correlation=np.array([_correlation(a, b) for a, b in zip(ordered, S_true, strict=True)]),
        reconstruction_rmse=reconstruction[0],
        reconstruction_sre=reconstruction[1],
    )


def reconstruction_errors(
    data: Array, spectra: Array, abundances: Array, *, weights: Array | None = None, brightness: Array | None = None
) -> tuple[float, float]:
    """Root mean square of ``Y - brightness × (A S)`` in the unit of Y, and ``10 log10(|Y|² / |Y - brightness × (A S)|²)`` in dB.

    Parameters
    ----------
    data : ndarray, shape (B, N) or (B, Ny, Nx)
        NaN where absent.
    spectra : ndarray, shape (B, K)
    abundances : ndarray, shape (K, N) or (K, Ny, Nx)
        Pixels without abundances (NaN) are left out.
    weights : ndarray, shape of `data`, optional
        0 = absent; else they only say what is there.
    brightness : ndarray, shape (N,) or (Ny, Nx), optional

    Returns
    -------
    rmse : float
    sre : float

    Raises
    ------
    ShapeError
        If shapes do not agree, or no value is there on both sides.
    """
    A = _columns(spectra, "spectra")
    S = _rows(abundances, "abundances", A.shape[1])
    Y = np.asarray(data, dtype=np.float64)
    Y = Y.reshape(len(Y), -1)
    if Y.shape != (len(A), S.shape[1]):
        raise ShapeError(f"data has {Y.shape[0]} bands and {Y.shape[1]} pixels, the model {len(A)} and {S.shape[1]}: expected the same.")
    model = A @ S if brightness is None else (A @ S) * np.reshape(brightness, -1)
    there = np.isfinite(Y) & np.isfinite(model)
    if weights is not None:
        there &= np.reshape(weights, Y.shape) > 0
    if not there.any():
        raise ShapeError("no value is finite with weight in data and model: nothing to score.")
    errors = (Y - model)[there]
    return _rms(errors), _decibel(Y[there], errors)


def _columns(spectra: Array, name: str) -> Vector:
    A = np.asarray(spectra, dtype=np.float64)
    if A.ndim != 2:
        raise ShapeError(f"{name} has shape {A.shape}: expected (bands, endmembers).")
    return A


def _rows(abundances: Array, name: str, n_endmembers: int) -> Vector:
    S = np.asarray(abundances, dtype=np.float64)
    if S.ndim not in (2, 3) or len(S) != n_endmembers:
        raise ShapeError(f"{name} has shape {S.shape}: expected ({n_endmembers}, pixels) or ({n_endmembers}, y, x), as there are spectra.")
    return S.reshape(n_endmembers, -1)


def _match_abundances(S: Vector, S_true: Vector) -> NDArray[np.intp]:
    """Index of the found abundances nearest to each true ones, one to one; -1 where none was left."""
    S, S_true = _sum_to_one(S), _sum_to_one(S_true)
    found, true = linear_sum_assignment((S**2).sum(axis=1)[:, None] + (S_true**2).sum(axis=1) - 2 * S @ S_true.T)
    partner = np.full(len(S_true), -1, dtype=np.intp)
    partner[true] = found
    return partner


def _sum_to_one(S: Vector) -> Vector:
    total = S.sum(axis=0)
    return S / np.where(total > 0, total, 1)


def _in_order(S: Vector, partner: NDArray[np.intp]) -> Vector:
    """Rows of S in the order of the truth, zeros where there is none."""
    return np.asarray(np.where(partner[:, None] < 0, 0, S[partner]))


def _rms(values: Vector) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _decibel(signal: Vector, errors: Vector) -> float:
    power, loss = float(np.sum(signal**2)), float(np.sum(errors**2))
    if loss == 0:
        return math.inf
    return 10 * math.log10(power / loss) if power > 0 else -math.inf


def _correlation(a: Vector, b: Vector) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale > 0 else math.nan
