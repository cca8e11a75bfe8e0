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


class _Whitened:
    """``√u Y √v`` with W ≈ u vᵀ and what is missing taken from a low-rank model; without weights no copy is made."""

    def __init__(self, Y: Tensor, W: Tensor | None, *, tile_values: int = 1 << 18) -> None:
        self.Y, self.W = Y, W
        n_bands, n_pixels = Y.shape
        self.bands = max(1, tile_values // max(1, n_pixels))
        self.holes = False
        self.squares = Y.new_zeros(n_pixels, dtype=torch.float64)
        u, v = Y.new_ones(n_bands, dtype=torch.float64), Y.new_ones(n_pixels, dtype=torch.float64)
        if W is not None:
            seen, sums = torch.zeros_like(u), torch.zeros_like(u)
            present, sums_of_pixels = torch.zeros_like(v), torch.zeros_like(v)
            for tile in self._slices():
                w = W[tile]
                there = (w > 0).to(w)
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
        self.X = Y if W is None else torch.empty(Y.shape, dtype=Y.dtype, device=Y.device)
        if W is not None:
            left, right = self.u.to(Y)[:, None], self.v.to(Y)
            for tile in self._slices():
                x = torch.mul(Y[tile], left[tile], out=self.X[tile]).mul_(right)
                if self.holes:
                    x.copy_(torch.where(W[tile] > 0, x, 0))

    def _slices(self) -> Iterator[slice]:
        return (slice(start, start + self.bands) for start in range(0, len(self.Y), self.bands))

    def tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Tiles of whitened data, in their own type."""
        return ((tile, self.X[tile]) for tile in self._slices())

    def fill(self, left: Tensor, right: Tensor) -> None:
        """Replace what is missing by left (B, r) @ right (r, N)."""
        assert self.W is not None
        left, right = left.to(self.X), right.to(self.X)
        for tile, x in self.tiles():
            x.copy_(torch.where(self.W[tile] > 0, x, left[tile] @ right))

    def times(self, right: Tensor) -> Tensor:
        """X @ right, shape (B, r), float64."""
        right = right.to(self.Y)
        return torch.cat([(x @ right).double() for _, x in self.tiles()])

    def transposed_times(self, left: Tensor) -> Tensor:
        """leftᵀ @ X, shape (r, N), in the type of the data; notes the squares of every pixel on the way."""
        left = left.to(self.Y)
        out = left.new_zeros(left.shape[1], self.Y.shape[1])
        self.squares = torch.zeros_like(self.v)
        for tile, x in self.tiles():
            out.addmm_(left[tile].T, x)
            self.squares += x.square().sum(dim=0)
        return out

    def pixels(self, which: Tensor) -> Tensor:
        """Whitened spectra of a few pixels, (B, J), float64."""
        return self.X[:, which].double()

    def squares_outside(self, basis: Tensor, coordinates: Tensor) -> float:
        """Of the residual beside the subspace, without the cancellation of a difference of squares."""
        basis, coordinates = basis.to(self.Y), coordinates.to(self.Y)
        residuals = (torch.addmm(x, basis[tile], coordinates, alpha=-1) for tile, x in self.tiles())
        return sum(float(torch.linalg.vector_norm(r, dim=1).double().square().sum()) for r in residuals)


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
        Power iterations.
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
    generator = torch.Generator().manual_seed(seed)
    sketch = torch.randn(n_pixels, columns, generator=generator, dtype=Y.dtype).to(Y.device)
    asked = None if within is None else X.u[:, None] * within.double()
    fills = fills if X.holes else 0
    for fill in range(1 + fills):
        for _ in range(max(0, power - fills) if fill == 0 else 0):  # every fill is a power iteration too
            basis, _ = torch.linalg.qr(X.times(sketch))
            sketch = _orthonormal_rows_(X.transposed_times(basis)).T
        found = X.times(sketch)
        if asked is not None:
            found = torch.cat([_unit_columns(found), _unit_columns(asked)], dim=1)
        basis, _ = torch.linalg.qr(found)
        coordinates = X.transposed_times(basis)
        turn = torch.linalg.eigh(_gram(coordinates))[1].flip(dims=(1,))
        basis, coordinates = basis @ turn, _multiply_(turn.T, coordinates)
        if fill < fills:
            X.fill(basis[:, :rank], coordinates[:rank])
            sketch = _orthonormal_rows_(coordinates[:columns].clone()).T
    sign = torch.where(coordinates.sum(dim=1) < 0, -1.0, 1.0).double()
    basis, coordinates = basis * sign, coordinates.mul_(sign[:, None])
    kept = len(coordinates) if within is not None else width or rank
    freedom = max(1, (int((X.u > 0).sum()) - rank) * (int((X.v > 0).sum()) - rank))
    left_over = X.squares_outside(basis[:, :rank], coordinates[:rank]) if noise else float("nan")
    basis, coordinates, squares = basis[:, :kept], coordinates[:kept], X.squares
    if extremes:
        outside = squares - coordinates.double().square().sum(dim=0)
        strange = X.pixels(outside.topk(min(extremes, n_pixels, n_bands - kept)).indices)
        strange = _unit_columns(strange - basis @ (basis.T @ strange))
        more, _ = torch.linalg.qr(strange - basis @ (basis.T @ strange))
        basis, coordinates = torch.cat([basis, more], dim=1), torch.cat([coordinates, X.transposed_times(more)])
    return Subspace(basis, coordinates, X.u, X.v, (left_over / freedom) ** 0.5, float(squares.sum()))


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
