"""Inner loops over columns that torch cannot fuse, in plain Python; numba compiles them where it is installed."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from ..prox.kernels import compiled

__all__ = ["FASTEST", "FLAT", "LEAST", "descend", "descend_columns"]

LEAST = 1e-290
"""Entries with entropy stay above it."""

FASTEST = 1e3
"""Entries with entropy shrink as if by the exponential of this, at most, in one step."""

FLAT = 1e-14
"""Curvature between two entries that counts as none, in units of the sum of their own."""

_WIDTH = 256  # columns that are worked on at a time: their values stay in the nearest cache
_ROOT_HALF = 0x3FE6A09E667F3BCD  # bits of √½ as a float64
_LOG2 = math.log(2)


def descend(
    X: Tensor,
    G: Tensor,
    g: Tensor,
    at: Tensor,
    held: tuple[int, ...],
    steps: int,
    *,
    packed: bool,
    floor: float = 0.0,
    entropy: tuple[float, float] | None = None,
    exchange: bool = False,
) -> Tensor | None:
    """Coordinate descent in place by the compiled kernel; None, and nothing done, where there is none.

    Parameters
    ----------
    X : Tensor, shape (..., K, M)
        Feasible start; contiguous.
    G : Tensor, shape (..., K, K), or (..., K(K+1)/2, M) if `packed`
    g, at : Tensor, shape (..., K, M)
        Gradient at the point `at`.
    held : tuple of int
        Rows that stay.
    steps : int
        Sweeps over the rows.
    packed : bool
    floor : float
        Lower limit of all entries, may be -inf.
    entropy : tuple of float, optional
        Weight and map of an entropy: every entry makes a step of Newton's method. X and g are float64.
    exchange : bool
        Every two entries of a column exchange what suits both: sums stay.

    Returns
    -------
    Tensor, shape (...)
        ``⟨g, D⟩ + ½ ⟨D, G D⟩`` of the move D from `at` to the new X, float64.
    """
    if X.device.type != "cpu":
        return None
    kernel = compiled(descend_columns)
    if kernel is None:
        return None
    K = X.shape[-2]
    free = _others(K, held)
    G = G if packed else G.to(X.dtype)
    arrays = [_stack(T) for T in (X, G, g, at)]
    scratch = torch.empty(3, K, _WIDTH, dtype=X.dtype).numpy()
    row = torch.empty(2, _WIDTH, dtype=torch.float64).numpy()
    value = torch.zeros(len(arrays[0]), dtype=torch.float64)
    weight, prior = entropy or (0.0, 1.0)
    kernel(
        *arrays, packed, float(floor), weight, prior, exchange, free, steps, scratch, row[0], row[1], row[1].view("int64"), value.numpy()
    )
    return value.reshape(X.shape[:-2])


def _stack(T: Tensor) -> Any:
    """Memory of a tensor (..., K, M) as an array (R, K, M), copied if it is not contiguous."""
    array = T.contiguous().numpy()
    return array.reshape(-1, *array.shape[-2:])


@functools.lru_cache(maxsize=64)
def _others(n: int, held: tuple[int, ...]) -> Any:
    return torch.tensor([k for k in range(n) if k not in held], dtype=torch.long).numpy()


def descend_columns(
    X: Any,
    G: Any,
    g: Any,
    at: Any,
    packed: Any,
    floor: Any,
    weight: Any,
    prior: Any,
    exchange: Any,
    free: Any,
    steps: Any,
    scratch: Any,
    move: Any,
    mantissa: Any,
    bits: Any,
    value: Any,
) -> None:
    """X, g, at (R, K, M), and G (R, K, K), or (R, K(K+1)/2, M) if packed, a matrix of its own for every column; value (R,).

    Scratch is (3, K, width), and the last rows (width,); `bits` are those of `mantissa`.
    """
    R, K, M = X.shape
    x, slope, inverse = scratch[0], scratch[1], scratch[2]
    offset = math.log(prior)

    def place(i: int, k: int) -> int:
        low, high = min(i, k), max(i, k)
        return low * K - low * (low - 1) // 2 + high - low

    def follow(r: int, start: int, m: int, k: int, sign: float) -> None:
        # slopes after row k has moved
        for i in range(K):
            if packed:
                p = place(i, k)
                for j in range(m):
                    slope[i, j] += G[r, p, start + j] * (sign * move[j])
            else:
                q = sign * G[r, i, k]
                for j in range(m):
                    slope[i, j] += q * move[j]

    def trade(r: int, start: int, m: int, k: int, other: int) -> None:
        # what row k takes from the other one
        p, q = place(k, k), place(other, other)
        pq = place(k, other)
        for j in range(m):
            if packed:
                size = G[r, p, start + j] + G[r, q, start + j]
                curvature = size - 2 * G[r, pq, start + j]
            else:
                size = G[r, k, k] + G[r, other, other]
                curvature = size - 2 * G[r, k, other]
            wanted = (slope[other, j] - slope[k, j]) / curvature if curvature > FLAT * size else 0.0
            move[j] = min(max(wanted, -x[k, j]), x[other, j])
            x[k, j] += move[j]
            x[other, j] -= move[j]

    for r in range(R):
        for start in range(0, M, _WIDTH):
            m = min(_WIDTH, M - start)
            for k in range(K):
                for j in range(m):
                    x[k, j] = X[r, k, start + j]
                    slope[k, j] = g[r, k, start + j]
            for k in range(K):
                for j in range(m):
                    d = G[r, place(k, k), start + j] if packed else G[r, k, k]
                    inverse[k, j] = (d if weight > 0 else 1 / d) if d > 0 else 0.0
                    move[j] = x[k, j] - at[r, k, start + j]
                follow(r, start, m, k, 1.0)
            for _ in range(steps):
                for k in free:
                    if exchange:
                        for other in free:
                            if other > k:
                                trade(r, start, m, k, other)
                                follow(r, start, m, k, 1.0)
                                follow(r, start, m, other, -1.0)
                        continue
                    if weight > 0:
                        # x = 2^e · mantissa, from √½ to √2, where the series of the logarithm is short; calls of log are not vectorized
                        for j in range(m):
                            mantissa[j] = x[k, j]
                        for j in range(m):
                            e = (bits[j] - _ROOT_HALF) >> 52
                            bits[j] -= e << 52
                            move[j] = e
                        for j in range(m):
                            t = (mantissa[j] - 1) / (mantissa[j] + 1)
                            s = t * t
                            series = s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13 + s / 15))))))
                            logarithm = move[j] * _LOG2 + 2 * t * (1 + series)
                            old = x[k, j]
                            ratio = (slope[k, j] + weight * (logarithm - offset)) / (inverse[k, j] * old + weight)
                            shrink = min(max(ratio, 0.0), FASTEST)
                            small = 1 + shrink * (1 + shrink * (1 / 2 + shrink * (1 / 6 + shrink / 24)))
                            new = max(old * (1 - ratio) if ratio < 0.5 else old / small, LEAST)
                            move[j] = new - old
                            x[k, j] = new
                    else:
                        for j in range(m):
                            new = max(x[k, j] - slope[k, j] * inverse[k, j], floor)
                            move[j] = new - x[k, j]
                            x[k, j] = new
                    follow(r, start, m, k, 1.0)
            total = 0.0
            for k in range(K):
                for j in range(m):
                    total += (x[k, j] - at[r, k, start + j]) * 0.5 * (slope[k, j] + g[r, k, start + j])
                    X[r, k, start + j] = x[k, j]
            value[r] += total
