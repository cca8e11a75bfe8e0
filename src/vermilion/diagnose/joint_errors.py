"""Errors of spectra and morphologies together: what of each is uncertain because the other is.

The Fisher matrix of ``Y = A S + noise`` couples every band with every pixel. S is eliminated pixel by pixel (Schur complement); what is
left for A is ``D − T``: D block-diagonal by band, the information with S known, T what is lost because S is not. The share of the
information that is lost is a number between 0 and 1 for every direction in the space of A, and 1 where the data say nothing: where A may be
mixed, ``A → A X``, and S follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from ..errors import ParameterError, ShapeError
from .uncertainty import inverse_matrices, normal_matrices

__all__ = ["CONVENTIONS", "GAUGES", "JointErrors", "joint_errors", "unmixing_errors"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GAUGES = ("unit-sum", "simplex", "as-solved")
CONVENTIONS = ("fclsu", "nnls-renormalized", "as-solved")

_FLAT = 1e-9  # share of the information left below which a direction counts as free: rounding leaves 1e-13
_EXACT = 1e-8  # share of the loss outside the mixing directions that is rounding
_TOUCHED = 1e-6  # relative size of a free direction at an entry that counts as touching it
_CHUNK = 1 << 22  # numbers held at once


@dataclass(frozen=True)
class JointErrors:
    """1-sigma errors of both factors in one gauge.

    Attributes
    ----------
    spectra : ndarray, shape (B, K)
        NaN where held fixed or without data; inf where the data do not determine the value.
    morphologies : ndarray, shape (K, N)
        Likewise.
    n_free : int
        Directions in which both factors can change together without changing the model, the gauge apart.
    information : float
        Of the determined directions the smallest share of the information on A that is left because S is not known, from 0 to 1.
    neglected : float
        Share of the loss of information that was not taken into account; 0 where the errors are exact.
    """

    spectra: Array
    morphologies: Array
    n_free: int
    information: float
    neglected: float

    @property
    def identified(self) -> Mask:
        """Components, shape (K,), of which no entry is left open."""
        return np.asarray(~(np.isinf(self.spectra).any(axis=0) | np.isinf(self.morphologies).any(axis=1)))

    def note(self) -> str:
        """The sentence that the user must read; empty if there is none."""
        said = []
        if self.n_free:
            which = ", ".join(str(k) for k in np.flatnonzero(~self.identified))
            said.append(
                f"not identified: the components can be mixed in {self.n_free} independent ways without changing the fit, and no "
                f"constraint that is met exactly forbids it (components {which}); their errors are infinite"
            )
        if self.neglected:
            said.append(f"joint errors are approximate: {self.neglected:.1%} of the loss of information is neglected")
        return "; ".join(said)


@dataclass(frozen=True)
class _Model:
    """What the Fisher matrix is made of; entries that are held fixed are False in `free_A` and `free_S`."""

    A: Array
    S: Array
    W: Array | None
    free_A: Mask
    free_S: Mask
    closure: bool
    pixel: Array  # (N, K, K) covariance of S with A known
    band: Array  # (B, K, K) covariance of A with S known

    def weights(self, columns: slice) -> Array:
        """Weights (B, M) of some pixels, 0 where a pixel cannot tell its components apart."""
        usable = np.asarray(np.isfinite(self.pixel[columns]).all(axis=(1, 2)))
        return np.broadcast_to(1.0 if self.W is None else self.W[:, columns], (len(self.A), len(usable))) * usable

    def pixel_covariance(self, columns: slice) -> Array:
        return np.nan_to_num(self.pixel[columns])

    def chunks(self, width: int) -> Iterator[slice]:
        step = max(1, _CHUNK // max(1, width))
        for start in range(0, self.S.shape[1], step):
            yield slice(start, min(start + step, self.S.shape[1]))


@dataclass(frozen=True)
class _SpectraCovariance:
    """Covariance of A: ``band + U R Uᵀ`` with U (B·K, r), plus whatever along the free directions (B·K, f)."""

    U: Array
    R: Array
    free: Array


def joint_errors(
    A: ArrayLike,
    S: ArrayLike,
    W: ArrayLike | None = None,
    *,
    gauge: str = "unit-sum",
    fixed_spectra: ArrayLike | None = None,
    fixed_morphologies: ArrayLike | None = None,
    curvature_spectra: ArrayLike | None = None,
    curvature_morphologies: ArrayLike | None = None,
    memory: float = 3e8,
) -> JointErrors:
    """Errors of A and S from the inverse of their common Fisher matrix, in a stated gauge.

    Exact where weights are a product of a band and a pixel factor, whatever the size, at the cost of ``N B K⁴``. For other weights exact as
    long as three matrices of (B K)² fit into `memory`; beyond, the loss of information is followed in the 2 K² directions of mixing
    only, and what that neglects is told.

    Parameters
    ----------
    A : array_like, shape (B, K)
    S : array_like, shape (K, N)
    W : array_like, shape (B, N), optional
        Inverse variances, 0 = absent. None: all 1; multiply the errors with the standard deviation of the noise then.
    gauge : {"unit-sum", "simplex", "as-solved"}
        "unit-sum": columns of A keep their sum (as `factorize` returns them). "simplex": columns of S keep theirs. "as-solved": neither.
    fixed_spectra, fixed_morphologies : array_like of bool, shapes (B, K) and (K, N), optional
        Entries that constraints or knowledge hold where they are. By default those that are exactly 0; pass all False if nothing
        is constrained.
    curvature_spectra, curvature_morphologies : array_like, shapes (B, K) and (K, N), optional
        Second derivatives >= 0 of penalties, entry by entry, in the unit of ``½ Σ W (Y − A S)²``.
    memory : float
        Bytes.

    Returns
    -------
    JointErrors

    Raises
    ------
    ShapeError
        If shapes do not agree.
    ParameterError
        If the gauge is unknown.

    Examples
    --------
    Each component alone in one pixel: those pixels determine the spectra, and ``1 / sqrt(w)`` is their error.

    >>> A = np.array([[1.0, 0.2], [0.1, 1.0], [0.5, 0.5]])
    >>> joint_errors(A, np.eye(2), gauge="simplex").spectra[0]
    array([1., 1.])
    """
    if gauge not in GAUGES:
        raise ParameterError(f"gauge is {gauge!r}: expected one of {', '.join(map(repr, GAUGES))}.")
    model = _model(A, S, W, gauge == "simplex", fixed_spectra, fixed_morphologies, curvature_spectra, curvature_morphologies)
    covariance, information, neglected = _schur(model, memory)
    if gauge == "unit-sum":
        covariance = _hold_sums(model, covariance)
    return JointErrors(
        spectra=_spectra_errors(model, covariance),
        morphologies=_roots(_morphology_covariances(model, covariance)),
        n_free=covariance.free.shape[1],
        information=information,
        neglected=neglected,
    )


def unmixing_errors(
    Y: ArrayLike,
    W: ArrayLike | None,
    A: ArrayLike,
    S: ArrayLike,
    *,
    convention: str = "fclsu",
    supervised: bool = False,
    brightness: ArrayLike | None = None,
    vertex_noise: Sequence[float] | ArrayLike | None = None,
    memory: float = 3e8,
) -> tuple[Array, Array]:
    """Errors of endmember spectra and abundances in the convention that the abundances follow.

    Parameters
    ----------
    Y : array_like, shape (B, N)
        Data; entries of weight 0 may be NaN.
    W : array_like, shape (B, N), or None
        Inverse variances. None: the noise is taken from the residuals, the same in all bands and pixels.
    A : array_like, shape (B, K)
        Endmember spectra in the unit of the data.
    S : array_like, shape (K, N)
        Abundances; exact zeros are held fixed.
    convention : {"fclsu", "nnls-renormalized", "as-solved"}
        How the abundances were brought to sum to 1: in the fit, by dividing those of a non-negative fit by their sum, or not at all.
    supervised : bool
        The spectra were given: they have no error.
    brightness : array_like, shape (N,), optional
        What each pixel of the data was divided by before the fit.
    vertex_noise : array_like, shape (K,), optional
        Where spectra are those of chosen pixels: variance of each in units of that of a single pixel, ``Σ b²`` over the weights b of the
        pixels that it is a mean of. None: spectra that minimize the residual.
    memory : float
        As for `joint_errors`.

    Returns
    -------
    spectra_error : ndarray, shape (B, K)
        In the unit of the data; 0 if `supervised`; NaN where held fixed; inf where the data do not determine it.
    abundances_error : ndarray, shape (K, N)

    Raises
    ------
    ShapeError
        If shapes do not agree.
    ParameterError
        If the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise ParameterError(f"convention is {convention!r}: expected one of {', '.join(map(repr, CONVENTIONS))}.")
    Y, W, A, S = _data(Y, W, A, S, brightness)
    closure = convention == "fclsu"
    size = np.ones(S.shape[1]) if convention != "nnls-renormalized" else _sizes(Y, W, A, S)
    model = _model(A, S * size, W, closure, None, None, None, None)
    if supervised:
        spectra, blocks = np.zeros(A.shape), model.pixel
    else:
        if vertex_noise is None:
            covariance = _schur(model, memory)[0]
            covariance = covariance if closure else _hold_sums(model, covariance)
        else:
            covariance = _of_vertices(model, np.asarray(vertex_noise, dtype=np.float64))
        spectra, blocks = _spectra_errors(model, covariance), _morphology_covariances(model, covariance)
    if convention == "nnls-renormalized":
        blocks = _renormalized(blocks, S, size)
    abundances = _roots(blocks)
    abundances[~model.free_S] = np.nan
    return spectra, abundances


