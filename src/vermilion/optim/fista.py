"""Accelerated proximal gradients for convex problems, restarted where the acceleration overshoots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..prox.base import Prox
from .base import Closure, ProximalOptimizer
from .pgm import by_rule
from .steps import Move, StepRule, measure

__all__ = ["FISTA"]

_MAX_TRIALS = 40


class FISTA(ProximalOptimizer):
    """Fast iterative shrinkage-thresholding with adaptive restart, for one convex block.

    ``y = x + (t - 1) / t_next (x - x_before)``, ``x <- prox(y - step grad f(y), step)``; all parameter groups move together.
    The acceleration starts again where ``sum <y - x_new, x_new - x> / step > 0``. A step that makes the whole objective rise is taken
    back, and the next starts without acceleration, so that the objective never rises, up to rounding. Parameters are
    feasible after each step.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        As in torch; groups may carry their own options and a key "prox", which wins.
    prox : Prox, callable, None, or list of them
        One for all groups, or a list with one per group.
    lr : float, >= 0, optional
        The step, or, with an explicit `step_rule`, a factor for it. None means the rule with factor 1.
    step_rule : "auto", function or StepRule
        "auto" searches the steps (`Backtracking`) if no `lr` is given.

    Raises
    ------
    ParameterError
        If a number is out of range, or the operators do not fit the groups.

    References
    ----------
    Beck & Teboulle 2009, SIAM J. Imaging Sci. 2, 183; O'Donoghue & Candès 2015, Found. Comput. Math. 15, 715 (restart).

    Examples
    --------
    >>> x = torch.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = FISTA([x], torch.nn.Threshold(0, 0))
    >>> for _ in range(30):
    ...     loss = optimizer.step(lambda: (optimizer.zero_grad(), (l := ((x - 0.5) ** 2).sum()).backward(), l)[-1])
    >>> x
    tensor([0.5000, 0.5000], requires_grad=True)
    """

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
        """Make one step; one evaluation of the closure ahead of the iterate, one at the result, more where steps are searched.

        Parameters
        ----------
        closure : callable
            Clears the gradients, computes loss and gradients, returns the loss.

        Returns
        -------
        Tensor
            Loss before the step, detached. If it is not finite, the parameters stay where they are.

        Raises
        ------
        TypeError
            Without a closure.
        """
        closure = self._require(closure)
        parameters = [p for group in self.param_groups for p in group["params"]]
        pace = self.state[parameters[0]].setdefault("pace", {"t": 1.0, "loss": math.nan, "safety": 1.0})
        here = [p.detach().clone() for p in parameters]
        penalty = float(self.penalty())
        fresh = not self._go_ahead(parameters)
        first = self._evaluate(closure)
        if fresh:
            pace["loss"] = float(first)
        before = pace["loss"]
        after, sizes = self._advance(closure, first, pace["safety"]) if torch.isfinite(first) else (first, {})
        slack = 4 * torch.finfo(parameters[0].dtype).eps * abs(before + penalty) if math.isfinite(penalty) else 0.0
        if torch.isfinite(after) and float(after) + float(self.penalty()) <= before + penalty + slack:
            pace["loss"] = float(after)
            pace["safety"] = min(1.0, 1.1 * pace["safety"])
            self._accelerate(here, pace, sizes)
        else:
            self._take_back(parameters, here, pace, shorten=fresh and bool(torch.isfinite(first)))
        return first.new_tensor(before)

    def _go_ahead(self, parameters: list[Tensor]) -> bool:
        """Move to the accelerated point; False if there is none."""
        known = all("lead" in self.state[p] for p in parameters)
        for p in parameters:
            if known:
                p.add_(self.state[p]["lead"])
            self.state[p]["ahead"] = p.detach().clone()
        return known

    def _advance(self, closure: Closure, loss: Tensor, safety: float) -> tuple[Tensor, dict[int, float]]:
        """Prox-gradient step of all parameters from where they stand; return the loss that it leads to, and the steps."""
        self._report(together=True)
        moves = [move for group in self.param_groups for move in self._moves_of(group)]
        ruled = [group for group in self.param_groups if isinstance(group["step_rule"], StepRule)]
        for group in ruled:
            group["step_rule"].prepare(self._block(group, [move for move in moves if move.group is group], closure))
        searching = [group for group in ruled if group["step_rule"].searches]
        for _ in range(_MAX_TRIALS):
            sizes = self._go(moves, safety)
            after = self._evaluate(closure, searching)
            trial = measure(moves, sizes, loss, after) if searching else None
            # every rule must see the trial, so no short circuit
            verdicts = [trial is None or rule.accepts(groups, trial) for rule, groups in by_rule(searching)]
            if all(verdicts):
                break
        if not searching:
            self._mark(moves)
        return after, sizes

    def _go(self, moves: list[Move], safety: float) -> dict[int, float]:
        """Move all parameters; return the steps by id of the group."""
        sizes = {id(group): safety * self._step_size(group) / self._together(group) for group in self.param_groups}
        for group, parameter, start, gradient, _ in moves:
            size = sizes[id(group)]
            parameter.copy_(group["prox"](torch.add(start, gradient, alpha=-size), size))
        return sizes

    def _accelerate(self, here: list[Tensor], pace: dict[str, float], sizes: dict[int, float]) -> None:
        """Set how far ahead of the new point the next step starts."""
        owned = [(group, p) for group in self.param_groups for p in group["params"]]
        uphill = 0.0
        for (group, p), x in zip(owned, here, strict=True):
            ahead, size = self.state[p].pop("ahead"), sizes[id(group)]
            uphill += float(((ahead - p) * (p - x)).sum(dtype=torch.float64)) / size if size > 0 else 0.0
        t = 1.0 if uphill > 0 else pace["t"]
        pace["t"] = (1 + math.sqrt(1 + 4 * t * t)) / 2
        for (_, p), x in zip(owned, here, strict=True):
            self.state[p]["lead"] = (t - 1) / pace["t"] * (p - x)

    def _take_back(self, parameters: list[Tensor], here: list[Tensor], pace: dict[str, float], *, shorten: bool) -> None:
        """Return to the iterate and start again; `shorten` the steps where there was no acceleration to blame."""
        pace["t"] = 1.0
        pace["safety"] *= 0.5 if shorten else 1.0
        self._forget()
        for p, x in zip(parameters, here, strict=True):
            p.copy_(x)
            self.state[p].pop("lead", None)
            self.state[p].pop("ahead", None)
