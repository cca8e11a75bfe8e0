"""Steps from the largest curvature of a block, found from Hessian-vector products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .base import Block, Change, StepRule

__all__ = ["TopCurvature"]

_LONGEST_WAIT = 40


class TopCurvature(StepRule):
    """Steps 1 / L, L an estimate of the largest curvature of the block, the others fixed.

    At the start a few Lanczos steps from the gradient. Later, after `refresh` moves, one step of the power method from the
    last eigenvector; while the estimate stays within 10 % the waiting time doubles, up to 40 moves. In between, L is
    raised to any larger curvature that a move reveals by itself. A product with the Hessian is a finite difference of
    gradients of the closure, or exact if an `objective` is given; each counts as a gradient evaluation of the block.

    Parameters
    ----------
    objective : callable, optional
        Returns the loss (the smooth part) as a tensor, without a backward pass.
    iterations : int, >= 1
        Lanczos steps at the start.
    refresh : int, >= 1

    References
    ----------
    Golub & Van Loan 2013, Matrix Computations, section 10.1 (Lanczos); Pearlmutter 1994, Neural Computation 6, 147
    (exact products).
    """

    blockwise = True

    def __init__(self, objective: Callable[[], Tensor] | None = None, *, iterations: int = 3, refresh: int = 5) -> None:
        self.objective = objective
        self.iterations = iterations
        self.refresh = refresh

    def prepare(self, block: Block) -> None:
        """Find the top curvature at the start, and look again when it is time."""
        group = block.group
        if not self.started(group):
            self._begin(block)
            return
        group["wait"] -= 1
        if group["wait"] <= 0:
            self._look_again(block)

    def size(self, group: dict[str, Any]) -> float:
        """1 / L; 0 as long as no gradient was seen."""
        return 1 / group["curvature"] if self.started(group) else 0.0

    def observe(self, group: dict[str, Any], change: Change) -> None:
        """Raise L to what the move revealed."""
        if self.started(group) and change.curvature > group["curvature"]:
            if change.curvature > 1.1 * group["curvature"]:
                group["wait"] = 0
            group["curvature"] = change.curvature

    def _begin(self, block: Block) -> None:
        gradient = block.gradient
        length = float(gradient.norm())
        if not (math.isfinite(length) and length > 0):
            return
        top, vector = lanczos(lambda v: block.product(v, self.objective), gradient / length, self.iterations)
        floor = length / block.extent
        # no step shall move a block by more than ten times itself
        self.start(block.group, max(top, 0.1 * floor) if math.isfinite(top) else 100 * floor)
        block.group["interval"] = block.group["wait"] = self.refresh
        block.remember("curvature_vector", vector)

    def _look_again(self, block: Block) -> None:
        group = block.group
        product = block.product(block.recall("curvature_vector"), self.objective)
        top = float(product.norm())
        steady = math.isfinite(top) and abs(top - group["curvature"]) <= 0.1 * group["curvature"]
        group["interval"] = min(2 * group["interval"], max(_LONGEST_WAIT, self.refresh)) if steady else self.refresh
        group["wait"] = group["interval"]
        if math.isfinite(top) and top > 0:
            # the product may have met a flat spot by accident: come down in bounded strides
            group["curvature"] = max(top, 0.01 * group["curvature"])
            block.remember("curvature_vector", product / top)

    def __repr__(self) -> str:
        exact = "exact" if self.objective is not None else "finite differences"
        return f"TopCurvature({exact}, iterations={self.iterations}, refresh={self.refresh})"


def lanczos(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> tuple[float, Tensor]:
    """Largest |eigenvalue| seen in the Krylov space of a unit vector, and its unit Ritz vector; NaN if a product is."""
    basis, diagonal, off = [start], [], []
    for _ in range(iterations):
        w = product(basis[-1])
        if not bool(torch.isfinite(w).all()):
            break
        diagonal.append(float(w @ basis[-1]))
        # all of the basis, twice: three terms alone lose orthogonality
        for q in (*basis, *basis):
            w = w - (w @ q) * q
        off.append(float(w.norm()))
        if off[-1] <= 1e-6 * (abs(diagonal[-1]) + off[-1]):
            break
        basis.append(w / off[-1])
    if not diagonal:
        return math.nan, start
    n = len(diagonal)
    sides = torch.tensor(off[: n - 1], dtype=torch.float64)
    T = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(sides, 1) + torch.diag(sides, -1)
    values, vectors = torch.linalg.eigh(T)
    top = int(values.abs().argmax())
    vector = sum((float(c) * q for c, q in zip(vectors[:, top], basis, strict=False)), torch.zeros_like(start))
    return float(values[top].abs()), vector
