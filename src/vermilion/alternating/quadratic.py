"""Small constrained quadratics: one column each, all columns at once."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from . import kernels

__all__ = ["Block", "Quadratic", "minimize", "pairs", "place"]


@dataclass(frozen=True)
class Block:
    """What is known of one factor, in the solver's orientation: (..., K, M), a column per band or pixel.

    Parameters
    ----------
    prox : callable
        ``(x, step) -> x`` on (K, M) tensors; `step` has a shape that broadcasts against x.
    penalty : callable
        ``x -> float``, the value of the constraint's function g.
    separable : {"element", "column", "no"}
        Into which pieces g falls: with "column" every column may have a step of its own, with "element" every entry.
    floor : float, optional
        Set where g is nothing but this lower limit of every free entry (0, or -inf for no constraint): coordinate descent then applies.
    entropy : tuple of float, optional
        Set where g is ``weight · Σ x ln(x/m) − x``, up to a constant: weight and m.
    by_component : bool
        g is a sum over components: it never ties two rows together.
    held : tuple of int
        Components whose values are given.
    frozen : Tensor of bool, shape (M,), optional
        Columns that stay as they are; anything that broadcasts against (..., K, M).
    cut : callable, optional
        ``columns (slice or indices) -> Block``: the constraint on some of the columns. None: they cannot be solved apart.
    adds_up : bool
        g is nothing but non-negative entries with a given sum in every column.
    rows_add_up : bool
        g is nothing but non-negative entries with a given sum in every row.
    """

    prox: Callable[[Tensor, Tensor | float], Tensor]
    penalty: Callable[[Tensor], float]
    separable: Literal["element", "column", "no"]
    floor: float | None = None
    entropy: tuple[float, float] | None = None
    by_component: bool = False
    held: tuple[int, ...] = ()
    frozen: Tensor | None = None
    cut: Callable[[slice | Tensor], Block] | None = None
    adds_up: bool = False
    rows_add_up: bool = False

    @property
    def descends(self) -> bool:
        """Coordinate descent applies."""
        return self.floor is not None or self.entropy is not None or (self.adds_up and not self.held)

    def part(self, columns: slice | Tensor) -> Block:
        """The constraint on some of the columns."""
        if self.cut is None:
            raise ValueError("this constraint ties columns together: solve them all at once.")
        block = self.cut(columns) if self.held else self
        return block if self.frozen is None else replace(block, frozen=self.frozen[..., columns])


@dataclass(frozen=True)
class Quadratic:
    """``⟨g, D⟩ + ½ ⟨D, G D⟩`` of the move D = X − X₀, column by column.

    Moves instead of values: where the signal is a thousand times the noise, ``G X − C`` loses the digits that matter.

    Parameters
    ----------
    G : Tensor, shape (..., K, K), or (..., K(K+1)/2, M) if `packed`
        One matrix for all columns, or the different entries of one for each, in the order of `pairs`.
    gradient : Tensor, shape (..., K, M)
        g, at X₀.
    at : Tensor, shape (..., K, M)
        X₀.
    packed : bool
    """

    G: Tensor
    gradient: Tensor
    at: Tensor
    packed: bool = False

    def times(self, D: Tensor) -> Tensor:
        """``G D``, shape (..., K, M)."""
        if not self.packed:
            return self.G.to(D.dtype) @ D
        where = place(D.shape[-2], D.device)
        return torch.stack([(self.G.index_select(-2, row).to(D.dtype) * D).sum(dim=-2) for row in where], dim=-2)

    def diagonal(self) -> Tensor:
        """Diagonals of G, shape (..., K, 1) or (..., K, M)."""
        if not self.packed:
            return self.G.diagonal(dim1=-2, dim2=-1)[..., None]
        return self.G.index_select(-2, place(self.at.shape[-2], self.G.device).diagonal())

    def columns(self, which: slice) -> Quadratic:
        """The same for some of the columns."""
        return Quadratic(self.G[..., which] if self.packed else self.G, self.gradient[..., which], self.at[..., which], self.packed)

    def change(self, X: Tensor, *, columns: int = 1 << 14) -> Tensor:
        """Value at X (..., K, M): what the loss changes by on the way from X₀, float64, shape (...)."""
        total = X.new_zeros(X.shape[:-2], dtype=torch.float64)
        for start in range(0, X.shape[-1], columns):
            part, x = self.columns(slice(start, start + columns)), X[..., start : start + columns]
            D = x - part.at
            total += (D * (part.gradient + 0.5 * part.times(D))).sum(dim=(-2, -1), dtype=torch.float64)
        return total


@functools.lru_cache(maxsize=64)
def place(n: int, device: torch.device) -> Tensor:
    """Where entry (k, l) of a symmetric matrix stands among its n(n+1)/2 different ones, shape (n, n)."""
    rows, columns = torch.triu_indices(n, n)
    out = torch.empty(n, n, dtype=torch.long)
    out[rows, columns] = out[columns, rows] = torch.arange(len(rows))
    return out.to(device)


def pairs(X: Tensor) -> Tensor:
    """Products of every two rows of X (..., K, M), shape (..., K(K+1)/2, M)."""
    rows, columns = torch.triu_indices(X.shape[-2], X.shape[-2], device=X.device)
    return X.index_select(-2, rows) * X.index_select(-2, columns)


def _top(G: Tensor) -> Tensor:
    """Upper bound of the largest eigenvalue of positive semidefinite matrices (..., K, K), at most K^(1/64) too large.

    ``λ₁ <= (tr G⁶⁴)^(1/64)``: no eigenvalue routine, so that a GPU is not waited for.
    """
    scale = G.diagonal(dim1=-2, dim2=-1).sum(dim=-1).clamp_min(torch.finfo(torch.float64).tiny)
    power = G / scale[..., None, None]
    exponent = 64
    for _ in range(5):
        power = power @ power
    trace = (power * power).sum(dim=(-2, -1))
    return scale * trace ** (1 / exponent)


def majorizer(system: Quadratic, separable: str) -> Tensor:
    """Diagonal D with ``D ⪰ G`` for every column, as fine as the prox permits.

    Scaled to unit diagonal, a Gram matrix has entries in [-1, 1], so that its largest eigenvalue is cheap to bound by row sums and the
    bound does not depend on the units of the components.

    Returns
    -------
    Tensor, shape (..., K, 1), (..., K, M), (..., 1, M) or (..., 1, 1)
    """
    diagonal = system.diagonal().double()
    tiny = torch.finfo(torch.float32).tiny
    if not system.packed:
        G = system.G.double()
        if separable != "element":
            return (_top(G)[..., None, None] * (1 + 1e-5)).clamp_min(tiny)
        root = diagonal.clamp_min(tiny).rsqrt()
        top = _top(G * root * root.mT)[..., None, None]
    else:
        root = diagonal.clamp_min(tiny).rsqrt() if separable == "element" else torch.ones_like(diagonal)
        top = torch.zeros_like(diagonal[..., :1, :])
        for k, row in enumerate(place(diagonal.shape[-2], system.G.device)):
            torch.maximum(top, (system.G.index_select(-2, row).abs() * root).sum(dim=-2, keepdim=True) * root[..., k, None, :], out=top)
        if separable != "element":
            # a column without any weight has G = 0: any positive number will do, and keeps the step finite
            top = top.clamp_min(1e-20 * top.amax(dim=-1, keepdim=True)).clamp_min(tiny) * (1 + 1e-5)
            return top if separable == "column" else top.amax(dim=-1, keepdim=True)
    bound = top * diagonal
    bound = bound.clamp_min(1e-20 * bound.amax(dim=(-2, -1), keepdim=True))
    return torch.where(bound > 0, bound, torch.ones_like(bound)) * (1 + 1e-5)


def minimize(
    system: Quadratic, block: Block, *, steps: int, tol: float = 0.01, method: str = "auto", columns: int = 1 << 14
) -> tuple[Tensor, int, Tensor]:
    """Approximate minimizer of ``Σ ⟨g, D⟩ + ½ ⟨D, G D⟩ + g(X₀ + D)``.

    Parameters
    ----------
    system : Quadratic
        Its point X₀ is the start, which need not be feasible.
    block : Block
    steps : int
        Largest number of steps.
    tol : float
        Stop when the moves have shrunk to this fraction of the first.
    method : {"auto", "accelerated", "descent"}
        Proximal gradients with momentum, for any constraint, or coordinate descent, for those of `Block.descends`; "auto" descends where
        it can.
    columns : int
        Columns that are solved at a time where the constraint permits: their systems stay in the cache.

    Returns
    -------
    X : Tensor, shape (..., K, M)
        Feasible, with the type of X₀.
    n : int
        Number of gradient evaluations.
    value : Tensor, shape (...)
        ``⟨g, D⟩ + ½ ⟨D, G D⟩`` there, float64.
    """
    n, value = steps, None
    if method == "accelerated":
        X, n = _accelerate(system, block, steps=steps, tol=tol)
    elif block.descends:
        X, value = _descend(system, block, steps=steps)
    elif block.by_component and not system.packed and not block.held:
        X, n = _descend_rows(system, block, steps=min(steps, 2)), min(steps, 2)
    elif block.cut is None or system.at.shape[-1] <= columns or not system.packed:
        X, n = _accelerate(system, block, steps=steps, tol=tol)
    else:
        X, n = torch.empty_like(system.at), 0
        for start in range(0, X.shape[-1], columns):
            part = slice(start, start + columns)
            X[..., part], taken = _accelerate(system.columns(part), block.part(part), steps=steps, tol=tol)
            n = max(n, taken)
    if block.frozen is not None:
        X, value = torch.where(block.frozen, system.at.to(X.dtype), X), None
    return X, n, system.change(X) if value is None else value


def _descend(system: Quadratic, block: Block, *, steps: int) -> tuple[Tensor, Tensor | None]:
    """Coordinate descent: one component after the other takes its best value, in all columns at once.

    With entropy it makes one step of Newton's method towards that; where entries add up, every two exchange what suits both.

    References
    ----------
    Cichocki & Phan 2009, IEICE Trans. E92-A, 708 (HALS); Gillis & Glineur 2012, Neural Computation 24, 1085.
    """
    X = _start(system, block)
    value = kernels.descend(
        X,
        system.G,
        system.gradient,
        system.at,
        block.held,
        steps,
        packed=system.packed,
        floor=0.0 if block.floor is None else block.floor,
        entropy=block.entropy,
        exchange=block.adds_up,
    )
    if value is None:
        _descend_by_torch(X, system, block, steps)
    return X, value


def _start(system: Quadratic, block: Block) -> Tensor:
    """X₀ made feasible, in memory of its own."""
    if block.floor is not None and not block.held:
        return system.at.clamp_min(block.floor).contiguous()
    if block.entropy is None:
        X = block.prox(system.at, 1.0)
        return X.clone() if X.data_ptr() == system.at.data_ptr() else X.contiguous()
    X = torch.where(system.at > 0, system.at, 1e-3 * block.entropy[1]).clamp_min_(kernels.LEAST).contiguous()
    if block.held:
        held = list(block.held)
        X[..., held, :] = block.prox(system.at, 1.0)[..., held, :]
    return X


def _descend_rows(system: Quadratic, block: Block, *, steps: int) -> Tensor:
    """Coordinate descent by components, each row solved at once by its own operator: all its columns have the same curvature."""
    X = block.prox(system.at, 1.0).clone()
    G = system.G.to(X.dtype)
    g = system.gradient.to(X.dtype) + G @ (X - system.at)
    diagonal = G.diagonal(dim1=-2, dim2=-1)
    usable = diagonal > 1e-12 * diagonal.amax(dim=-1, keepdim=True)
    step = torch.where(usable, diagonal, torch.inf).reciprocal()
    for _ in range(steps):
        for k in range(X.shape[-2]):
            row, t = X[..., k : k + 1, :], step[..., k, None, None]
            new = block.prox(torch.addcmul(row, g[..., k : k + 1, :], t, value=-1), t)
            move = torch.where(t > 0, new - row, 0)
            X[..., k : k + 1, :] = row + move
            g += G[..., :, k, None] * move
    return X


def _descend_by_torch(X: Tensor, system: Quadratic, block: Block, steps: int, *, columns: int = 1 << 14) -> None:
    """The plain form of the kernel: changes X in place."""
    K = X.shape[-2]
    where = place(K, X.device)
    free = [k for k in range(K) if k not in block.held]
    for start in range(0, X.shape[-1], columns):
        part, x = system.columns(slice(start, start + columns)), X[..., start : start + columns]
        if block.floor is not None and not part.packed and x.ndim == 2:
            _descend_to_floor(x, part, block.floor, free, steps)
            continue
        g = part.gradient.to(X.dtype) + part.times(x - part.at)
        G = [part.G.index_select(-2, where[k]).to(X.dtype) if part.packed else part.G[..., k, :, None].to(X.dtype) for k in range(K)]
        rows, slopes = x.unbind(dim=-2), g.unbind(dim=-2)
        inverse = [torch.where(G[k][..., k, :] > 0, G[k][..., k, :], torch.inf).reciprocal() for k in range(K)]
        for _ in range(steps):
            if block.adds_up:
                for k, other in itertools.combinations(free, 2):
                    move = _trade(x, g, G, k, other)
                    rows[k].add_(move)
                    rows[other].sub_(move)
                    g.addcmul_(G[k] - G[other], move[..., None, :])
                continue
            for k in free:
                if block.floor is not None:
                    new = torch.addcmul(rows[k], slopes[k], inverse[k], value=-1).clamp_min_(block.floor)
                else:
                    assert block.entropy is not None
                    new = _newton(rows[k], slopes[k], G[k][..., k, :], *block.entropy)
                move = new - rows[k]
                rows[k].copy_(new)
                g.addcmul_(G[k], move[..., None, :])


def _descend_to_floor(x: Tensor, system: Quadratic, floor: float, free: list[int], steps: int) -> None:
    """The same with one matrix for all columns, in two calls per row: its best value follows from the other rows."""
    G = system.G.to(x.dtype)
    diagonal = G.diagonal()
    # a row that no datum sees stays where it is
    others = torch.where(diagonal[:, None] > 0, -G / torch.where(diagonal > 0, diagonal, 1)[:, None], 0)
    others.fill_diagonal_(0)
    constant = system.at - (system.gradient.to(x.dtype) / torch.where(diagonal > 0, diagonal, torch.inf)[:, None]) - others @ system.at
    columns, weights, rows = x.mT, others.unbind(), x.unbind()
    for _ in range(steps):
        for k in free:
            torch.clamp_min(torch.addmv(constant[k], columns, weights[k]), floor, out=rows[k])


def _newton(old: Tensor, slope: Tensor, curvature: Tensor, weight: float, prior: float) -> Tensor:
    """New values of one row (..., M) with entropy: a step of Newton's method."""
    ratio = (slope + weight * (old.log() - math.log(prior))) / (curvature * old + weight)
    r = ratio.clamp(0, kernels.FASTEST)
    return torch.where(ratio < 0.5, old * (1 - ratio), old / (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r / 24))))).clamp_min(kernels.LEAST)


