"""Abundances without constraints."""

from __future__ import annotations

import torch
from torch import Tensor

from ..alternating.quadratic import place
from .systems import each_problem, is_shared, packed_tiles, pixel_slices, split_weights

__all__ = ["least_squares"]

_TILE_BYTES = 16 << 20
_SINGULAR = 1e-10  # smallest pivot of a matrix of unit diagonal that is solved by elimination
_CUTOFF = 1e-12  # singular values below this, in units of the largest, are 0


@torch.no_grad()
def least_squares(Y: Tensor, A: Tensor, W: Tensor | None = None) -> Tensor:
    """Signed least squares, ``argmin_S Σ W (Y − A S)² / 2``; of several minimizers the one with the smallest ``Σ_k S²``.

    No constraint, hence no bias: what these abundances scatter around in pixels without a material is zero.

    Parameters
    ----------
    Y : Tensor, shape (..., B, N)
        Data in any unit; may be NaN where the weight is 0.
    A : Tensor, shape (..., B, K)
        Endmember spectra. Leading dimensions are problems of their own and broadcast against those of `Y`.
    W : Tensor, shape (..., B, N), optional
        Inverse variances, 0 where there is no datum. (B, 1) and (1, N) stand for weights per band and per pixel and cost nothing.

    Returns
    -------
    Tensor, shape (..., K, N)
        Type and device of `Y`; computed in float64. NaN in pixels without any weight, and where data with weight are not finite.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ParameterError
        If a spectrum is not finite, or a weight is negative or not finite.

    Examples
    --------
    >>> A = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> least_squares(torch.tensor([[2.0], [1.0]]), A)
    tensor([[ 2.],
            [-1.]])
    """
    return each_problem(_solve, Y, A, W)


def _solve(Y: Tensor, A: Tensor, W: Tensor | None) -> Tensor:
    if W is None or is_shared(W):
        return _by_one_inverse(Y, A, W)
    return torch.stack([_by_systems(Y, a, W) for a in A])


def _by_one_inverse(Y: Tensor, A: Tensor, W: Tensor | None) -> Tensor:
    """Pixels that share their matrix, shape (R, K, N)."""
    S = torch.empty(len(A), A.shape[-1], Y.shape[1], dtype=torch.float64, device=Y.device)
    live, root, per_pixel = split_weights(W)
    if live is not None and root is not None:
        A = A[:, live] * root
    inverse = torch.linalg.pinv(A, rtol=_CUTOFF)
    for pixels in pixel_slices(Y.shape[1], sum(A.shape[1:]), _TILE_BYTES, 1 << 10):
        y = Y[:, pixels].to(torch.float64)
        S[:, :, pixels] = inverse @ (y if live is None or root is None else y[live] * root)
    if A.shape[1] == 0:
        S.fill_(torch.nan)
    elif per_pixel is not None:
        S[..., per_pixel == 0] = torch.nan
    return S


def _by_systems(Y: Tensor, A: Tensor, W: Tensor) -> Tensor:
    """Pixels with a matrix each, for spectra (B, K), shape (K, N): by elimination, or by singular values where that fails."""
    S = torch.empty(A.shape[-1], Y.shape[1], dtype=torch.float64, device=Y.device)
    size = torch.linalg.vector_norm(A, dim=0)
    size = torch.where(size > 0, size, 1)
    where = place(A.shape[-1], A.device)
    for tile in packed_tiles(Y, (A / size)[None], W):
        G = tile.G[0][where].movedim(-1, 0)
        L, _ = torch.linalg.cholesky_ex(G)
        pivots = torch.nan_to_num(L.diagonal(dim1=-2, dim2=-1)).square().amin(dim=-1)
        X = torch.cholesky_solve(tile.C[0].T[..., None], L)
        X = X + torch.cholesky_solve(tile.slope(X[..., 0].T[None])[0].T[..., None], L)
        X = X[..., 0].T / size[:, None]
        singular = torch.nonzero(pivots <= _SINGULAR * G.diagonal(dim1=-2, dim2=-1).amax(dim=-1)).flatten()
        for part in singular.split(max(1, _TILE_BYTES // (8 * A.numel()))):
            X[:, part] = _shortest(Y[:, tile.pixels][:, part], A, W[:, tile.pixels][:, part])
        S[:, tile.pixels] = X
    return S


def _shortest(y: Tensor, A: Tensor, w: Tensor) -> Tensor:
    """The shortest minimizers of a few pixels; NaN without weight."""
    root = w.to(torch.float64).sqrt()
    data = torch.where(w > 0, y.to(torch.float64), 0) * root
    x = (torch.linalg.pinv(root.T[..., None] * A, rtol=_CUTOFF) @ data.T[..., None])[..., 0]
    return torch.where((w > 0).any(dim=0), x.T, torch.nan)
