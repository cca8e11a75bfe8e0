"""Several convex constraints or penalties at once."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from ..errors import ConvergenceWarning, ParameterError
from .base import Prox, as_prox, joint_coupling

__all__ = ["Dykstra"]


class Dykstra(Prox):
    """The operator of a sum of convex g; of projections, that on the intersection of their sets.

    The members are applied in turn, each to the point plus what it took away last time; in contrast to `Chain` this
    leads to the nearest point. A cycle is an exact step of coordinate ascent in the dual problem, whose unknowns are
    what the members take away, and the iteration ends when these stay. The last member is met to rounding, the others to
    about `tol` times the norm of `x`, or to less if the convergence is slow. It is, where the sets meet at small angles
    or `x` is many orders larger than bounded sets: then a `ConvergenceWarning` tells what is left.

    Parameters
    ----------
    *operators : Prox or callable
        Exact and convex.
    max_iter : int, >= 1
        Largest number of cycles.
    tol : float, >= 0
        Change of what the members take away within a cycle, relative to the norm of `x` or of the result.

    Raises
    ------
    ParameterError
        If there is no operator, or one is inexact or not convex.

    References
    ----------
    Boyle & Dykstra 1986, Lecture Notes in Statistics 37, 28 (sets); Bauschke & Combettes 2008, Pac. J. Optim. 4, 383, and
    Combettes & Pesquet 2011, section 5 (penalties); Birgin & Raydan 2005, SIAM J. Sci. Comput. 26, 1405 (stopping).

    Examples
    --------
    >>> from vermilion.prox import Box, Simplex
    >>> Dykstra(Box(high=0.5), Simplex(0))(torch.tensor([2.0, 0.5, 0.0]), 1.0)
    tensor([0.5000, 0.5000, 0.0000])
    """

    def __init__(self, *operators: Any, max_iter: int = 10_000, tol: float = 1e-12) -> None:
        if not operators:
            raise ParameterError("Dykstra got no operator: expected one or more.")
        self.operators = tuple(map(as_prox, operators))
        for operator in self.operators:
            if not (operator.exact and operator.convex):
                raise ParameterError(f"{operator!r} is not both exact and convex: expected that; use Chain to apply operators in turn.")
        if max_iter < 1 or not tol >= 0:
            raise ParameterError(f"max_iter is {max_iter}, tol is {tol}: expected max_iter >= 1 and tol >= 0.")
        self.max_iter = max_iter
        self.tol = tol
        self.couples = joint_coupling(self.operators)
        self.cone = all(operator.cone for operator in self.operators)
        self.projection = all(operator.projection for operator in self.operators)

    @torch.no_grad()
    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Iterate to the nearest point.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` cycles were not enough, as when the sets do not meet.
        """
        y = x.to(torch.float64)
        size = _norm(y)
        taken = [torch.zeros_like(y) for _ in self.operators]
        for _ in range(self.max_iter):
            squared = 0.0
            for k, operator in enumerate(self.operators):
                before = y + taken[k]
                y = operator(before, step)
                squared += _norm(before - y - taken[k]) ** 2
                taken[k] = before - y
            # by what the members take away and not by y, which may rest for a while
            change = squared**0.5
            if not change > self.tol * max(size, _norm(y)):
                break
        else:
            warnings.warn(
                f"{self!r} still changes by {change:.1e} after {self.max_iter} cycles, expected {self.tol:g} of the norm {size:.1e}: "
                "do the sets meet? Otherwise raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return y.to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """Sum of the members' penalties."""
        return torch.stack([operator.penalty(x) for operator in self.operators]).sum()

    def __repr__(self) -> str:
        return f"Dykstra({', '.join(map(repr, self.operators))}, max_iter={self.max_iter}, tol={self.tol})"


def _norm(x: Tensor) -> float:
    """Euclidean norm; what is NaN stays so and has no say in when the others have converged."""
    return float(x.square().nansum().sqrt())
