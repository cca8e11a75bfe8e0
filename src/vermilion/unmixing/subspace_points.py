"""Pixels as points of the subspace that K spectra span, each with its noise, however much of it is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..alternating.quadratic import pairs, place
from ..errors import NoDataError
from ..initialize import weighted_subspace
from .correlated_noise import band_covariance, neighbor_correlation

__all__ = ["MODEL_ERROR", "SubspacePoints", "band_noise", "subspace_points"]

_FITS = 100  # alternations of the low-rank fit where entries are missing or weights differ
_SETTLED = 1e-3  # sine by which the last one turns it
_TRIAL = 2  # of which tell the better of two first guesses
_ENOUGH = 10  # pixels per dimension
MODEL_ERROR = 2.0
"""The variance of what K spectra leave, in units of the noise, beyond which the model is wrong by more than the noise."""

_UNUSUAL = 10.0
_CLEARLY = 1.1  # times the edge: an eigenvalue of noise lies beyond it hardly ever
_STRUCTURE = 0.05  # correlation of neighboring pixels that noise does not have
_DIGITS = 1e-5  # of the rms of the data: noise below it is taken for rounding
_BLOCK = 1 << 15  # pixels solved together


@dataclass(frozen=True)
class SubspacePoints:
    """The rank-K fit of the data, and what it leaves.

    Attributes
    ----------
    basis : Tensor, shape (B, K)
        Spectra are ``basis @ coordinates``, in the unit of the data.
    coordinates : Tensor, shape (K, N)
        0 in pixels without weight.
    covariance : Tensor, shape (1, K, K) or (N, K, K)
        Of the noise in the coordinates.
    seen : Tensor of bool, shape (N,)
        Pixels with weight in at least K bands.
    misfit : float
        Mean square of what the fit leaves, per degree of freedom, in units of the noise that the bands have by themselves; 1 where K
        spectra explain the data. nan where there are too few bands or pixels to tell.
    """

    basis: Tensor
    coordinates: Tensor
    covariance: Tensor
    seen: Tensor
    misfit: float

    def above_noise(self) -> int:
        """How many dimensions hold more than noise of the same strength puts into the leading ones (Marchenko & Pastur 1967)."""
        seen = self.pixels(self.seen)
        size = seen.covariance.diagonal(dim1=1, dim2=2).sum(dim=1)
        usual = size <= _UNUSUAL * size.median()  # pixels of which little is known would count as noise for all
        factor = torch.linalg.cholesky(seen.covariance[usual].mean(dim=0))
        known = seen.coordinates if len(usual) == 1 else seen.coordinates[:, usual]
        white = torch.linalg.solve_triangular(factor, known, upper=False)
        n_bands, n_pixels = len(self.basis), white.shape[1]
        values = torch.linalg.eigvalsh(white @ white.T / n_pixels)
        return int((values > _CLEARLY * (1 + math.sqrt(n_bands / n_pixels)) ** 2).sum())

    def pixels(self, which: Tensor) -> SubspacePoints:
        """The same for some of the pixels."""
        covariance = self.covariance if len(self.covariance) == 1 else self.covariance[which]
        return replace(self, coordinates=self.coordinates[:, which], covariance=covariance, seen=self.seen[which])


def subspace_points(
    Y: Tensor, W: Tensor | None, rank: int, *, whiten: bool = True, shape: tuple[int, int] | None = None, seed: int = 0
) -> SubspacePoints:
    """Weighted rank-K fit ``min Σ W (Y − U X)²``, exact in every pixel, with the noise of the coordinates.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        float64, of order one; 0 where the weight is 0.
    W : Tensor, shape (B, N), optional
        Inverse variances, up to a factor per band if `whiten`; None: all bands and pixels alike.
    rank : int
        K <= min(B, N).
    whiten : bool
        Weigh every band by the noise that is found in it, see `band_noise`; else by W alone.
    shape : (int, int), optional
        (Ny, Nx) of the image: lets noise that neighboring bands share be told from a wrong model, where nothing is missing.
    seed : int
        Of the first guess of the subspace.

    Raises
    ------
    NoDataError
        If fewer than K pixels have K bands.
    """
    n_bands = len(Y)
    if W is None or bool((W[:, :1] == W).all()):
        points = _complete(Y, None if W is None else W[:, 0], rank, whiten)
        if points.misfit > MODEL_ERROR and shape is not None and (W is None or bool((W[:, 0] > 0).all())):
            return _with_correlated_noise(Y, rank, shape) or points
        return points
    seen = (W > 0).sum(dim=0) >= rank
    if int(seen.sum()) < rank:
        raise NoDataError(
            f"{int(seen.sum())} pixels have data in {rank} bands or more: expected at least {rank}; ask for fewer endmembers."
        )
    W = W * seen
    basis = _first_basis(Y, W, rank, seed)
    basis, X = _alternate(Y, W, basis, _FITS)
    factor = W.new_ones(n_bands)
    if whiten:
        factor = 1 / _excess(torch.where(W > 0, Y, basis @ X), W)
        W = W * factor[:, None]
        basis, X = _alternate(Y, W, basis, _FITS)
    freedom = int((W > 0).sum()) - rank * (int(seen.sum()) + n_bands - rank)
    rest = float((W * (Y - basis @ X).square()).sum()) / freedom if freedom > 0 else math.nan
    basis = basis * (W > 0).any(dim=1)[:, None]
    X, covariance = _solve_pixels(Y, W, basis, errors=True)
    return SubspacePoints(basis, X, covariance * (rest if rest > 0 else 1.0), seen, rest if whiten else math.nan)


def band_noise(Y: Tensor) -> Tensor:
    """Standard deviation (B,) of what every band has beyond a linear combination of all other bands.

    Found without choosing a number of components, from ``1 / [(Y Yᵀ)⁻¹]_bb``; nan where there are too few pixels. At least 1e-5 of the
    rms of the data.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        float64 and complete.

    References
    ----------
    Roger & Arnold 1996, Int. J. Remote Sens. 17, 951; Bioucas-Dias & Nascimento 2008, IEEE TGRS 46, 2435 (section II).
    """
    n_bands, n_pixels = Y.shape
    if n_pixels < 2 * n_bands:
        return Y.new_full((n_bands,), math.nan)
    squares = Y.square().sum(dim=1)
    least = _DIGITS**2 * squares.sum() / Y.numel()
    size = torch.where(squares > 0, squares, 1).sqrt()
    values, vectors = torch.linalg.eigh((Y @ Y.T) / (size[:, None] * size))
    inverse = (vectors.square() / values.clamp(min=1e-14)).sum(dim=1) / size.square()
    return (1 / inverse / (n_pixels - n_bands + 1)).clamp(min=least).sqrt()


def _complete(Y: Tensor, weights: Tensor | None, rank: int, whiten: bool) -> SubspacePoints:
    """The fit where all pixels have the same weights (B,): a singular value decomposition."""
    n_bands, n_pixels = Y.shape
    scale = Y.new_ones(n_bands) if weights is None else weights.sqrt()
    noise = band_noise(Y[scale > 0]) if whiten else None
    known = noise is not None and bool(torch.isfinite(noise).all()) and len(noise) > rank + 1
    if known and noise is not None:
        scale = scale.masked_scatter(scale > 0, 1 / noise)
    X = scale[:, None] * Y
    values, vectors = torch.linalg.eigh(X @ X.T)
    values, vectors = values.flip(0), vectors.flip(1)
    used = int((scale > 0).sum())
    rest = float(values[rank:].clamp(min=0).sum()) / max(1, (used - rank) * (n_pixels - rank))
    left = vectors[:, :rank]
    left = left * torch.where((left.T @ X).sum(dim=1) < 0, -1.0, 1.0)
    basis = torch.where(scale > 0, 1 / torch.where(scale > 0, scale, 1), 0)[:, None] * left
    least = _DIGITS**2 * float(values.clamp(min=0).sum()) / X.numel()
    variance = max(rest, least)
    covariance = variance * torch.eye(rank, dtype=Y.dtype, device=Y.device)[None]
    seen = torch.ones(n_pixels, dtype=torch.bool, device=Y.device)
    return SubspacePoints(basis, left.T @ X, covariance, seen, rest if known else math.nan)


def _with_correlated_noise(Y: Tensor, rank: int, shape: tuple[int, int]) -> SubspacePoints | None:
    """The fit with the noise that neighboring bands share; None where what is left is no noise.

    Bands count alike: data made white would rest on the directions that smooth noise leaves nearly free, where the model is at its worst.
    """
    n_pixels = Y.shape[1]
    basis = torch.linalg.eigh(Y @ Y.T)[1][:, -rank:]
    basis = basis * torch.where((basis.T @ Y).sum(dim=1) < 0, -1.0, 1.0)
    coordinates = basis.T @ Y
    rest = Y - basis @ coordinates
    if abs(neighbor_correlation(rest, shape)) > _STRUCTURE:
        return None
    taken = basis @ basis.T
    noise = band_covariance(rest, taken)
    seen = torch.ones(n_pixels, dtype=torch.bool, device=Y.device)
    expected = n_pixels * float((noise - taken @ noise).diagonal().sum())
    return SubspacePoints(basis, coordinates, (basis.T @ noise @ basis)[None], seen, float(rest.square().sum()) / expected)


def _first_basis(Y: Tensor, W: Tensor, rank: int, seed: int) -> Tensor:
    """A first guess of all pixels, or of those without a gap: where bands are missing together the first may be far off."""
    space = weighted_subspace(Y, W, rank, seed=seed, noise=False)
    inverse = torch.where(space.band_scale > 0, 1 / torch.where(space.band_scale > 0, space.band_scale, 1), 0)
    guesses = [torch.linalg.qr(inverse[:, None].to(Y) * space.basis.to(Y))[0]]
    whole = ((W > 0) == (W > 0).any(dim=1, keepdim=True)).all(dim=0)
    if int(whole.sum()) >= _ENOUGH * rank:
        guesses.append(torch.linalg.svd(Y[:, whole], full_matrices=False)[0][:, :rank])
    tried = [_alternate(Y, W, guess, _TRIAL) for guess in guesses]
    left = [float((W * (Y - basis @ X).square()).sum()) for basis, X in tried]
    return tried[left.index(min(left))][0]


def _alternate(Y: Tensor, W: Tensor, basis: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Basis with orthonormal columns and coordinates after some alternating exact solutions, at most `count`.

    With momentum, which restarts when a solution turns against the last move: a dimension hardly stronger than the noise takes hundreds
    of solutions without.

    References
    ----------
    O'Donoghue & Candès 2015, Found. Comput. Math. 15, 715.
    """
    ahead, age = basis, 0
    for _ in range(count):
        X, _ = _solve_pixels(Y, W, ahead)
        rows, _ = _solve_pixels(Y.T, W.T, X.T)
        new = torch.linalg.qr(rows.T)[0]
        left, _, right = torch.linalg.svd(new.T @ basis)
        new = new @ (left @ right)  # as near as can be to the last
        move = new - basis
        age = 0 if float(((ahead - new) * move).sum()) > 0 else age + 1
        ahead = torch.linalg.qr(new + age / (age + 3) * move)[0]
        basis = new
        if float(torch.linalg.vector_norm(move)) < _SETTLED:
            break
    return basis, _solve_pixels(Y, W, basis)[0]


