"""Rules that find step sizes where nobody knows them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Backtracking", "Move", "StepRule", "Trial", "curvature_along_gradient", "measure"]

_MAX_FACTOR = 1e12


class Move(NamedTuple):
    """One parameter: where it stands, its gradient there, and the direction it is to go against."""

    group: dict[str, Any]
    parameter: Tensor
    start: Tensor
    gradient: Tensor
    direction: Tensor


@dataclass(frozen=True)
class Trial:
    """What an attempted move x -> x + d revealed, summed over all parameters.

    Parameters
    ----------
    loss_before, loss_after : float
        Smooth part f at both ends.
    slope : float
        <grad f(x), d>
    twist : float
        <grad f(x + d) - grad f(x), d>
    length : float
        sum |d|^2 / step
    precision : float
        Machine precision of the parameters.
    """

    loss_before: float
    loss_after: float
    slope: float
    twist: float
    length: float
    precision: float

    @property
    def curvature(self) -> float:
        """Curvature of f along d in units of 1 / step; above 1 the step is too long to guarantee descent."""
        if not (math.isfinite(self.loss_after) and math.isfinite(self.twist)):
            return math.inf
        if self.length == 0:
            return 0.0
        excess = self.loss_after - self.loss_before - self.slope
        # a difference of losses that is all rounding says nothing; the gradients still do
        reliable = abs(excess) > 100 * self.precision * abs(self.loss_before)
        return (2 * excess if reliable else self.twist) / self.length


class StepRule(ABC):
    """Contract: a rule is asked for the step of a group, watches the move, and accepts it or wants it tried again.

    What it has to remember it writes as plain numbers into the parameter group, so that the optimizer's state_dict
    carries it. One rule may serve several groups.
    """

    @abstractmethod
    def start(self, group: dict[str, Any], curvature: float) -> None:
        """Begin, with the curvature |change of gradient| / |displacement| seen along the gradient of the group."""

    @abstractmethod
    def started(self, group: dict[str, Any]) -> bool:
        """Whether `start` was called for the group."""

    @abstractmethod
    def size(self, group: dict[str, Any]) -> float:
        """Step to try next, before the factor `lr`."""

    @abstractmethod
    def accepts(self, groups: Sequence[dict[str, Any]], trial: Trial) -> bool:
        """Judge a move of all `groups` and set their next steps."""


class Backtracking(StepRule):
    """Steps factor / L_g: L_g is the curvature of group g at the start, one factor for all groups is searched.

    A move is accepted if ``f(x + d) <= f(x) + <grad f, d> + sum |d|^2 / (2 step)``; then every convex prox lowers the
    whole objective. Otherwise the factor shrinks by what the violation suggests. After an accepted move it grows.

    Parameters
    ----------
    growth : float, >= 1

    References
    ----------
    Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183, section 4; the gradient form of the test where losses agree to
    rounding: Becker et al. 2011, Math. Prog. Comp. 3, 165, section 5.3.
    """

    def __init__(self, growth: float = 1.1) -> None:
        self.growth = growth

    def start(self, group: dict[str, Any], curvature: float) -> None:
        """Remember the curvature of the group."""
        group["curvature"] = curvature
        group["factor"] = 1.0

    def started(self, group: dict[str, Any]) -> bool:
        """Whether a curvature is known."""
        return "curvature" in group

    def size(self, group: dict[str, Any]) -> float:
        """Factor / curvature; 0 as long as no gradient was seen."""
        return group["factor"] / group["curvature"] if self.started(group) else 0.0

    def accepts(self, groups: Sequence[dict[str, Any]], trial: Trial) -> bool:
        """Compare the curvature along the move with 1 / step."""
        curvature = trial.curvature
        accepted = curvature <= 1
        # a move of length 0 teaches nothing; the bound keeps a flat loss from driving the factor to overflow
        growth = self.growth if trial.length > 0 else 1.0
        change = growth if accepted else max(0.1, min(0.5, 0.9 / curvature))
        for group in groups:
            if self.started(group):
                group["factor"] = min(group["factor"] * change, _MAX_FACTOR)
        return accepted

    def __repr__(self) -> str:
        return f"Backtracking(growth={self.growth})"


def measure(moves: Sequence[Move], sizes: dict[int, float], loss_before: Tensor, loss_after: Tensor) -> Trial:
    """What the parameters and their new gradients say about a move; `sizes` are steps by id of the group."""
    slope = twist = length = 0.0
    for group, parameter, start, gradient, _ in moves:
        displacement = (parameter - start).to(torch.float64)
        slope += float((gradient * displacement).sum())
        if parameter.grad is not None:
            twist += float(((parameter.grad - gradient) * displacement).sum())
        if sizes[id(group)] > 0:
            length += float((displacement * displacement).sum()) / sizes[id(group)]
    precision = max(torch.finfo(move.start.dtype).eps for move in moves)
    return Trial(float(loss_before), float(loss_after), slope, twist, length, precision)


def curvature_along_gradient(moves: Sequence[Move], evaluate: Callable[[], Tensor]) -> float:
    """Change of the gradient per displacement, by a finite difference along the gradient; parameters are put back.

    0 if the gradient vanishes. At least |gradient| / (10 |x|): no step shall move a group by more than ten times itself.
    """
    gradient = _norm([move.gradient for move in moves])
    if not (math.isfinite(gradient) and gradient > 0):
        return 0.0
    extent = _norm([move.start for move in moves]) or 1.0
    # 1 %: far above the rounding of float32 gradients, small against what a step will do
    probe = 0.01 * extent / gradient
    for move in moves:
        move.parameter.copy_(move.start - probe * move.gradient)
    evaluate()
    changes = [move.gradient if move.parameter.grad is None else move.parameter.grad - move.gradient for move in moves]
    change = _norm(changes) / (probe * gradient)
    for move in moves:
        move.parameter.copy_(move.start)
    return max(change, 0.1 * gradient / extent) if math.isfinite(change) else 1 / probe


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(t.to(torch.float64).square().sum()) for t in tensors))
