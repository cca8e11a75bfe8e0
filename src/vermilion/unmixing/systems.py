"""From data to small problems: the normal equations of every pixel, tile by tile, and their exact solution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..alternating.quadratic import pairs, place
from ..errors import ParameterError, ShapeError
from . import active_set

__all__ = ["Tile", "each_gram", "each_problem", "is_shared", "minimize", "packed_tiles", "pixel_slices", "split_weights"]

_SHARED_BYTES = 16 << 20  # of a tile where all pixels share one matrix
_PACKED_BYTES = 4 << 20  # where each has its own: what is made of a tile stays near the processor


@dataclass(frozen=True)
class Tile:
    """Some pixels: their matrices G (R, K, K), or (R, K(K+1)/2, n) if packed, C = Aᵀ W y (R, K, n), and the slopes at any X (R, K, n).

    `weight` is what W was divided by: (n,), or one number, or None.
    """

    pixels: slice
    G: Tensor
    C: Tensor
    slope: Callable[[Tensor], Tensor]
    packed: bool
    weight: Tensor | None


def _check(Y: Tensor, A: Tensor, W: Tensor | None) -> None:
    """Refuse what does not belong together.

    Raises
    ------
    ShapeError, ParameterError
    """
    if Y.ndim < 2 or A.ndim < 2 or Y.shape[-2] != A.shape[-2]:
        raise ShapeError(
            f"data has shape {tuple(Y.shape)} and spectra {tuple(A.shape)}: expected (..., bands, pixels) and (..., bands, K)."
        )
    if W is not None and (W.ndim < 2 or any(w not in (1, n) for w, n in zip(W.shape[-2:], Y.shape[-2:], strict=True))):
        raise ShapeError(
            f"weights has shape {tuple(W.shape)}, data has {tuple(Y.shape)}: expected equal shapes, one weight per band, (bands, 1), or "
            "one per pixel, (1, pixels)."
        )
    if A.shape[-1] == 0 or not bool(torch.isfinite(A).all()):
        raise ParameterError("spectra must be finite, and at least one: drop bands and spectra that are not known.")
    if W is not None and not bool((torch.isfinite(W) & (W >= 0)).all()):
        raise ParameterError("weights must be finite and >= 0: inverse variances, 0 for what is absent.")


def each_problem(solve: Callable[[Tensor, Tensor, Tensor | None], Tensor], Y: Tensor, A: Tensor, W: Tensor | None) -> Tensor:
    """`solve` (Y (B, N), A (R, B, K), W) -> (R, K, N) for all leading dimensions; the result in the precision of Y."""
    _check(Y, A, W)
    batch = torch.broadcast_shapes(Y.shape[:-2], A.shape[:-2], () if W is None else W.shape[:-2])
    A = A.expand(*batch, *A.shape[-2:]).reshape(-1, *A.shape[-2:]).to(torch.float64)
    if Y.ndim == 2 and (W is None or W.ndim == 2):
        S = solve(Y, A, W)
    else:
        data = Y.expand(*batch, *Y.shape[-2:]).flatten(0, -3)
        weights = [None] * len(A) if W is None else W.expand(*batch, *W.shape[-2:]).flatten(0, -3)
        S = torch.cat([solve(y, a[None], w) for y, a, w in zip(data, A, weights, strict=True)])
    return S.reshape(*batch, *S.shape[-2:]).to(Y.dtype if Y.dtype.is_floating_point else torch.float64)


def each_gram(G: Tensor, C: Tensor, *, total: float | None) -> Tensor:
    """Minimizers for G (..., K, K) and C (..., K, N), solved in float64, in the precision of C."""
    K = G.shape[-1] if G.ndim else 0
    if G.ndim < 2 or C.ndim < 2 or G.shape[-2:] != (K, K) or C.shape[-2] != K or K == 0:
        raise ShapeError(f"G has shape {tuple(G.shape)} and C {tuple(C.shape)}: expected (..., K, K) and (..., K, N) with K > 0.")
    batch = torch.broadcast_shapes(G.shape[:-2], C.shape[:-2])
    flat_G = G.expand(*batch, K, K).reshape(-1, K, K).to(torch.float64)
    flat_C = C.expand(*batch, *C.shape[-2:]).reshape(-1, *C.shape[-2:]).to(torch.float64)
    return _minimize_gram(flat_G, flat_C, total=total).reshape(*batch, *C.shape[-2:]).to(C.dtype)


def minimize(Y: Tensor, A: Tensor, W: Tensor | None, *, total: float | None = None, weight: float = 0.0) -> Tensor:
    """Minimizers of ``½ Σ_b w (y − A s)² + weight Σ s`` over ``s >= 0``, and ``Σ s = total`` if given, shape (R, K, N), float64.

    NaN for pixels without weight, or with data that are not finite where the weight is not 0.
    """
    K, N = A.shape[-1], Y.shape[-1]
    S = torch.empty(len(A), K, N, dtype=torch.float64, device=Y.device)
    if total is None:
        # spectra of equal size, whatever the units
        size, shift = torch.linalg.vector_norm(A, dim=-2, keepdim=True), None
        size = torch.where(size > 0, size, 1)
        A = A / size
    else:
        # a sum that is given leaves only the differences of the spectra to be found
        size, shift = torch.ones_like(A[:, :1]), A.mean(dim=-1) * total
        A = A - A.mean(dim=-1, keepdim=True)
    for tile in _tiles(Y, A, W, shift):
        penalty = None
        if weight > 0 and total is None:
            penalty = weight / size.mT if tile.weight is None else weight / (size.mT * tile.weight)
        X = _solved(tile, total, penalty)
        if tile.weight is not None:
            X = torch.where(tile.weight > 0, X, torch.nan)
        torch.div(X, size.mT, out=S[:, :, tile.pixels])
    return S


def _minimize_gram(G: Tensor, C: Tensor, *, total: float | None = None) -> Tensor:
    """Minimizers of ``½ sᵀ G s − cᵀ s`` under the same constraints, for G (R, K, K) and C (R, K, N), float64."""
    if total is None:
        size = G.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
        size = torch.where(size > 0, size, 1)
        G, C = G / (size[:, :, None] * size[:, None, :]), C / size[:, :, None]
    X = _solved(Tile(slice(None), G, C, lambda X: C - G @ X, False, None), total, None)
    return X if total is not None else X / size[:, :, None]


def _solved(tile: Tile, total: float | None, penalty: Tensor | None) -> Tensor:
    """A first solution, refined where rounding calls for it, shape (R, K, n)."""
    G, C = tile.G, tile.C if penalty is None else tile.C - penalty
    scale = tile.C.abs().amax(dim=-2)
    if penalty is not None:
        scale = scale + penalty.amax(dim=-2)
    if total is not None:
        G, size = _lifted(G, C.shape[-2], tile.packed)
        scale = scale + total * size
    ridge, refinements = (active_set.RIDGE, 2) if tile.packed else active_set.care(G)
    X = active_set.solve(G, C, torch.zeros_like(C), scale, packed=tile.packed, total=total, ridge=ridge)
    for _ in range(refinements):
        slope = tile.slope(X) if penalty is None else tile.slope(X) - penalty
        if total is not None:  # what all slopes have in common, the sum takes; without it they are small
            slope = slope - (slope * X).sum(dim=-2, keepdim=True) / total
        X = active_set.solve(G, slope, X, scale, packed=tile.packed, total=total, ridge=ridge)
    return X


def _lifted(G: Tensor, K: int, packed: bool) -> tuple[Tensor, Tensor]:
    """G with a multiple of the matrix of ones, which a fixed sum does not feel and which keeps it from being singular; and the multiple."""
    diagonal = G.index_select(-2, place(K, G.device).diagonal()) if packed else G.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    size = diagonal.amax(dim=-2)
    size = torch.where(size > 0, size, 1)
    return G + size[:, None, :], size


def _tiles(Y: Tensor, A: Tensor, W: Tensor | None, shift: Tensor | None) -> Iterator[Tile]:
    if W is None or is_shared(W):
        yield from _shared_tiles(Y, A, W, shift)
    else:
        yield from packed_tiles(Y, A, W, shift)


def is_shared(W: Tensor) -> bool:
    """Weights per band or per pixel, with which all pixels have the same matrix; with one band, or one pixel, there are no others."""
    return 1 in W.shape


def pixel_slices(N: int, numbers: int, size: int, least: int) -> Iterator[slice]:
    """Tiles of N pixels of so many numbers each."""
    step = max(least, size // (8 * numbers))
    for start in range(0, N, step):
        yield slice(start, min(start + step, N))


def _shared_tiles(Y: Tensor, A: Tensor, W: Tensor | None, shift: Tensor | None) -> Iterator[Tile]:
    """Pixels that share one matrix: no weights, or weights per band or per pixel."""
    R, B, K = A.shape
    live, root, per_pixel = split_weights(W)
    heaviest = None
    if live is not None and root is not None and W is not None:
        A, shift = A[:, live] * root, None if shift is None else shift[:, live] * root[:, 0]
        heaviest = W.amax().to(torch.float64)
    Q, T = torch.linalg.qr(A)
    G = A.mT @ A
    across = Q.mT.flatten(0, 1)
    for pixels in pixel_slices(Y.shape[1], B + 4 * R * K, _SHARED_BYTES, 1 << 10):
        y = Y[:, pixels].to(torch.float64)
        if live is not None and root is not None:
            y = y[live] * root
        q = (across @ y).unflatten(0, (R, -1))
        if shift is not None:
            q = q - Q.mT @ shift[:, :, None]
        weight = heaviest if per_pixel is None else per_pixel[pixels]
        yield Tile(pixels, G, T.mT @ q, _slopes(q, T), False, weight)


def split_weights(W: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of weights per band which bands have any (B,), and their square roots (b, 1) of order one; weights per pixel (N,)."""
    if W is None:
        return None, None, None
    if W.shape[1] > 1:
        return None, None, W[0].to(torch.float64)
    live = W[:, 0] > 0
    root = W[live].to(torch.float64)
    return live, (root / root.amax() if len(root) else root).sqrt(), None


