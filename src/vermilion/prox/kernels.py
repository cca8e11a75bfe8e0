"""Loops that torch cannot express, in plain Python; numba compiles them where it is installed."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable
from typing import Any

__all__ = ["ascend_dual", "clip_outward", "compiled", "fit_line", "pool_tree", "shift_to_total"]

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

logger = logging.getLogger(__name__)


@functools.cache
def compiled(kernel: Callable[..., Any]) -> Callable[..., Any] | None:
    """`kernel` compiled by numba at its first call, or None where numba is not installed, does not work or is not wanted.

    The environment variable VERMILION_NUMBA=0 does without. A division by zero gives inf or NaN, as in numpy: with a branch for each the
    loop could not use vector instructions.
    """
    if os.environ.get("VERMILION_NUMBA", "1") == "0":
        return None
    try:
        from numba import njit
    except ImportError as error:
        logger.debug("numba is not used: %s", error)
        return None
    try:
        return _Cached(njit(cache=True, **OPTIONS)(kernel), njit(**OPTIONS)(kernel))
    except RuntimeError:  # no folder to keep the machine code in may be written
        return njit(**OPTIONS)(kernel)


class _Cached:
    """A compiled function whose machine code is kept in a folder, for as long as that can be read and written."""

    def __init__(self, kept: Callable[..., Any], fresh: Callable[..., Any]) -> None:
        self.function, self.fresh = kept, fresh

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.function(*arguments)
        except OSError as error:
            logger.debug("machine code cannot be kept: %s", error)
            self.function = self.fresh
            return self.function(*arguments)


def clip_outward(images: Any, neighbors: Any, weights: Any) -> None:
    """Clip every pixel of images (M, N), from the center outward and in place, to the weighted mean of its neighbors (N, R)."""
    for m in range(images.shape[0]):
        for p in range(1, images.shape[1]):
            bound = 0.0
            for r in range(neighbors.shape[1]):
                bound += weights[p, r] * images[m, neighbors[p, r]]
            images[m, p] = min(images[m, p], bound)


def pool_tree(y: Any, parent: Any, links: Any, values: Any) -> None:
    """Project y (N,) in place on ``y[p] <= y[parent[p]]``, with parents before children, by pooling adjacent violators.

    From the leaves inward: while the mean of a block is below that of one of the blocks beneath it, it swallows the
    largest of them. The blocks beneath wait in a pairing heap, the largest mean first.

    links (4, N) and values (2, N) are scratch space: heap of the blocks beneath, first in the heap, next in the heap,
    block that swallowed this one; mean, size.
    """
    beneath, first, after, owner = links[0], links[1], links[2], links[3]
    mean, size = values[0], values[1]

    def meld(a: int, b: int) -> int:
        if a < 0 or b < 0:
            return max(a, b)
        if mean[a] < mean[b]:
            a, b = b, a
        after[b] = first[a]
        first[a] = b
        return a

    n = len(y)
    for p in range(n):
        beneath[p], first[p], after[p], owner[p] = -1, -1, -1, p
        mean[p], size[p] = y[p], 1.0
    for p in range(n - 1, -1, -1):
        while beneath[p] >= 0 and mean[beneath[p]] > mean[p]:
            child = beneath[p]
            size[p] += size[child]
            mean[p] += (mean[child] - mean[p]) * (size[child] / size[p])
            owner[child] = p
            # the heap without its first entry: meld in pairs, then the pairs
            pairs, rest = -1, first[child]
            while rest >= 0:
                a, b = rest, after[rest]
                rest = after[b] if b >= 0 else -1
                pair = meld(a, b)
                after[pair] = pairs
                pairs = pair
            heap = beneath[child]
            while pairs >= 0:
                pair, pairs = pairs, after[pairs]
                heap = meld(heap, pair)
            beneath[p] = heap
        if p > 0:
            first[p] = -1
            after[p] = -1
            beneath[parent[p]] = meld(beneath[parent[p]], p)
    for p in range(n):
        y[p] = y[owner[p]] if owner[p] < p else mean[p]


def fit_line(y: Any, strength: float, knots: Any, low: Any, high: Any) -> None:
    """Replace y (N,) by ``argmin_z |z - y|^2/2 + strength sum |z[n+1] - z[n]|``.

    Forward: the derivative F_n(z) of the smallest cost of all entries up to n, whose last is z, is piecewise linear and
    increasing, ``F_n(z) = z - y[n] + clip(F_n-1(z), -strength, strength)``. Where the clip begins and ends are low and
    high (N,), and knots of F. Backward: the last entry is the root of F, and each entry is the next one clipped to
    [low, high].

    knots (3, 2 N) is scratch space: position, and by how much slope and offset of F rise there.
    """
    n = len(y)
    position, slope, offset = knots[0], knots[1], knots[2]
    left, right = n, n - 1
    for i in range(n):
        # the outermost pieces of F: nothing is clipped yet before the first entry
        clip = strength if i > 0 else 0.0
        rise, base = 1.0, -y[i] - clip
        level = -strength if i < n - 1 else 0.0
        while left <= right and rise * position[left] + base < level:
            rise += slope[left]
            base += offset[left]
            left += 1
        low[i] = (level - base) / rise
        if i == n - 1:
            break
        left -= 1
        position[left], slope[left], offset[left] = low[i], rise, base + strength
        rise, base = 1.0, -y[i] + clip
        while right > left and rise * position[right] + base > strength:
            rise -= slope[right]
            base -= offset[right]
            right -= 1
        high[i] = (strength - base) / rise
        right += 1
        position[right], slope[right], offset[right] = high[i], -rise, strength - base
    y[n - 1] = low[n - 1]
    for i in range(n - 2, -1, -1):
        y[i] = min(max(y[i + 1], low[i]), high[i])


def shift_to_total(rows: Any, total: float) -> None:
    """Project every row of rows (N, n) in place on non-negative entries that sum to total: the method of `Simplex`."""
    n = rows.shape[1]
    for m in range(rows.shape[0]):
        largest = rows[m, 0]
        for i in range(n):
            largest = max(largest, rows[m, i])
        start = 0.0
        for i in range(n):
            rows[m, i] -= largest
            start += rows[m, i]
        t = max((start - total) / n, -total)
        climbs = True
        while climbs:
            above, count = 0.0, 0.0
            for i in range(n):
                if rows[m, i] > t:
                    above += rows[m, i]
                    count += 1.0
            new = (above - total) / count if count > 0 else t
            climbs = new > t
            if climbs:
                t = new
        for i in range(n):
            rows[m, i] = max(rows[m, i] - t, 0.0)


def ascend_dual(
    x: Any, y: Any, fields: Any, c: float, isotropic: bool, enough: float, max_iter: int, check_every: int
) -> tuple[float, int]:
    """Minimize the total variation problem of one image x (Ny, Nx) into y; returns the duality gap and the iterations.

    fields (3, 2, Ny, Nx) hold the dual field p to start with, the same once more, to be moved ahead of p, and scratch
    space for the new p. See `TotalVariation` for the method.
    """
    p, ahead, new = fields[0], fields[1], fields[2]
    ny, nx = x.shape

    def residual(field: Any) -> None:
        for i in range(ny):
            for j in range(nx):
                before_y = field[0, i - 1, j] if i > 0 else 0.0
                before_x = field[1, i, j - 1] if j > 0 else 0.0
                y[i, j] = x[i, j] + (field[0, i, j] - before_y) + (field[1, i, j] - before_x)

    age = 1.0
    for iteration in range(max_iter):
        if iteration % check_every == 0 or iteration == max_iter - 1:
            residual(p)
            gap = 0.0
            for i in range(ny):
                for j in range(nx):
                    dy = y[i + 1, j] - y[i, j] if i < ny - 1 else 0.0
                    dx = y[i, j + 1] - y[i, j] if j < nx - 1 else 0.0
                    length = math.sqrt(dy * dy + dx * dx) if isotropic else abs(dy) + abs(dx)
                    gap += c * length - (p[0, i, j] * dy + p[1, i, j] * dx)
            if gap <= enough:
                break
        residual(ahead)
        uphill = 0.0
        for i in range(ny):
            for j in range(nx):
                a = ahead[0, i, j] + ((y[i + 1, j] - y[i, j]) / 8 if i < ny - 1 else 0.0)
                b = ahead[1, i, j] + ((y[i, j + 1] - y[i, j]) / 8 if j < nx - 1 else 0.0)
                if isotropic:
                    length = math.sqrt(a * a + b * b)
                    if length > c:
                        a, b = a * (c / length), b * (c / length)
                else:
                    a, b = min(max(a, -c), c), min(max(b, -c), c)
                uphill += (ahead[0, i, j] - a) * (a - p[0, i, j]) + (ahead[1, i, j] - b) * (b - p[1, i, j])
                new[0, i, j], new[1, i, j] = a, b
        age = 1.0 if uphill > 0 else age + 1.0
        momentum = (age - 1) / (age + 2)
        for d in range(2):
            for i in range(ny):
                for j in range(nx):
                    ahead[d, i, j] = new[d, i, j] + momentum * (new[d, i, j] - p[d, i, j])
                    p[d, i, j] = new[d, i, j]
    return gap, iteration
