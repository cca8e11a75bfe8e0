"""Inner loops over columns that torch cannot fuse, in plain Python; numba compiles them where it is installed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..prox.kernels import compiled

__all__ = ["descend", "descend_each", "descend_shared"]

_WIDTH = 256  # columns that are worked on at a time: their values stay in the nearest cache


def descend(X: Tensor, G: Tensor, g: Tensor, at: Tensor, floor: float, held: tuple[int, ...], steps: int, *, packed: bool) -> Tensor | None:
    """Coordinate descent in place by the compiled kernel; None, and nothing done, where there is none.

    Parameters
    ----------
    X : Tensor, shape (..., K, M)
        Feasible start; contiguous.
    G : Tensor, shape (..., K, K), or (..., K(K+1)/2, M) if `packed`
    g, at : Tensor, shape (..., K, M)
        Gradient at the point `at`.
    floor : float
        Lower limit of all entries, may be -inf.
    held : tuple of int
        Rows that stay.
    steps : int
        Sweeps over the rows.
    packed : bool

    Returns
    -------
    Tensor, shape (...)
        ``⟨g, D⟩ + ½ ⟨D, G D⟩`` of the move D from `at` to the new X, float64.
    """
    if X.device.type != "cpu":
        return None
    kernel = compiled(descend_each if packed else descend_shared)
    if kernel is None:
        return None
    K = X.shape[-2]
    free = torch.tensor([k for k in range(K) if k not in held], dtype=torch.long).numpy()
    G = G if packed else G.to(X.dtype)
    arrays = [T.contiguous().reshape(-1, *T.shape[-2:]).numpy() for T in (X, G, g, at)]
    scratch = torch.empty(4, K, _WIDTH, dtype=X.dtype).numpy()
    value = torch.zeros(len(arrays[0]), dtype=torch.float64)
    kernel(*arrays, float(floor), free, steps, scratch, value.numpy())
    return value.reshape(X.shape[:-2])


def descend_shared(X: Any, G: Any, g: Any, at: Any, floor: Any, free: Any, steps: int, scratch: Any, value: Any) -> None:
    """X, g, at (R, K, M) and G (R, K, K); value (R,)."""
    R, K, M = X.shape
    x, slope, move = scratch[0], scratch[1], scratch[2, 0]
    for r in range(R):
        for start in range(0, M, _WIDTH):
            m = min(_WIDTH, M - start)
            for k in range(K):
                for j in range(m):
                    x[k, j] = X[r, k, start + j]
                    slope[k, j] = g[r, k, start + j]
            for k in range(K):
                for j in range(m):
                    move[j] = x[k, j] - at[r, k, start + j]
                for i in range(K):
                    q = G[r, i, k]
                    for j in range(m):
                        slope[i, j] += q * move[j]
            for _ in range(steps):
                for k in free:
                    if G[r, k, k] <= 0:
                        continue
                    inverse = 1 / G[r, k, k]
                    for j in range(m):
                        new = max(x[k, j] - slope[k, j] * inverse, floor)
                        move[j] = new - x[k, j]
                        x[k, j] = new
                    for i in range(K):
                        q = G[r, i, k]
                        for j in range(m):
                            slope[i, j] += q * move[j]
            total = 0.0
            for k in range(K):
                for j in range(m):
                    total += (x[k, j] - at[r, k, start + j]) * 0.5 * (slope[k, j] + g[r, k, start + j])
                    X[r, k, start + j] = x[k, j]
            value[r] += total


def descend_each(X: Any, G: Any, g: Any, at: Any, floor: Any, free: Any, steps: int, scratch: Any, value: Any) -> None:
    """X, g, at (R, K, M) and G (R, K(K+1)/2, M), a matrix of its own for every column; value (R,)."""
    R, K, M = X.shape
    x, slope, inverse, move = scratch[0], scratch[1], scratch[2], scratch[3, 0]
    for r in range(R):
        for start in range(0, M, _WIDTH):
            m = min(_WIDTH, M - start)
            for k in range(K):
                for j in range(m):
                    x[k, j] = X[r, k, start + j]
                    slope[k, j] = g[r, k, start + j]
                    d = G[r, k * K - k * (k - 1) // 2, start + j]
                    inverse[k, j] = 1 / d if d > 0 else 0.0
            for k in range(K):
                for i in range(K):
                    low, high = min(i, k), max(i, k)
                    p = low * K - low * (low - 1) // 2 + high - low
                    for j in range(m):
                        slope[i, j] += G[r, p, start + j] * (x[k, j] - at[r, k, start + j])
            for _ in range(steps):
                for k in free:
                    for j in range(m):
                        new = max(x[k, j] - slope[k, j] * inverse[k, j], floor)
                        move[j] = new - x[k, j]
                        x[k, j] = new
                    for i in range(K):
                        low, high = min(i, k), max(i, k)
                        p = low * K - low * (low - 1) // 2 + high - low
                        for j in range(m):
                            slope[i, j] += G[r, p, start + j] * move[j]
            total = 0.0
            for k in range(K):
                for j in range(m):
                    total += (x[k, j] - at[r, k, start + j]) * 0.5 * (slope[k, j] + g[r, k, start + j])
                    X[r, k, start + j] = x[k, j]
            value[r] += total
