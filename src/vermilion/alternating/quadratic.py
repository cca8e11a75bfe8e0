"""Small constrained quadratics: one column each, all columns at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .normal import NormalEquations

__all__ = ["Block", "minimize"]


@dataclass(frozen=True)
class Block:
    """What is known of one factor, in the solver's orientation: (K, M), a column per band or pixel.

    Parameters
    ----------
    prox : callable
        ``(x, step) -> x`` on (K, M) tensors; `step` has a shape that broadcasts against x.
    penalty : callable
        ``x -> float``, the value of the constraint's function g.
    separable : {"element", "column", "no"}
        Into which pieces g falls: with "column" every column may have a step of its own, with "element" every entry.
    """

    prox: Callable[[Tensor, Tensor | float], Tensor]
    penalty: Callable[[Tensor], float]
    separable: Literal["element", "column", "no"]


def majorizer(system: NormalEquations, separable: str) -> Tensor:
    """Diagonal D with ``D ⪰ G`` for every column, as fine as the prox permits.

    Scaled to unit diagonal, a Gram matrix has entries in [-1, 1], so that its largest eigenvalue is cheap to bound by row sums and the
    bound does not depend on the units of the components.

    Returns
    -------
    Tensor, shape (K, 1), (K, M), (1, M) or (1, 1)
    """
    diagonal = system.diagonal().clamp_min(torch.finfo(system.C.dtype).tiny)
    root = diagonal.rsqrt()
    if system.G.ndim == 2:
        scaled = system.G * root * root.T
        top = torch.linalg.eigvalsh(scaled.double())[-1].to(scaled.dtype)
    else:
        top = (system.G.abs() * root[:, None] * root[None]).sum(dim=1).amax(dim=0)
    # a column without any weight has G = 0: any positive number will do, and 1 keeps the step finite
    bound = (top * diagonal).clamp_min(1e-20 * diagonal.max())
    bound = torch.where(bound > 0, bound, torch.ones_like(bound)) * (1 + 1e-5)
    if separable == "element":
        return bound
    if system.G.ndim == 2:
        return torch.linalg.eigvalsh(system.G.double())[-1:, None].to(bound.dtype) * (1 + 1e-5) + torch.finfo(bound.dtype).tiny
    per_column = system.G.abs().sum(dim=1).amax(dim=0, keepdim=True)
    per_column = per_column.clamp_min(1e-20 * float(per_column.max()) + torch.finfo(bound.dtype).tiny)
    return per_column if separable == "column" else per_column.max().reshape(1, 1)


def minimize(X: Tensor, system: NormalEquations, block: Block, *, steps: int, tol: float = 0.01) -> tuple[Tensor, int]:
    """Approximate minimizer of ``Σ ½ xᵀ G x − cᵀ x + g(X)`` by accelerated proximal gradients.

    Each column restarts its momentum on its own when the step turns against the last move.

    Parameters
    ----------
    X : Tensor, shape (K, M)
        Start; not modified, need not be feasible.
    system : NormalEquations
    block : Block
    steps : int
        Largest number of steps.
    tol : float
        Stop when the moves have shrunk to this fraction of the first.

    Returns
    -------
    X : Tensor, shape (K, M)
        Feasible.
    n : int
        Number of gradient evaluations.

    References
    ----------
    Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183; O'Donoghue & Candès 2015, Found. Comput. Math. 15, 715 (restart).
    """
    D = majorizer(system, block.separable)
    step = D.reciprocal()
    Z, first, momentum = X, None, torch.ones(1, X.shape[1] if block.separable != "no" else 1, dtype=X.dtype, device=X.device)
    for n in range(1, steps + 1):
        new = block.prox(torch.addcmul(Z, system.gradient(Z), step, value=-1), step)
        move = new - X
        if n == steps:
            return new, n
        if n % 3 == 0 or n == 1:
            size = float(torch.linalg.vector_norm(move * D.sqrt()))
            first = size if first is None else first
            if size <= tol * first:
                return new, n
        turned = ((Z - new) * move * D).sum(dim=0, keepdim=True)
        turned = turned if block.separable != "no" else turned.sum(dim=1, keepdim=True)
        momentum = torch.where(turned > 0, 1.0, momentum)
        following = 0.5 * (1 + torch.sqrt(1 + 4 * momentum.square()))
        Z = torch.addcmul(new, move, (momentum - 1) / following)
        X, momentum = new, following
    return X, steps
