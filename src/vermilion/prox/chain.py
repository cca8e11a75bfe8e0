"""Several operators, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .balls import L1Ball, L2Ball
from .base import Identity, NonNegative, Prox, as_prox, joint_coupling
from .box import Box
from .group import GroupL21
from .hard import Hard, L0Ball
from .ridge import ElasticNet, SquaredL2
from .soft import Soft

__all__ = ["Chain"]

# g(x) depends on the absolute values only, and increases with each of them or stays
_GROWING = (ElasticNet, GroupL21, Hard, L0Ball, L1Ball, L2Ball, Soft, SquaredL2)


class Chain(Prox):
    """Operators applied in the order given.

    For g the sum of its members' g this is exact only in the cases that are proven: a single exact operator; an exact
    convex operator entry by entry, then `NonNegative` or a `Box` that it leaves possible (the minimum of a convex function
    of one variable, clipped to an interval, is its minimum there); `NonNegative`, then an operator whose g grows with each
    |x| and knows no signs: `Soft`, `Hard`, `SquaredL2`, `ElasticNet`, `GroupL21`, `L0Ball`, `L1Ball` or `L2Ball` (a negative
    entry must end as 0, and does so just as well if it starts there). Everything else is marked inexact; `Dykstra` is exact
    for all that is convex.

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
        self.couples = joint_coupling(members)

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
    if len(rest) > 2:
        return False
    first, last = rest
    if isinstance(first, NonNegative) and isinstance(last, _GROWING):
        return True
    return first.exact and first.convex and first.couples == "element" and isinstance(last, NonNegative | Box)
