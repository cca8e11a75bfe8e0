"""A start from compressed data, or from some of the pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..prox import NonNegative
from .mixing import DAMPING, decides_mixing, mix
from .problem import Problem
from .quadratic import Block
from .sketch import Sketch
from .sweep import Sweep
from .tiles import release

__all__ = ["EXTREMES", "OVERSAMPLING", "solve_compressed", "solve_some_pixels", "worth_compressing"]

OVERSAMPLING = 10
"""Dimensions kept beyond the number of components."""

EXTREMES = 6
"""Pixels whose directions are kept beside them."""

LEVELS = (1 << 10, 1 << 14)
"""Pixels of the first fits, where there are many more."""


def worth_compressing(problem: Problem, blocks: tuple[Block, Block], n_components: int) -> bool:
    """Compressed data are much smaller than the data, and stand for the same problem.

    With weights they are made white with one weight per band times one per pixel, which only constraints survive that bound every entry on
    its own.
    """
    columns = 2 * n_components + OVERSAMPLING
    if min(problem.Y.shape) < 3 * columns or problem.Y.numel() < 200_000:
        return False
    return problem.W is None or all(block.floor is not None and not block.held for block in blocks)


def solve_compressed(
    start: Sweep,
    problem: Problem,
    basis: Tensor,
    coordinates: Tensor,
    band_scale: Tensor,
    pixel_scale: Tensor,
    squares: float,
    *,
    max_iter: int = 500,
    tol: float = 1e-5,
    patience: int = 2,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Spectra and morphologies that solve the problem for compressed data.

    Parameters
    ----------
    start : Sweep
        Where to begin.
    problem : Problem
    basis : Tensor, shape (B, r)
        Orthonormal columns.
    coordinates : Tensor, shape (r, N)
        basisᵀ times the whitened data.
    band_scale, pixel_scale : Tensor, shapes (B,) and (N,)
        Whitened = band_scale · Y · pixel_scale; all 1 without weights.
    squares : float
        Of all whitened data.
    max_iter : int
    tol : float
        Stop when the objective falls by less than this part of itself per iteration, `patience` times running.
    patience : int

    Returns
    -------
    A : Tensor, shape (B, K)
    S : Tensor, shape (K, N)
    told : dict
        columns, iterations, coarse_iterations, objective_start and objective; in the normalized unit.

    References
    ----------
    Tepper & Sapiro 2016, IEEE Trans. Signal Process. 64, 2269 (compressed NMF); Erichson et al. 2018, Pattern Recognit. Lett. 104, 1.
    """
    gain = problem.gain * problem.weight_gain**0.5
    u, v = band_scale * problem.weight_gain**0.5, pixel_scale
    sketch = Sketch(basis, coordinates, squares * gain**2, gain)
    A, S = start.A, start.S
    if problem.W is not None:
        A, S = A * u[:, None], S * v
    sweep = Sweep(sketch, A, S, *start.blocks)
    first, ahead, coarse = sweep.objective, A, 0
    damping = torch.inf
    if problem.W is None and decides_mixing(*start.blocks):  # begin where the data alone lead
        free = Sweep(start.tiles, A, S, problem.block("A", NonNegative()), problem.block("S", NonNegative()))
        ahead, S, told = solve_compressed(free, problem, basis, coordinates, band_scale, pixel_scale, squares, max_iter=max_iter)
        sums = A.sum(dim=0) / ahead.sum(dim=0)
        ahead, S = torch.where(sums.isfinite(), ahead * sums, A), torch.where(sums.isfinite(), 1 / sums, 0)[:, None] * S
        damping, coarse = DAMPING, told["iterations"] + told["coarse_iterations"]
    for enough in LEVELS if start.morphologies.cut is not None else ():
        if (some := _telling_pixels(coordinates, S, enough=enough)) is None:
            break
        part = _part(sketch, some, A, S, start.blocks)
        part.look_ahead(ahead, part.S, steps=20)
        n, damping = _settle(part, max_iter, 10 * tol, patience, damping)
        coarse += n
        ahead = part.A
        del part
    release(S)
    if coarse:
        sweep.look_ahead(ahead, S, steps=20)
    iterations, damping = _settle(sweep, max_iter, tol, 1 if coarse else patience, damping)
    if damping > 1 and (start.morphologies.adds_up or _pulls(sweep)):  # gains little each time, for long
        iterations += _run(sweep, max_iter - iterations, 0.1 * tol, patience)
    A, S = sweep.A, sweep.S
    if problem.W is not None:
        A, S = A * _inverse(u)[:, None], S * _inverse(v)
    return (
        A,
        S,
        {
            "columns": basis.shape[1],
            "iterations": iterations,
            "coarse_iterations": coarse,
            "objective_start": first,
            "objective": sweep.objective,
        },
    )