def _solve_pixels(Y: Tensor, W: Tensor, basis: Tensor, *, errors: bool = False) -> tuple[Tensor, Tensor]:
    """Weighted least squares in every pixel, shape (K, N), and covariances (N, K, K) if asked for."""
    rank, n_pixels = basis.shape[1], Y.shape[1]
    X, covariance = Y.new_zeros(rank, n_pixels), Y.new_zeros(n_pixels if errors else 0, rank, rank)
    identity = torch.eye(rank, dtype=Y.dtype, device=Y.device)
    products, where = pairs(basis.T), place(rank, Y.device)
    for start in range(0, n_pixels, _BLOCK):
        part = slice(start, start + _BLOCK)
        G = (products @ W[:, part])[where].permute(2, 0, 1)
        size = G.diagonal(dim1=1, dim2=2).sum(dim=1)
        # what a pixel says nothing about is taken as 0, and as very uncertain
        G = G + (1e-9 * torch.where(size > 0, size, 1))[:, None, None] * identity
        C = basis.T @ (W[:, part] * Y[:, part])
        factor = torch.linalg.cholesky(G)
        X[:, part] = torch.cholesky_solve(C.T[:, :, None], factor)[:, :, 0].T
        if errors:
            covariance[part] = torch.cholesky_inverse(factor)
    return X, covariance


def _excess(filled: Tensor, W: Tensor) -> Tensor:
    """Variance of every band in units of 1 / W (B,), from its regression on the others; 1 where there are too few pixels."""
    live = (W > 0).any(dim=1)
    out = torch.ones_like(W[:, 0])
    if not bool(live.all()):
        return out.masked_scatter(live, _excess(filled[live], W[live]))
    n_bands, n_pixels = filled.shape
    if n_pixels < 2 * n_bands:
        return out
    precision = filled @ filled.T
    size = precision.diagonal().clamp(min=torch.finfo(W.dtype).tiny).sqrt()
    values, vectors = torch.linalg.eigh(precision / (size[:, None] * size))
    inverse = (vectors / values.clamp(min=1e-14)) @ vectors.T / (size[:, None] * size)
    residual = (inverse @ filled) / inverse.diagonal()[:, None]
    count = (W > 0).sum(dim=1).clamp(min=1)
    least = _DIGITS**2 * float((W * filled.square()).sum()) / W.numel()
    return ((W * residual.square()).sum(dim=1) / count * n_pixels / (n_pixels - n_bands)).clamp(min=max(least, 1e-300))
