"""The proximal gradient method as a torch optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..prox.base import Prox
from .base import Closure, ProximalOptimizer, check_number
from .steps import Move, StepRule, measure

__all__ = ["PGM"]

_MAX_TRIALS = 40


class PGM(ProximalOptimizer):
    """Proximal gradient method: a gradient step, then the proximal operator.

    ``x <- prox(x - step d, step)`` for all parameters at once, with d the gradient, or its running average with momentum
    or Nesterov's form of it, exactly as in `torch.optim.SGD`. After `step` the parameters are feasible; the
    extrapolation lives in the state.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        As in torch; groups may carry their own options and a key "prox", which wins.
    prox : Prox, callable, None, or list of them
        One for all groups, or a list with one per group.
    lr : float, >= 0, optional
        The step, or, with an explicit `step_rule`, a factor for it. None means the rule with factor 1.
    momentum, dampening, nesterov
        As in `torch.optim.SGD`.
    step_rule : "auto", function or StepRule
        "auto" searches the steps if no `lr` is given (`Backtracking`; needs a closure). A function without arguments
        returns the step, as the groups of `Factorization.blocks` do.

    Raises
    ------
    ParameterError
        If a number is out of range, or the operators do not fit the groups.

    References
    ----------
    Parikh & Boyd 2014, Found. Trends Optim. 1, 127, section 4.2; Sutskever et al. 2013, ICML (momentum).

    Examples
    --------
    >>> x = torch.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = PGM([x], prox=torch.nn.Threshold(0, 0), lr=0.5)
    >>> loss = optimizer.step(lambda: (optimizer.zero_grad(), (l := ((x - 0.5) ** 2).sum()).backward(), l)[-1])
    >>> x
    tensor([0.5000, 0.5000], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        prox: Prox | Callable[..., Any] | list[Any] | tuple[Any, ...] | None = None,
        lr: float | None = None,
        momentum: float = 0,
        dampening: float = 0,
        nesterov: bool = False,
        *,
        step_rule: str | StepRule | Callable[[], float] = "auto",
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov, "step_rule": step_rule}
        super().__init__(params, prox, options)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_number("momentum", group["momentum"])
        check_number("dampening", group["dampening"], minimum=-float("inf"))
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ParameterError(
                f"nesterov with momentum {group['momentum']} and dampening {group['dampening']}: expected momentum > 0 and dampening 0."
            )

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """Make one step.

        Parameters
        ----------
        closure : callable, optional
            Clears the gradients, computes loss and gradients, returns the loss. Without it the gradients must be there;
            steps that are searched need it.

        Returns
        -------
        Tensor or None
            Loss before the step, detached.

        Raises
        ------
        TypeError
            If steps are to be searched and there is no closure.
        """
        ruled = [group for group in self.param_groups if isinstance(group["step_rule"], StepRule)]
        if ruled and closure is None:
            raise TypeError("PGM without lr searches its steps: call step(closure), or pass lr.")
        if closure is None:
            self._count_gradient(self.param_groups)
            self._go(self._moves(copy=False))
            return None
        loss = self._evaluate(closure)
        if not ruled:
            self._go(self._moves(copy=False))
        elif torch.isfinite(loss):
            self._go_by_rule(ruled, closure, loss)
        return loss

    def _go_by_rule(self, ruled: list[dict[str, Any]], closure: Closure, loss: Tensor) -> None:
        """Let the rules look, then move; search if one of them wants to."""
        self._report(together=True)
        moves = self._moves(copy=True)
        for group in ruled:
            block = self._block(group, [move for move in moves if move.group is group], closure)
            group["step_rule"].prepare(block)
        searching = [group for group in ruled if group["step_rule"].searches]
        if searching:
            self._search(searching, moves, closure, loss)
        else:
            self._go(moves)
            self._mark(moves)

    def _moves(self, *, copy: bool) -> list[Move]:
        """Where every parameter stands and is to go; `copy` what later evaluations would overwrite."""
        moves = []
        for group in self.param_groups:
            for p in group["params"]:
                if not p.requires_grad:
                    continue
                gradient = torch.zeros_like(p) if p.grad is None else p.grad.clone() if copy else p.grad
                moves.append(Move(group, p, p.clone() if copy else p, gradient, self._direction(group, p, gradient)))
        return moves

    def _direction(self, group: dict[str, Any], p: Tensor, gradient: Tensor) -> Tensor:
        """Gradient with momentum, in the conventions of torch's SGD."""
        momentum, dampening = group["momentum"], group["dampening"]
        if momentum == 0 or p.grad is None:
            return gradient
        buffer = self.state[p].get("momentum_buffer")
        if buffer is None:
            buffer = self.state[p]["momentum_buffer"] = gradient.detach().clone()
        else:
            buffer.mul_(momentum).add_(gradient, alpha=1 - dampening)
        return gradient.add(buffer, alpha=momentum) if group["nesterov"] else buffer

    def _go(self, moves: list[Move]) -> dict[int, float]:
        """Move all parameters; return the steps by id of the group."""
        # all steps before any move: a rule may look at the other parameters
        sizes = {id(group): self._step_size(group) / self._together(group) for group in self.param_groups}
        for group, parameter, start, _, direction in moves:
            size = sizes[id(group)]
            parameter.copy_(group["prox"](torch.add(start, direction, alpha=-size), size))
        return sizes

    def _search(self, searching: list[dict[str, Any]], moves: list[Move], closure: Closure, loss: Tensor) -> None:
        """Move, and try again as long as a rule says that the steps were too long."""
        before = float(loss) + float(self.penalty())
        for _ in range(_MAX_TRIALS):
            sizes = self._go(moves)
            after = self._evaluate(closure)
            trial = measure(moves, sizes, loss, after)
            # every rule must see the trial, so no short circuit
            verdicts = [rule.accepts(groups, trial) for rule, groups in by_rule(searching)]
            if not all(verdicts):
                continue
            climbed = float(after) + float(self.penalty()) > before
            if not climbed or all(move.direction is move.gradient for move in moves):
                return
            # with momentum the objective may rise although the steps are short enough: forget the momentum
            moves = [move._replace(direction=move.gradient) for move in moves]
            for move in moves:
                self.state[move.parameter].pop("momentum_buffer", None)


def by_rule(groups: list[dict[str, Any]]) -> list[tuple[StepRule, list[dict[str, Any]]]]:
    """Every rule with the groups that share it."""
    rules = {id(group["step_rule"]): group["step_rule"] for group in groups}
    return [(rule, [group for group in groups if group["step_rule"] is rule]) for rule in rules.values()]