def _data(Y: Any, W: Any, A: Any, S: Any, brightness: Any) -> tuple[Array, Array, Array, Array]:
    """Data as they were fitted and their weights, of the residuals' scatter where none are given."""
    Y, A, S = (np.asarray(X, dtype=np.float64) for X in (Y, A, S))
    _check(A, S, np.shape(Y))
    given = None if W is None else np.asarray(W, dtype=np.float64)
    if given is not None and given.shape != Y.shape:
        raise ShapeError(f"W has shape {given.shape}, Y has {Y.shape}: expected equal shapes.")
    there = np.isfinite(Y) if given is None else np.isfinite(Y) & np.isfinite(given) & (given > 0)
    scale = np.ones(Y.shape[1]) if brightness is None else np.asarray(brightness, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    Y = np.where(there, Y, 0.0) / scale
    if given is not None:
        return Y, np.where(there, given, 0.0) * scale**2, A, S
    # noise is the same in the data, not in the normalized data
    squares = float((np.square(Y - A @ S) * scale**2)[there].sum())
    freedom = max(1, int(there.sum()) - A.shape[1] * (len(A) + S.shape[1] - A.shape[1]))
    noise = squares / freedom
    return Y, there * (scale**2 / noise if noise > 0 else np.zeros_like(scale)), A, S


def _sizes(Y: Array, W: Array, A: Array, S: Array) -> Array:
    """Factor per pixel that brings abundances of sum 1 back to the non-negative fit."""
    model = A @ S
    onto, square = (W * model * Y).sum(axis=0), (W * model * model).sum(axis=0)
    return np.divide(onto, square, out=np.ones(S.shape[1]), where=(square > 0) & (onto > 0))


def _check(A: Array, S: Array, shape: tuple[int, ...]) -> None:
    if A.ndim != 2 or S.ndim != 2 or A.shape[1] != len(S) or shape != (len(A), S.shape[1]):
        raise ShapeError(f"A has shape {A.shape}, S {S.shape}, the data {shape}: expected (B, K), (K, N) and (B, N).")


def _model(A: Any, S: Any, W: Any, closure: bool, fixed_A: Any, fixed_S: Any, curvature_A: Any, curvature_S: Any) -> _Model:
    A, S = np.asarray(A, dtype=np.float64), np.asarray(S, dtype=np.float64)
    W = None if W is None else np.nan_to_num(np.asarray(W, dtype=np.float64))
    _check(A, S, (len(A), S.shape[-1]) if W is None else W.shape)
    finite_A, finite_S = np.isfinite(A).all(axis=1), np.isfinite(S).all(axis=0)
    free_A = A != 0 if fixed_A is None else ~np.asarray(fixed_A, dtype=bool)
    free_S = S != 0 if fixed_S is None else ~np.asarray(fixed_S, dtype=bool)
    if free_A.shape != A.shape or free_S.shape != S.shape:
        raise ShapeError(f"fixed entries have shapes {free_A.shape} and {free_S.shape}: expected {A.shape} and {S.shape}.")
    free_A, free_S = free_A & finite_A[:, None], free_S & finite_S
    if not (finite_A.all() and finite_S.all()):
        W = np.ones((len(A), S.shape[1])) if W is None else W
        W = W * finite_A[:, None] * finite_S
        A, S = np.nan_to_num(A), np.nan_to_num(S)
    if closure:
        free_S = free_S & (free_S.sum(axis=0) > 1)  # alone, an abundance is 1
    pixel = _restricted(normal_matrices(A, W, slice(None)), free_S.T, None if curvature_S is None else np.transpose(curvature_S), closure)
    band = _restricted(normal_matrices(S.T, None if W is None else W.T, slice(None)), free_A, curvature_A, False)
    return _Model(A, S, W, free_A, free_S, closure, pixel, band)


def _restricted(systems: Array, free: Mask, curvature: ArrayLike | None, closure: bool) -> Array:
    """Inverses (M, K, K) on the free entries (M, K), 0 elsewhere; with `closure` on those changes that leave the sum."""
    systems = np.array(np.broadcast_to(systems, (len(free), *systems.shape[1:])))
    if curvature is not None:
        systems[:, np.arange(free.shape[1]), np.arange(free.shape[1])] += np.asarray(curvature, dtype=np.float64)
    both = free[:, :, None] & free[:, None, :]
    systems = np.where(both, systems, np.eye(free.shape[1]))
    inverses = np.where(both, inverse_matrices(systems), 0.0)
    if closure:
        sums = inverses.sum(axis=2)
        total = sums.sum(axis=1)
        inverses -= np.einsum("mi,mj->mij", sums, np.divide(sums, total[:, None], out=np.zeros_like(sums), where=total[:, None] > 0))
    return inverses


def _schur(model: _Model, memory: float) -> tuple[_SpectraCovariance, float, float]:
    """Covariance of A with S eliminated, the smallest share of information left, and what was neglected of the loss."""
    basis = _mixing_directions(model)
    loss, total = _loss(model, basis)
    neglected = 1 - float(np.trace(loss)) / total if total > 0 else 0.0
    size = model.A.size
    if neglected > _EXACT and 3 * 8.0 * size**2 <= memory:
        basis = _all_directions(model)
        loss, total = _loss(model, basis)
        neglected = 0.0
    lost, turn = eigh(loss) if len(loss) else (np.zeros(0), loss)
    left = 1 - lost
    free = left < _FLAT
    some = ~free & (lost > _EXACT * _FLAT)
    covariance = _SpectraCovariance(basis @ turn[:, some], np.diag(lost[some] / left[some]), basis @ turn[:, free])
    return covariance, float(left[~free].min(initial=1.0)), neglected if neglected > _EXACT else 0.0


def _roots_of_band(model: _Model) -> Array:
    """Square roots C (B, K, K) with ``C Cᵀ`` the covariance of A with S known; 0 for bands that know nothing."""
    values, vectors = np.linalg.eigh(np.nan_to_num(model.band))
    return vectors * np.sqrt(np.maximum(values, 0))[:, None, :]


def _all_directions(model: _Model) -> Array:
    """Every direction of A, orthonormal with respect to the information with S known, shape (B·K, B·K)."""
    n_bands, K = model.A.shape
    basis = np.zeros((n_bands, K, n_bands, K))
    basis[np.arange(n_bands), :, np.arange(n_bands)] = _roots_of_band(model)
    return basis.reshape(n_bands * K, n_bands * K)


def _mixing_directions(model: _Model) -> Array:
    """Those that mixtures of components reach, ``A X`` and ``D⁻¹ (u A X)`` with u the weights of bands, orthonormal as above."""
    n_bands, K = model.A.shape
    u = np.ones(n_bands) if model.W is None else model.W.mean(axis=1)
    roots = _roots_of_band(model)
    known = np.asarray(np.isfinite(model.band).all(axis=(1, 2)))
    A = np.where(known[:, None], model.A, 0.0)
    # in coordinates of the square root: D^½ (A X), and D^-½ (u A X)
    inverse = np.linalg.pinv(roots, rcond=1e-10)
    mixed = np.einsum("brk,bi,bk->brik", inverse, A, model.free_A.astype(float)).reshape(n_bands * K, K * K)
    pulled = np.einsum("bkr,bi,bk->brik", roots, u[:, None] * A, model.free_A.astype(float)).reshape(n_bands * K, K * K)
    columns = np.hstack([mixed, pulled])
    columns /= np.maximum(np.linalg.norm(columns, axis=0), np.finfo(float).tiny)
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    left = left[:, values > 1e-10 * values.max(initial=0.0)].reshape(n_bands, K, -1)
    return np.einsum("bkr,brx->bkx", roots, left).reshape(n_bands * K, -1)


def _loss(model: _Model, basis: Array) -> tuple[Array, float]:
    """Information lost because S is not known, in a basis (r, r), and its trace over all directions."""
    loss, total = np.zeros((basis.shape[1], basis.shape[1])), 0.0
    directions = basis.reshape(*model.A.shape, -1)
    for columns in model.chunks(directions.size // model.A.shape[1]):
        pixel = model.pixel_covariance(columns)
        values, vectors = np.linalg.eigh(pixel)
        half = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        seen = half.transpose(0, 2, 1) @ _coupled(model, directions, columns)
        seen = seen.reshape(seen.shape[0] * seen.shape[1], basis.shape[1])
        loss += seen.T @ seen
        total += float((pixel * _own(model, columns)).sum())
    return loss, total


def _coupled(model: _Model, directions: Array, columns: slice) -> Array:
    """What changes of A (B, K, r) mean for S, ``Σ_b A_bi w_bn Σ_k S_kn dA_bk``, shape (M, K, r)."""
    n_bands, K, r = directions.shape
    changes = directions.transpose(0, 2, 1) @ model.S[:, columns]
    n_pixels = changes.shape[2]
    changes *= model.weights(columns)[:, None, :]
    return (model.A.T @ changes.reshape(n_bands, r * n_pixels)).reshape(K, r, n_pixels).transpose(2, 0, 1)


def _own(model: _Model, columns: slice) -> Array:
    """The same for the covariance of A with S known, on both sides, shape (M, K, K)."""
    K = model.A.shape[1]
    rows, cols = np.triu_indices(K)
    twice = np.where(rows == cols, 1.0, 2.0)
    S, band = model.S[:, columns], np.nan_to_num(model.band)
    spread = (twice * band[:, rows, cols]) @ (S[rows] * S[cols])
    packed = ((model.A[:, rows] * model.A[:, cols]).T @ (model.weights(columns) ** 2 * spread)).T
    own = np.empty((len(packed), K, K))
    own[:, rows, cols] = own[:, cols, rows] = packed
    return own


def _hold_sums(model: _Model, covariance: _SpectraCovariance) -> _SpectraCovariance:
    """The covariance in the gauge in which every spectrum keeps its sum: the free directions of scale make up for what changes it."""
    n_bands, K = model.A.shape
    constraints = (np.where(model.free_A, 1.0, 0.0)[:, :, None] * np.eye(K)).reshape(n_bands * K, K)
    held = constraints[:, model.free_A.any(axis=0)]
    free = covariance.free
    left, values, right = np.linalg.svd(held.T @ free, full_matrices=True)
    size = np.linalg.norm(held, axis=0).max(initial=0.0) * np.linalg.norm(free, axis=0).max(initial=0.0)
    rank = int((values > _TOUCHED * size).sum())
    scale = free @ (right[:rank].T / values[:rank]) @ left[:, :rank].T  # what changes each sum by 1
    U = covariance.U - scale @ (held.T @ covariance.U)
    pulled = np.einsum("bij,bjc->bic", np.nan_to_num(model.band), held.reshape(n_bands, K, -1)).reshape(n_bands * K, -1)
    m, r = held.shape[1], U.shape[1]
    R = np.zeros((r + 2 * m, r + 2 * m))
    R[:r, :r] = covariance.R
    R[r : r + m, r : r + m] = held.T @ pulled
    R[r : r + m, r + m :] = R[r + m :, r : r + m] = -np.eye(m)
    return replace(covariance, U=np.hstack([U, scale, pulled]), R=R, free=free @ right[rank:].T)


def _of_vertices(model: _Model, vertex_noise: Array) -> _SpectraCovariance:
    """Spectra that are means of pixels: as noisy as these within the span of A, and outside of it as the residual allows."""
    n_bands, K = model.A.shape
    if vertex_noise.shape != (K,):
        raise ShapeError(f"vertex_noise has shape {vertex_noise.shape}: expected one value for each of {K} spectra.")
    weights = np.ones(n_bands) if model.W is None else model.W[:, model.W.any(axis=0)].mean(axis=1)
    position = inverse_matrices((model.A.T * weights @ model.A)[None])[0]
    U = np.einsum("bi,kj->bkij", model.A, np.eye(K)).reshape(n_bands * K, K * K) * model.free_A.reshape(-1, 1)
    return _SpectraCovariance(U, np.kron(np.nan_to_num(position), np.diag(vertex_noise)), np.zeros((n_bands * K, 0)))


def _touched(directions: Array, size: Array) -> Mask:
    """Entries that a free direction (last axis) moves by more than rounding, relative to their `size`."""
    return np.asarray((np.abs(directions) > _TOUCHED * size[..., None]).any(axis=-1))


def _spectra_errors(model: _Model, covariance: _SpectraCovariance) -> Array:
    n_bands, K = model.A.shape
    variance = np.einsum("bkk->bk", model.band) + ((covariance.U @ covariance.R) * covariance.U).sum(axis=1).reshape(n_bands, K)
    errors = np.sqrt(np.maximum(variance, 0))
    free = covariance.free.reshape(n_bands, K, -1)
    errors[_touched(free, np.sqrt(np.nan_to_num(np.einsum("bkk->bk", model.band))))] = np.inf
    errors[~model.free_A] = np.nan
    return np.asarray(errors)


def _morphology_covariances(model: _Model, covariance: _SpectraCovariance) -> Array:
    """Covariance of S in every pixel (N, K, K), with A uncertain; inf on the diagonal where it is free."""
    blocks = model.pixel.copy()
    directions = np.hstack([covariance.U, covariance.free]).reshape(*model.A.shape, -1)
    n_known = covariance.U.shape[1]
    for columns in model.chunks(directions.size // model.A.shape[1]):
        pixel = model.pixel_covariance(columns)
        pulled = pixel @ _coupled(model, directions, columns)
        known = pulled[:, :, :n_known]
        blocks[columns] += pixel @ _own(model, columns) @ pixel + known @ covariance.R @ known.transpose(0, 2, 1)
        open_ = _touched(pulled[:, :, n_known:], np.sqrt(np.maximum(np.einsum("nkk->nk", pixel), 0)))
        n, k = np.nonzero(open_)
        blocks[n + columns.start, k, k] = np.inf
    return blocks


def _renormalized(blocks: Array, S: Array, size: Array) -> Array:
    """Covariances of ``x / Σ x`` from those of x, whose sum is `size`."""
    K = len(S)
    derivative = (np.eye(K) - S.T[:, :, None] * np.ones(K)) / size[:, None, None]
    finite = np.isfinite(blocks).all(axis=(1, 2))
    out = np.full_like(blocks, np.nan)
    out[finite] = derivative[finite] @ blocks[finite] @ derivative[finite].transpose(0, 2, 1)
    open_ = np.isinf(blocks).any(axis=(1, 2))
    out[open_] = np.inf
    return out


def _roots(blocks: Array) -> Array:
    """Errors (K, N) from covariances (N, K, K); NaN where a value cannot change."""
    variances = np.einsum("nkk->kn", blocks).copy()
    return np.sqrt(np.where(variances > 0, variances, np.nan))
