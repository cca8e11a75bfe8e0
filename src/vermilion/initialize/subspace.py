"""The K-dimensional subspace that holds the signal, with the noise made white first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
        Whitened = band_scale · data · pixel_scale; 0 in bands without weight.
    pixel_scale : Tensor, shape (N,)
        0 in pixels without weight.
    noise : float
        Rms of the whitened residual per degree of freedom.
    """

    basis: Tensor
    coordinates: Tensor
    band_scale: Tensor
    pixel_scale: Tensor
    noise: float

    def spectra(self, coordinates: Tensor) -> Tensor:
        """Spectra (B, M) in the data's unit of points (r, M) of the subspace; 0 in bands without weight."""
        inverse = torch.where(self.band_scale > 0, 1 / self.band_scale, torch.zeros_like(self.band_scale))
        return inverse[:, None] * (self.basis @ coordinates)


class _Whitened:
    """``√u Y √v`` with W ≈ u vᵀ and what is missing taken from a low-rank model, in tiles: never formed as a whole."""

    def __init__(self, Y: Tensor, W: Tensor | None, *, tile_values: int = 1 << 20) -> None:
        self.Y, self.W = Y, W
        n_bands, n_pixels = Y.shape
        self.bands = max(1, tile_values // max(1, n_pixels))
        if W is None:
            u, v = Y.new_ones(n_bands), Y.new_ones(n_pixels)
        else:
            seen = (W > 0).sum(dim=1)
            u = W.sum(dim=1, dtype=torch.float64) / seen.clamp(min=1)
            u = torch.where(seen > 0, u, torch.zeros_like(u))
            weight = (W > 0).to(Y.dtype)
            total = u.to(Y.dtype) @ weight
            v = torch.where(total > 0, W.sum(dim=0) / total.clamp_min(torch.finfo(Y.dtype).tiny), torch.zeros_like(total))
        self.u, self.v = u.double().sqrt(), v.double().sqrt()
        self.model: tuple[Tensor, Tensor] | None = None  # whitened data ≈ left @ right where they are missing

    def tiles(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, self.Y.shape[0], self.bands):
            tile = slice(start, start + self.bands)
            x = self.u[tile, None] * self.Y[tile].double() * self.v
            if self.W is not None:
                filled = x.new_zeros(()) if self.model is None else self.model[0][tile] @ self.model[1]
                x = torch.where(self.W[tile] > 0, x, filled)
            yield tile, x

    def times(self, right: Tensor) -> Tensor:
        """X @ right, shape (B, r)."""
        return torch.cat([x @ right for _, x in self.tiles()])

    def transposed_times(self, left: Tensor) -> Tensor:
        """leftᵀ @ X, shape (r, N)."""
        out = left.new_zeros(left.shape[1], self.Y.shape[1])
        for tile, x in self.tiles():
            out.addmm_(left[tile].T, x)
        return out

    def squares(self) -> float:
        return sum(float(x.square().sum(dtype=torch.float64)) for _, x in self.tiles())


def weighted_subspace(Y: Tensor, W: Tensor | None, rank: int, *, seed: int = 0, power: int = 3, fills: int = 3) -> Subspace:
    """Leading `rank`-dimensional subspace of the data in units of their noise.

    The weights are taken as a product of a band and a pixel factor; missing entries are filled by the subspace itself, several times over.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite where the weight is not 0.
    W : Tensor, shape (B, N), optional
        Inverse variances; None: all 1.
    rank : int
        At most min(B, N).
    seed : int
        Of the random test matrix.
    power : int
        Power iterations.
    fills : int
        How often missing entries are filled.

    Returns
    -------
    Subspace

    References
    ----------
    Halko, Martinsson & Tropp 2011, SIAM Review 53, 217 (randomized range finder).
    """
    n_bands, n_pixels = Y.shape
    X = _Whitened(Y, W)
    width = min(rank + 10, n_bands, n_pixels)
    generator = torch.Generator().manual_seed(seed)
    sketch = torch.randn(n_pixels, width, generator=generator, dtype=torch.float64).to(Y.device)
    rounds = 1 if W is None or bool((W > 0).all()) else 1 + fills
    for _ in range(rounds):
        for _ in range(power):
            basis, _ = torch.linalg.qr(X.times(sketch))
            sketch, _ = torch.linalg.qr(X.transposed_times(basis).T)
        basis, _ = torch.linalg.qr(X.times(sketch))
        left, values, right = torch.linalg.svd(X.transposed_times(basis), full_matrices=False)
        basis = basis @ left[:, :rank]
        coordinates = values[:rank, None] * right[:rank]
        X.model = basis, coordinates
        sketch = right.T
    sign = torch.where(coordinates.sum(dim=1) < 0, -1.0, 1.0).to(coordinates)
    left_over = max(0.0, X.squares() - float(coordinates.square().sum(dtype=torch.float64)))
    freedom = max(1, (n_bands - rank) * (n_pixels - rank))
    return Subspace(basis * sign, coordinates * sign[:, None], X.u, X.v, (left_over / freedom) ** 0.5)