def _slopes(q: Tensor, T: Tensor) -> Callable[[Tensor], Tensor]:
    """Slopes from data q (R, J, n) and spectra T (R, J, K) in an orthogonal basis."""
    return lambda X: T.mT @ (q - T @ X)


def packed_tiles(Y: Tensor, A: Tensor, W: Tensor, shift: Tensor | None = None) -> Iterator[Tile]:
    """Pixels with a matrix each, all of a tile by one product with the products of every two spectra."""
    R, B, K = A.shape
    products = pairs(A.mT).flatten(0, 1)
    across = A.mT.flatten(0, 1)
    for pixels in pixel_slices(Y.shape[1], 4 * B + R * K * (K + 1) // 2, _PACKED_BYTES, 1 << 4):
        w = W[:, pixels].to(torch.float64)
        weight = w.amax(dim=0)
        w = w / torch.where(weight > 0, weight, 1)
        y = torch.where(w > 0, Y[:, pixels].to(torch.float64), 0)
        G = (products @ w).unflatten(0, (R, -1))
        C = (across @ (w * y)).unflatten(0, (R, K))
        if shift is not None:
            C = C - (A * shift[:, :, None]).mT @ w
        yield Tile(pixels, G, C, _weighted_slopes(y, w, A, shift), True, weight)


def _weighted_slopes(y: Tensor, w: Tensor, A: Tensor, shift: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Slopes from data (B, n) with weights of their own."""

    def slope(X: Tensor) -> Tensor:
        rest = y - A @ X
        if shift is not None:
            rest -= shift[:, :, None]
        return A.mT @ rest.mul_(w)

    return slope