def solve_some_pixels(start: Sweep, problem: Problem, *, max_iter: int = 500, tol: float = 1e-5, patience: int = 2) -> Tensor | None:
    """Spectra (B, K) that suit some of the pixels, first few and then more: for data of too few bands to be compressed.

    None where there are not many more pixels than that, or where the constraint on morphologies ties pixels together.

    Parameters
    ----------
    start : Sweep
        Where to begin.
    problem : Problem
    max_iter, tol, patience
        As for `solve_compressed`.
    """
    if start.morphologies.cut is None or problem.Y.shape[1] < 3 * LEVELS[-1]:
        return None
    A = start.A
    for enough in LEVELS:
        some = _telling_pixels(problem.Y, start.S, enough=enough)
        assert some is not None
        few = replace(problem, Y=problem.Y[:, some], W=None if problem.W is None else problem.W[:, some])
        blocks = start.spectra, start.morphologies.part(some)
        part = Sweep(few.tiles(*blocks), start.A, start.S[:, some], *blocks)
        part.look_ahead(A, part.S, steps=20)
        _run(part, max_iter, tol, patience)
        A = part.A
    return A


def _part(sketch: Sketch, some: Tensor, A: Tensor, S: Tensor, blocks: tuple[Block, Block]) -> Sweep:
    """The same problem for some of the pixels."""
    V = sketch.V[:, some].double()
    squares = float(V.square().sum()) * sketch.gain**2
    return Sweep(Sketch(sketch.U, V, squares, sketch.gain), A, S[:, some], blocks[0], blocks[1].part(some))


def _settle(sweep: Sweep, max_iter: int, tol: float, patience: int, damping: float, *, between: int = 20) -> tuple[int, float]:
    """Iterate until the objective hardly falls any more: by Newton's method if `damping` is finite, else by alternation."""
    iterations = 0
    while damping < torch.inf and iterations < max_iter:
        sweep.step()
        taken, damping = mix(sweep, max_iter - iterations - 1, tol, damping)
        iterations += taken + 1
        if damping <= 1:
            return iterations, damping
        taken = _run(sweep, min(between, max_iter - iterations), tol, patience)
        iterations += taken
        damping = DAMPING if taken == between and damping < torch.inf else torch.inf
    return iterations + _run(sweep, max_iter - iterations, tol, patience), torch.inf


def _pulls(sweep: Sweep, *, share: float = 3e-3) -> bool:
    """Entropy is so strong that it decides how components mix."""
    S = sweep.morphologies
    return S.entropy is not None and S.penalty(sweep.S) > share * sweep.objective


def _run(sweep: Sweep, max_iter: int, tol: float, patience: int) -> int:
    """Iterate until the objective hardly falls any more."""
    small = iterations = 0
    while small < patience and iterations < max_iter:
        before = sweep.objective
        sweep.step()
        iterations += 1
        small = small + 1 if 0 <= before - sweep.objective < tol * abs(before) else 0
    return iterations


def _telling_pixels(V: Tensor, S: Tensor, *, enough: int = LEVELS[0], extremes: int = 16) -> Tensor | None:
    """Some thousand pixels that stand for all: every so many-th, and the extreme ones of every dimension and every component.

    A source of a few pixels would be missed by the first, and its component lost. None where there are not many more pixels than that.
    """
    n_pixels = V.shape[1]
    stride = n_pixels // enough
    if stride < 3:
        return None
    chosen = [torch.arange(0, n_pixels, stride, device=V.device)]
    chosen += [row.abs().nan_to_num_(0).topk(extremes).indices for rows in (V, S) for row in rows]  # what is hidden is no extreme
    return torch.unique(torch.cat(chosen))


def _inverse(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.inf).reciprocal()
