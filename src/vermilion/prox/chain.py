"""Several operators, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Identity, NonNegative, Prox, as_prox
from .soft import Soft

__all__ = ["Chain"]


class Chain(Prox):
    """Operators applied in the order given.

    For g the sum of its members' g this is exact only in the cases that are proven: a single exact operator; an exact
    convex operator entry by entry, then `NonNegative` (the minimum of a convex function of one variable, clipped to an
    interval, is its minimum there); `NonNegative`, then `Soft` (both orders agree). Everything else is marked inexact.

    Parameters
    ----------
    *operators : Prox or callable
        Chains among them are unfolded.

    Examples
    --------
    >>> from vermilion.prox import UnitSum
    >>> Chain(NonNegative(), UnitSum(0))(torch.tensor([-1.0, 1.0, 3.0]), 1.0)
    tensor([0.0000, 0.2500, 0.7500])
    """

    operators: tuple[Prox, ...]

    def __init__(self, *operators: Any) -> None:
        members: list[Prox] = []
        for operator in map(as_prox, operators):
            members.extend(operator.operators if isinstance(operator, Chain) else [operator])
        self.operators = tuple(members)
        self.exact = _is_exact(members)
        self.convex = all(operator.convex for operator in members)
        self.cone = all(operator.cone for operator in members)
        self.projection = all(operator.projection for operator in members)
        ranges = {operator.couples for operator in members} - {"element"}
        self.couples = ranges.pop() if len(ranges) == 1 else "image" if ranges else "element"

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Apply one operator after the other."""
        if not self.operators:
            return x.clone()
        for operator in self.operators:
            x = operator(x, step)
        return x

    def penalty(self, x: Tensor) -> Tensor:
        """Sum of the members' penalties."""
        return sum((operator.penalty(x) for operator in self.operators), torch.zeros((), dtype=torch.float64, device=x.device))

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.operators))})"


def _is_exact(operators: list[Prox]) -> bool:
    rest = [operator for operator in operators if not isinstance(operator, Identity)]
    if len(rest) <= 1:
        return all(operator.exact for operator in rest)
    if not all(operator.exact and operator.convex and operator.couples == "element" for operator in rest) or len(rest) > 2:
        return False
    first, last = rest
    return isinstance(last, NonNegative) or (isinstance(first, NonNegative) and isinstance(last, Soft))
