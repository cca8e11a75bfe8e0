"""Proximal alternating linearized minimization: one block after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..prox.base import Prox
from .base import Closure, ProximalOptimizer
from .steps import Move, StepRule, TopCurvature, measure

__all__ = ["PALM"]

_MAX_TRIALS = 40


class PALM(ProximalOptimizer):
    """Block by block: a gradient step and the proximal operator, each with the gradient at the newest values of the others.

    A parameter group is a block. With steps up to 1 / L of the block, convex operators never let the objective rise.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        As in torch; one group per block, with its own options and a key "prox", which wins.
    prox : Prox, callable, None, or list of them
        One for all groups, or a list with one per group.
    lr : float, >= 0, optional
        The step, or, with an explicit `step_rule`, a factor for it. None means the rule with factor 1.
    step_rule : "auto", function or StepRule
        "auto" finds the curvature of each block (`TopCurvature`) if no `lr` is given. A function without arguments returns
        the step, as the groups of `Factorization.blocks` do.

    Raises
    ------
    ParameterError
        If a number is out of range, or the operators do not fit the groups.

    References
    ----------
    Bolte, Sabach & Teboulle 2014, Math. Program. 146, 459.

    Examples
    --------
    >>> x, y = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    >>> optimizer = PALM([{"params": x}, {"params": y}], torch.nn.Threshold(0, 0))
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (x * y - 4).square().sum() + (x - y).square().sum()
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(100):
    ...     loss = optimizer.step(closure)
    >>> float(loss) < 1e-6
    True
    """

    _automatic: Callable[[], StepRule] = TopCurvature

    def __init__(
        self,
        params: Iterable[Any],
        prox: Prox | Callable[..., Any] | list[Any] | tuple[Any, ...] | None = None,
        lr: float | None = None,
        *,
        step_rule: str | StepRule | Callable[[], float] = "auto",
    ) -> None:
        super().__init__(params, prox, {"lr": lr, "step_rule": step_rule})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Update every block once; one evaluation of the closure per block, more where a rule asks for it.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes loss and gradients, returns the loss.

        Returns
        -------
        Tensor
            Loss before the step, detached. If a loss is not finite, the parameters stay where they were.

        Raises
        ------
        TypeError
            Without a closure.
        """
        closure = self._require(closure)
        before = [(p, p.detach().clone()) for group in self.param_groups for p in group["params"]]
        losses = []
        for group in self.param_groups:
            losses.append(self._descend(group, closure)[0])
            if not torch.isfinite(losses[-1]):
                for p, value in before:
                    p.copy_(value)
                self._forget()
                if len(losses) > 1:
                    self._shorten()
                break
        return losses[0]

    def _descend(self, group: dict[str, Any], closure: Closure) -> tuple[Tensor, float]:
        """One prox-gradient step of one block from where it stands; return the loss there, and the step."""
        loss = self._evaluate(closure, [group])
        if not torch.isfinite(loss):
            return loss, 0.0
        self._report()
        moves, rule = self._moves_of(group), group["step_rule"]
        if not isinstance(rule, StepRule):
            return loss, self._move(group, moves)
        rule.prepare(self._block(group, moves, closure))
        for _ in range(_MAX_TRIALS):
            size = self._move(group, moves)
            if not rule.searches or rule.accepts([group], measure(moves, {id(group): size}, loss, self._evaluate(closure, [group]))):
                break
        if not rule.searches:
            self._mark(moves)
        return loss, size

    def _move(self, group: dict[str, Any], moves: list[Move]) -> float:
        """Move a block; return the step."""
        size = self._step_size(group)
        for _, parameter, start, gradient, _ in moves:
            parameter.copy_(group["prox"](torch.add(start, gradient, alpha=-size), size))
        return size

    def _step_size(self, group: dict[str, Any]) -> float:
        return group.get("safety", 1.0) * super()._step_size(group)

    def _shorten(self) -> None:
        """Halve all steps: those of the rules have proved too long."""
        for group in self.param_groups:
            group["safety"] = 0.5 * group.get("safety", 1.0)

    def _lengthen(self) -> None:
        """Return to the steps of the rules, slowly."""
        for group in self.param_groups:
            group["safety"] = min(1.0, 1.1 * group.get("safety", 1.0))