def _trade(x: Tensor, g: Tensor, G: list[Tensor], k: int, other: int) -> Tensor:
    """What row k takes from the other one, shape (..., M)."""
    size = G[k][..., k, :] + G[other][..., other, :]
    curvature = size - 2 * G[k][..., other, :]
    wanted = (g[..., other, :] - g[..., k, :]) / torch.where(curvature > kernels.FLAT * size, curvature, torch.inf)
    return torch.minimum(torch.maximum(wanted, -x[..., k, :]), x[..., other, :])


def _accelerate(system: Quadratic, block: Block, *, steps: int, tol: float) -> tuple[Tensor, int]:
    """Accelerated proximal gradients; each column restarts its momentum on its own when the step turns against the last move.

    References
    ----------
    Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183; O'Donoghue & Candès 2015, Found. Comput. Math. 15, 715 (restart).
    """
    X = system.at
    D = majorizer(system, block.separable).to(X.dtype)
    step = D.reciprocal()
    shape = (*X.shape[:-2], 1, X.shape[-1] if block.separable != "no" else 1)
    g = system.gradient.to(X.dtype)
    Z, first, momentum = X, None, torch.ones(shape, dtype=X.dtype, device=X.device)
    for n in range(1, steps + 1):
        slope = g if n == 1 else g + system.times(Z - system.at)
        new = block.prox(torch.addcmul(Z, slope, step, value=-1), step)
        if n == steps:
            return new, n
        move = new - X
        if not X.is_cuda and (n % 3 == 0 or n == 1):  # looking at a number makes a GPU wait
            size = float(torch.linalg.vector_norm(move * D.sqrt()))
            first = size if first is None else first
            if size <= tol * first:
                return new, n
        turned = ((Z - new) * move * D).sum(dim=-2, keepdim=True)
        turned = turned if block.separable != "no" else turned.sum(dim=-1, keepdim=True)
        momentum = torch.where(turned > 0, 1.0, momentum)
        following = 0.5 * (1 + torch.sqrt(1 + 4 * momentum.square()))
        Z = torch.addcmul(new, move, (momentum - 1) / following)
        X, momentum = new, following
    return X, steps
