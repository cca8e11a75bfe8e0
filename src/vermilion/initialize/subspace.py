"""The K-dimensional subspace that holds the signal, with the noise made white first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Subspace", "weighted_subspace"]


@dataclass(frozen=True)
class Subspace:
    """Coordinates of every pixel in the leading subspace of the whitened data.

    Attributes
    ----------
    basis : Tensor, shape (B, r)
        Orthonormal columns; the first has a non-negative sum of coordinates.
    coordinates : Tensor, shape (r, N)
        Of the whitened pixel spectra, in units of `noise` after division by it.
    band_scale : Tensor, shape (B,)
        Whitened = band_scale · data · pixel_scale; 0 in bands without weight, or mostly without.
    pixel_scale : Tensor, shape (N,)
        0 in pixels without weight, or mostly without.
    noise : float
        Rms of the whitened residual per degree of freedom; nan where it was not asked for.
    squares : float
        Of all whitened data.
    """

    basis: Tensor
    coordinates: Tensor
    band_scale: Tensor
    pixel_scale: Tensor
    noise: float
    squares: float = float("nan")

    def leading(self, rank: int) -> Subspace:
        """The first `rank` dimensions."""
        return replace(self, basis=self.basis[:, :rank], coordinates=self.coordinates[:rank])

    def spectra(self, coordinates: Tensor) -> Tensor:
        """Spectra (B, M) in the data's unit of points (r, M) of the subspace; 0 in bands without weight."""
        inverse = torch.where(self.band_scale > 0, 1 / self.band_scale, torch.zeros_like(self.band_scale))
        return inverse[:, None] * (self.basis @ coordinates)


# bands and pixels of which less than this part of the usual is there are left out
_ENOUGH = 0.75

# where there are at least three times as many pixels, the first look is at so many
_FIRST = 1 << 11
_PLENTY = 8  # pixels per band
_TILE = 1 << 18  # values that stay in the cache


