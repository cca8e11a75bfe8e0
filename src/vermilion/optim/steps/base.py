"""The contract of a step rule, and what an optimizer lets it see."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Block", "Change", "Move", "StepRule", "Trial", "change_of", "curvature_along_gradient", "measure", "norm"]


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
    turn : float
        sum step |grad f(x + d) - grad f(x)|^2
    """

    loss_before: float
    loss_after: float
    slope: float
    twist: float
    length: float
    precision: float
    turn: float = math.nan

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


class Change(NamedTuple):
    """How the gradient of one block changed while that block alone moved by d."""

    length: float
    """|d|^2"""
    twist: float
    """<change, d>"""
    turn: float
    """|change|^2"""

    @property
    def curvature(self) -> float:
        """|change| / |d|: at most the Lipschitz constant of the gradient."""
        return math.sqrt(self.turn / self.length)


@dataclass(frozen=True)
class Block:
    """One parameter group at the point that it is about to leave.

    Parameters
    ----------
    group : dict
    moves : sequence of Move
        Its parameters and their gradients.
    evaluate : callable
        Evaluates the closure at the present values of all parameters.
    state : mapping
        The optimizer's state of each parameter.
    """

    group: dict[str, Any]
    moves: Sequence[Move]
    evaluate: Callable[[], Tensor]
    state: Any

    @property
    def gradient(self) -> Tensor:
        """Gradients of all parameters, flat."""
        return flatten([move.gradient for move in self.moves])

    @property
    def extent(self) -> float:
        """|x|, 1 at the origin."""
        return norm([move.start for move in self.moves]) or 1.0

    def remember(self, name: str, vector: Tensor) -> None:
        """Keep a flat vector in the state of the parameters."""
        for move, part in zip(self.moves, self._split(vector), strict=True):
            self.state[move.parameter][name] = part.clone()

    def recall(self, name: str) -> Tensor:
        """The flat vector that was kept."""
        return flatten([self.state[move.parameter][name] for move in self.moves])

    def product(self, vector: Tensor, objective: Callable[[], Tensor] | None = None) -> Tensor:
        """Hessian of this block times `vector`; costs, and is counted as, one gradient evaluation.

        Exact by double backward if the `objective` is given; else a finite difference of gradients of the closure.
        NaN if the loss is not finite around the point.
        """
        return self._differences(vector) if objective is None else self._double_backward(vector, objective)

    def _double_backward(self, vector: Tensor, objective: Callable[[], Tensor]) -> Tensor:
        self._count()
        parameters = [move.parameter for move in self.moves]
        with torch.enable_grad():
            gradients = torch.autograd.grad(objective(), parameters, create_graph=True, materialize_grads=True)
            inner = (flatten(gradients) * vector).sum()
            # a loss that is linear in the block leaves no graph behind
            products = (
                torch.autograd.grad(inner, parameters, materialize_grads=True)
                if inner.requires_grad
                else [torch.zeros_like(p) for p in parameters]
            )
        return flatten(products)

    def _differences(self, vector: Tensor) -> Tensor:
        length = float(vector.norm())
        # 1 %: far above the rounding of float32 gradients, small against what a step will do
        probe = 0.01 * self.extent / length if length > 0 else 0.0
        # where the loss is not defined on one side, the other may serve, or a point nearby
        for h in (probe, -probe, 1e-3 * probe):
            for move, part in zip(self.moves, self._split(vector), strict=True):
                move.parameter.copy_(move.start + h * part)
            self._count()
            loss = self.evaluate()
            change = flatten([_gradient(move.parameter) for move in self.moves]) - self.gradient
            for move in self.moves:
                move.parameter.copy_(move.start)
            if h == 0 or (bool(torch.isfinite(loss)) and bool(torch.isfinite(change).all())):
                return change / h if h else torch.zeros_like(vector)
        return torch.full_like(vector, math.nan)

    def _count(self) -> None:
        self.group["gradient_evaluations"] = self.group.get("gradient_evaluations", 0) + 1

    def _split(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([move.start.numel() for move in self.moves])
        return [part.view_as(move.start) for part, move in zip(parts, self.moves, strict=True)]


class StepRule(ABC):
    """Contract: a rule looks at a block before it moves, says how far, and learns from what the move revealed.

    What it has to remember it writes as plain numbers into the parameter group, and tensors into the optimizer's state,
    so that the state_dict carries it. One rule may serve several groups.

    Attributes
    ----------
    searches : bool
        The rule wants every move tried: `accepts` is asked, and may have it made again.
    blockwise : bool
        The steps are meant for one block at a time, the others fixed.
    """

    searches: bool = False
    blockwise: bool = False

    def prepare(self, block: Block) -> None:
        """Look at the block; the first time, find its curvature along the gradient."""
        if not self.started(block.group):
            curvature = curvature_along_gradient(block)
            if curvature > 0:
                self.start(block.group, curvature)

    def start(self, group: dict[str, Any], curvature: float) -> None:
        """Begin, with a curvature |change of gradient| / |displacement| of the group."""
        group["curvature"] = curvature

    def started(self, group: dict[str, Any]) -> bool:
        """Whether `start` was called for the group."""
        return "curvature" in group

    @abstractmethod
    def size(self, group: dict[str, Any]) -> float:
        """Step to try next, before the factor `lr`; 0 as long as nothing is known."""

    def observe(self, group: dict[str, Any], change: Change) -> None:  # noqa: B027 (most rules have nothing to learn)
        """Learn from the last move of the group."""

    def accepts(self, groups: Sequence[dict[str, Any]], trial: Trial) -> bool:
        """Judge a move of all `groups`; if it is to be made again, set a shorter step."""
        return True


def measure(moves: Sequence[Move], sizes: dict[int, float], loss_before: Tensor, loss_after: Tensor) -> Trial:
    """What the parameters and their new gradients say about a move; `sizes` are steps by id of the group."""
    slope = twist = length = turn = 0.0
    for group, parameter, start, gradient, _ in moves:
        displacement = (parameter - start).to(torch.float64)
        slope += float((gradient * displacement).sum())
        if parameter.grad is not None:
            change = (parameter.grad - gradient).to(torch.float64)
            twist += float((change * displacement).sum())
            turn += float((change * change).sum()) * sizes[id(group)]
        if sizes[id(group)] > 0:
            length += float((displacement * displacement).sum()) / sizes[id(group)]
    precision = max(torch.finfo(move.start.dtype).eps for move in moves)
    return Trial(float(loss_before), float(loss_after), slope, twist, length, precision, turn)


def change_of(moves: Sequence[Move]) -> Change | None:
    """How the gradients of one block changed since its `moves` began; None if it hardly moved or a value is not finite."""
    length = twist = turn = extent = 0.0
    for _, parameter, start, gradient, _ in moves:
        displacement = (parameter - start).to(torch.float64)
        change = (_gradient(parameter) - gradient).to(torch.float64)
        length += float((displacement * displacement).sum())
        twist += float((change * displacement).sum())
        turn += float((change * change).sum())
        extent += float((start * start).sum())
    precision = max((torch.finfo(move.start.dtype).eps for move in moves), default=0.0)
    if not (math.isfinite(twist) and math.isfinite(turn)) or length <= (1e3 * precision) ** 2 * extent:
        return None
    return Change(length, twist, turn)


def curvature_along_gradient(block: Block) -> float:
    """Change of the gradient per displacement, by a finite difference along the gradient; parameters are put back.

    0 if the gradient vanishes. At least |gradient| / (10 |x|): no step shall move a group by more than ten times itself.
    """
    gradient = block.gradient
    length = float(gradient.norm())
    if not (math.isfinite(length) and length > 0):
        return 0.0
    curvature = float(block.product(gradient).norm()) / length
    floor = length / block.extent
    return max(curvature, 0.1 * floor) if math.isfinite(curvature) else 100 * floor


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All entries in one row."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def norm(tensors: Sequence[Tensor]) -> float:
    """Length of all tensors together."""
    return math.sqrt(sum(float(t.to(torch.float64).square().sum()) for t in tensors))


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
