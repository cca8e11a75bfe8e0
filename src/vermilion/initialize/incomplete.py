"""The signal's subspace where much of the data is missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .subspace import Subspace

__all__ = ["completed_subspace"]

_TILE = 1 << 20  # values of the data taken at a time
_LEAST = 1e-3  # of the information of a pixel without holes, in its worst direction


def completed_subspace(space: Subspace, Y: Tensor, W: Tensor, *, max_iter: int = 30, tol: float = 3e-4) -> Subspace:
    """Subspace and coordinates that minimize ``Σ W (Y - model)²``, with every weight as it is, from a first guess.

    Spectra and coordinates are solved in turn. Bands and pixels that are there in part count by what is there: a pixel is scaled down
    until no direction of its coordinates is noisier than that of a pixel without holes.

    Parameters
    ----------
    space : Subspace
        First guess; of its basis r columns.
    Y, W : Tensor, shape (B, N)
        Data and inverse variances; what has weight 0 may be anything.
    max_iter : int
        Iterations, each one read of the data.
    tol : float
        Largest sine of an angle by which the subspace turns at last.

    Returns
    -------
    Subspace

    References
    ----------
    Gabriel & Zamir 1979, Technometrics 21, 489 (weighted least squares by turns).
    """
    data = _Weighted.of(Y, W)
    basis = space.basis
    for _ in range(max_iter):
        new = data.turn(basis)
        turned = torch.linalg.matrix_norm(new - basis @ (basis.T @ new), ord=2)
        basis = new
        if float(turned) < tol:
            break
    coordinates, trust, squares, left_over = data.fit(basis)
    count = int((W > 0).sum())
    freedom = max(1, count - len(basis[0]) * (int((trust > 0).sum()) + int((data.u > 0).sum()) - len(basis[0])))
    turn = torch.linalg.eigh(coordinates @ coordinates.T)[1].flip(dims=(1,))
    turn = turn * torch.where(coordinates.sum(dim=1) @ turn < 0, -1.0, 1.0)
    return Subspace(
        basis=basis @ turn,
        coordinates=turn.T @ coordinates,
        band_scale=data.u.sqrt(),
        pixel_scale=data.v.sqrt() * trust,
        noise=(left_over / freedom) ** 0.5,
        squares=squares,
    )


@dataclass(frozen=True)
class _Weighted:
    """Data made white by a band factor u and a pixel factor v, and what the weights are beside them."""

    Y: Tensor
    W: Tensor
    u: Tensor
    v: Tensor

    @classmethod
    def of(cls, Y: Tensor, W: Tensor) -> _Weighted:
        u = W.sum(dim=1, dtype=torch.float64) / (W > 0).sum(dim=1).clamp(min=1)
        inverse = torch.where(u > 0, 1 / torch.where(u > 0, u, 1.0), 0.0)
        v = (inverse.to(W) @ W).double() / (W > 0).sum(dim=0).clamp(min=1)
        level = v.sum() / (v > 0).sum().clamp(min=1)
        return cls(Y, W, u * level, v / level)

    def tiles(self) -> list[slice]:
        size = max(1, _TILE // len(self.Y))
        return [slice(start, start + size) for start in range(0, self.Y.shape[1], size)]

    def white(self, which: slice) -> tuple[Tensor, Tensor]:
        """Data in units of the noise (B, M), and their weights beside u and v."""
        w, v = self.W[:, which].double(), self.v[which]
        there = w > 0
        x = torch.where(there, self.Y[:, which], 0).double() * self.u.sqrt()[:, None] * v.sqrt()
        return x, torch.where(there, w / torch.where(there, self.u[:, None] * v, 1.0), 0.0)

    def turn(self, basis: Tensor) -> Tensor:
        """Orthonormal spectra (B, r) that fit best the coordinates that those given have."""
        r = basis.shape[1]
        gram, seen = basis.new_zeros(len(basis), r, r), basis.new_zeros(len(basis), r)
        for which in self.tiles():
            x, w = self.white(which)
            coordinates, _ = _coordinates(basis, x, w)
            gram += (w @ _products(coordinates.T)).reshape(-1, r, r)
            seen += (w * x) @ coordinates.T
        new = torch.linalg.solve(_regular(gram), seen[:, :, None])[:, :, 0]
        return torch.linalg.qr(torch.where(self.u[:, None] > 0, new, 0.0))[0]

    def fit(self, basis: Tensor) -> tuple[Tensor, Tensor, float, float]:
        """Coordinates (r, N) scaled by what they can be trusted (N,), the squares of the data, and those left over."""
        found, trusts, squares, left_over = [], [], 0.0, 0.0
        for which in self.tiles():
            x, w = self.white(which)
            coordinates, least = _coordinates(basis, x, w)
            trust = torch.where(least > _LEAST, least.clamp(max=1).sqrt(), 0.0)
            squares += float((w * x * x).sum())
            left_over += float((w * (x - basis @ coordinates).square()).sum())
            found.append(coordinates * trust)
            trusts.append(trust)
        return torch.cat(found, dim=1), torch.cat(trusts), squares, left_over


def _coordinates(basis: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares (r, M), and the least eigenvalue (M,) of the system of each pixel."""
    r = basis.shape[1]
    gram = (w.T @ _products(basis)).reshape(-1, r, r)
    solved = torch.linalg.solve(_regular(gram), (basis.T @ (w * x)).T[:, :, None])[:, :, 0]
    return solved.T, torch.linalg.eigvalsh(gram)[:, 0]


def _products(X: Tensor) -> Tensor:
    """All products of two columns (n, r²)."""
    return (X[:, :, None] * X[:, None, :]).flatten(1)


def _regular(gram: Tensor) -> Tensor:
    """Systems that have a solution; what nothing is known about is 0."""
    size = gram.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    largest = size.max().clamp_min(torch.finfo(gram.dtype).tiny)
    return gram + (1e-12 * size + 1e-15 * largest) * torch.eye(gram.shape[1]).to(gram)