class _Whitened:
    """``√u Y √v`` with W ≈ u vᵀ, some pixels at a time; no copy of all data is made."""

    def __init__(self, Y: Tensor, W: Tensor | None) -> None:
        self.Y, self.W = Y, W
        n_bands, n_pixels = Y.shape
        self.size = max(1 << 8, _TILE // n_bands)
        self.holes = False
        u, v = Y.new_ones(n_bands, dtype=torch.float64), Y.new_ones(n_pixels, dtype=torch.float64)
        if W is not None:
            seen, sums = torch.zeros_like(u), torch.zeros_like(u)
            present, sums_of_pixels = torch.zeros_like(v), torch.zeros_like(v)
            for tile in _bands(n_bands, n_pixels):
                w = W[tile]
                there = w.sign()
                seen[tile], sums[tile] = there.sum(dim=1).double(), w.sum(dim=1).double()
                present += there.sum(dim=0)
                sums_of_pixels += w.sum(dim=0)
            # filled in, a pixel that is half missing has a spectrum of its own kind, which would be taken for signal
            u = torch.where(seen >= _ENOUGH * seen.median(), sums / seen.clamp(min=1), torch.zeros_like(u))
            enough = (present > 0) & (present >= _ENOUGH * present.median())
            # the mean weight of what is there, as far as bands are alike in what is missing
            v = torch.where(enough, sums_of_pixels / present.clamp(min=1), torch.zeros_like(v))
            v = v / v.sum().clamp_min(torch.finfo(v.dtype).tiny) * int(enough.sum())
            self.holes = bool((seen < n_pixels).any())
        self.u, self.v = u.sqrt(), v.sqrt()

    def pixels(self, which: slice | Tensor, model: Tensor | None = None, fills: int = 0) -> Tensor:
        """Whitened spectra of some pixels (B, M), in the type of the data.

        What is missing is 0, or projected onto the orthonormal columns of a model (B, rank), together with the rest and several times over.
        """
        x, there = self._scaled(which)
        if there is not None and model is not None and fills:
            left = model.to(x)
            known = seen = left.T @ x
            for fill in range(fills):
                filled = left @ seen
                filled.addcmul_(filled, there, value=-1)
                seen = known + left.T @ filled if fill < fills - 1 else seen
            x += filled
        return x

    def _scaled(self, which: slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Whitened spectra of some pixels, what is missing 0, and 1 where nothing is missing, else 0; None if nothing is."""
        x = self.Y[:, which]
        if self.W is None:
            return x, None
        x = torch.mul(x, self.u.to(x)[:, None]).mul_(self.v[which].to(x))
        if not self.holes:
            return x, None
        there = self.W[:, which].sign()
        x.mul_(there)
        if not bool(torch.isfinite(x.sum())):  # 0 times what is not finite
            x.masked_fill_(there == 0, 0)
        return x, there

    def sample(self, which: slice) -> Tensor:
        """Whitened spectra of some pixels (B, M), what is missing 0; without weights a view where all are asked for."""
        y = self.Y[:, which]
        if self.W is None:
            return y.contiguous() if which.step and which.step > 1 else y
        out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
        u, v, w = self.u.to(y)[:, None], self.v[which].to(y), self.W[:, which]
        for tile in _bands(*y.shape):
            torch.mul(y[tile], u[tile], out=out[tile]).mul_(v)
            if self.holes:
                out[tile].masked_fill_(w[tile] <= 0, 0)
        return out

    def tiles(self) -> Iterator[slice]:
        """All pixels, some at a time."""
        return (slice(start, start + self.size) for start in range(0, self.Y.shape[1], self.size))

    def iterate(self, basis: Tensor, leading: int, model: Tensor, fills: int) -> Tensor:
        """``X Xᵀ`` times the leading columns of a basis (B, r), in one read."""
        left = basis[:, :leading].to(self.Y)
        out = torch.zeros_like(left)
        for which in self.tiles():
            x = self.pixels(which, model, fills)
            out.addmm_(x, (left.T @ x).T)
        return out.double()

    def project_beside(self, directions: Tensor, basis: Tensor, coordinates: Tensor, out: Tensor) -> None:
        """``directionsᵀ X`` into `out` (r, N), for directions orthogonal to a basis that fills in what is missing, by these coordinates."""
        left, beside = basis.to(self.Y), directions.to(self.Y)
        for which in self.tiles():
            x, there = self._scaled(which)
            if there is not None:
                x.addmm_(left, coordinates[:, which], alpha=-1).mul_(there)
            out[:, which] = beside.T @ x

    def measure(self, basis: Tensor, model: Tensor, fills: int, out: Tensor, *, rest: bool) -> tuple[Tensor, float, float]:
        """``basisᵀ X`` into `out` (r, N), of the type of the data; the squares of every pixel outside the basis, and of all data.

        Third come the squares of all outside, from the residual: without the cancellation of a difference. They are nan unless `rest`.
        """
        left = basis.to(self.Y)
        outside, squares, left_over = torch.empty_like(self.v), 0.0, 0.0 if rest else float("nan")
        for which in self.tiles():
            x = self.pixels(which, model, fills)
            seen = left.T @ x
            out[:, which] = seen
            lengths = torch.linalg.vecdot(x, x, dim=0).double()
            squares += float(lengths.sum())
            outside[which] = lengths - torch.linalg.vecdot(seen, seen, dim=0)
            if rest:
                left_over += float(torch.addmm(x, left, seen, alpha=-1).square_().sum(dim=0).sum(dtype=torch.float64))
        return outside, squares, left_over


def weighted_subspace(
    Y: Tensor,
    W: Tensor | None,
    rank: int,
    *,
    width: int | None = None,
    within: Tensor | None = None,
    extremes: int = 0,
    seed: int = 0,
    power: int = 3,
    fills: int = 3,
    noise: bool = True,
) -> Subspace:
    """Leading subspace of the data in units of their noise.

    The weights are taken as a product of a band and a pixel factor; missing entries are filled by the leading `rank` dimensions of the
    subspace itself, several times over.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    rank : int
        Dimensions that hold signal; at most min(B, N).
    width : int, optional
        Dimensions returned, by default `rank`.
    within : Tensor, shape (B, J), optional
        Spectra that the subspace shall contain, in addition.
    extremes : int
        Add the directions of so many pixels that stand out most from the rest of the subspace, such as a faint line in a few pixels.
    seed : int
        Of the random test matrix.
    power : int
        Power iterations. Where there are many pixels, with all of them, after a first look at some; 0: some will do, if they are many.
    fills : int
        How often missing entries are filled.
    noise : bool
        Estimate the noise: one more read.

    Returns
    -------
    Subspace

    References
    ----------
    Halko, Martinsson & Tropp 2011, SIAM Review 53, 217 (randomized range finder).
    """
    n_bands, n_pixels = Y.shape
    X = _Whitened(Y, W)
    columns = min(max(rank + 10, width or 0), n_bands, n_pixels)
    fills = fills if X.holes else 0
    stride = n_pixels // _FIRST
    first_look = stride >= 3  # at some of the pixels, in place of iterations with all
    some = slice(None, None, stride if first_look else 1)
    weights = X.W[:, some] if X.W is not None and X.holes else None
    # with fewer pixels per band noise would turn the basis
    looks = max(power, int(n_pixels // stride < _PLENTY * n_bands)) if first_look else 0
    basis = _leading_basis(X.sample(some), weights, rank, columns, power=max(1, power), fills=fills, seed=seed)
    columns = basis.shape[1]  # fewer where data without noise have no more dimensions
    for _ in range(looks):
        basis = torch.linalg.svd(X.iterate(basis, columns, basis[:, :rank], fills), full_matrices=False)[0]
    model = basis[:, :rank]
    if within is None:
        basis = basis[:, : width or rank]
    else:
        basis, _ = torch.linalg.qr(torch.cat([basis, _unit_columns(X.u[:, None] * within.double())], dim=1))
    main, more = basis.shape[1], min(extremes, n_pixels, n_bands - basis.shape[1])
    coordinates = Y.new_empty(main + more, n_pixels)
    outside, squares, left_over = X.measure(basis, model, fills, coordinates[:main], rest=noise)
    if within is None:  # else there is no order among them
        turn = torch.linalg.eigh(_gram(coordinates[:main]))[1].flip(dims=(1,))
        basis = basis @ turn
        _multiply_(turn.T, coordinates[:main])
    if noise:
        left_over += float(coordinates[rank:main].double().square().sum())
    if more:
        beside = _orthonormal_beside(basis, X.pixels(outside.topk(more).indices, model, fills).double())
        X.project_beside(beside, basis, coordinates[:main], coordinates[main:])
        basis = torch.cat([basis, beside], dim=1)
    sign = _sign(coordinates.sum(dim=1).double())
    basis *= sign
    coordinates *= sign.to(coordinates)[:, None]
    freedom = max(1, (int((X.u > 0).sum()) - rank) * (int((X.v > 0).sum()) - rank))
    return Subspace(basis, coordinates, X.u, X.v, (left_over / freedom) ** 0.5, squares)


def _leading_basis(X: Tensor, W: Tensor | None, rank: int, columns: int, *, power: int, fills: int, seed: int) -> Tensor:
    """Leading directions (B, columns) of whitened pixels (B, M), the most important first; what has weight 0 is filled in, in place."""
    sketch = torch.randn(X.shape[1], columns, generator=torch.Generator().manual_seed(seed), dtype=X.dtype).to(X.device)
    for _ in range(max(0, power - fills)):  # every fill is a power iteration too
        basis, _ = torch.linalg.qr((X @ sketch).double())
        sketch = _orthonormal_rows_(basis.to(X).T @ X).T
    for fill in range(fills + 1):
        basis, _ = torch.linalg.qr((X @ sketch).double())
        coordinates = basis.to(X).T @ X
        turn = torch.linalg.eigh(_gram(coordinates))[1].flip(dims=(1,))
        basis = basis @ turn
        if fill < fills and W is not None:
            coordinates = _multiply_(turn.T, coordinates)
            left = basis[:, :rank].to(X)
            for tile in _bands(*X.shape):
                X[tile] = torch.lerp(left[tile] @ coordinates[:rank], X[tile], W[tile].sign())
            sketch = _orthonormal_rows_(coordinates).T
    return basis


def _bands(n_bands: int, n_pixels: int) -> Iterator[slice]:
    """Some bands at a time, that stay in the cache."""
    step = max(1, _TILE // n_pixels)
    return (slice(start, start + step) for start in range(0, n_bands, step))


def _orthonormal_beside(basis: Tensor, X: Tensor) -> Tensor:
    """An orthonormal basis of what the columns of X have outside an orthonormal basis."""
    outside = _unit_columns(X - basis @ (basis.T @ X))
    return torch.linalg.qr(outside - basis @ (basis.T @ outside))[0]


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x)


def _gram(X: Tensor, *, columns: int = 1 << 13) -> Tensor:
    """``X Xᵀ`` of a wide matrix, summed in float64."""
    parts = (X[:, start : start + columns].double() for start in range(0, X.shape[1], columns))
    return sum((part @ part.T for part in parts), X.new_zeros(len(X), len(X), dtype=torch.float64))


def _multiply_(M: Tensor, X: Tensor, *, columns: int = 1 << 13) -> Tensor:
    """``M X`` in place of the first rows of a wide matrix; as many rows as M has."""
    for start in range(0, X.shape[1], columns):
        part = slice(start, start + columns)
        X[: len(M), part] = (M @ X[:, part].double()).to(X)
    return X[: len(M)]


def _orthonormal_rows_(X: Tensor) -> Tensor:
    """An orthonormal basis of the rows of a wide matrix (r, N), by the eigenvectors of its small Gram matrix."""
    values, vectors = torch.linalg.eigh(_gram(X))
    good = values > 1e-14 * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    return _multiply_((vectors[:, good] / values[good].sqrt()).T, X)


def _unit_columns(X: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(X, dim=0)
    return X / torch.where(norms > 0, norms, torch.ones_like(norms))
