"""Torch optimizers whose parameter groups carry a proximal operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..prox.base import as_prox
from .steps import Backtracking, Block, Change, Move, StepRule, change_of

__all__ = ["Closure", "ProximalOptimizer", "check_number"]

Closure = Callable[[], Tensor]


def check_number(name: str, value: Any, *, minimum: float = 0.0) -> float:
    """`value` as a finite float >= `minimum`.

    Raises
    ------
    TypeError
        If it is not a number.
    ParameterError
        If it is not finite or too small.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ParameterError(f"Tensor {name} must be 1-element, it has {value.numel()}.")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}: expected a number >= {minimum:g}.")
    number = float(value)
    if not math.isfinite(number) or number < minimum:
        raise ParameterError(f"{name} is {number:g}: expected a finite number >= {minimum:g}.")
    return number


class ProximalOptimizer(torch.optim.Optimizer):
    """Base of the optimizers: groups carry `prox`, `lr` and `step_rule`; callables stay out of the state_dict.

    Parameters
    ----------
    params : iterable of Tensor, of (str, Tensor) or of dict
        As in torch. The key "prox" in a group wins over the argument.
    prox : Prox, callable, None, or list of them
        One for all groups, or a list with one per group.
    defaults : dict
        Further options of a group; `lr` and `step_rule` among them.

    Attributes
    ----------
    gradient_evaluations : list of int
        One per group: gradients that served the group, for a move (rejected ones included) or to find its curvature.
    objective_evaluations : int
        Evaluations of the closure.

    Raises
    ------
    ParameterError
        If a list of operators does not fit the number of groups, or an option is out of range.
    """

    _callables: tuple[str, ...] = ("prox", "step_rule")
    _automatic: Callable[[], StepRule] = Backtracking

    def __init__(self, params: Iterable[Any], prox: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got a Tensor: pass [tensor]."
            )
        params = list(params)
        if isinstance(prox, list | tuple):
            params = self._distribute(params, prox)
            prox = None
        super().__init__(params, defaults | {"prox": as_prox(prox)})

    @staticmethod
    def _distribute(params: list[Any], proxes: list[Any] | tuple[Any, ...]) -> list[dict[str, Any]]:
        """Parameter groups, each with its operator."""
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        if len(proxes) != len(groups):
            raise ParameterError(
                f"prox has length {len(proxes)}, there are {len(groups)} parameter groups: expected one operator per group; "
                "pass a single operator for all, or put the key 'prox' into the groups."
            )
        return [{"prox": prox, **group} for prox, group in zip(proxes, groups, strict=True)]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as in torch, with its operator and step rule made ready."""
        if isinstance(param_group, dict):
            param_group = {**self.defaults, **param_group}
            param_group["prox"] = as_prox(param_group["prox"])
            self._settle_step(param_group)
            self._check_group(param_group)
            param_group |= {"gradient_evaluations": 0, "objective_evaluations": 0}
        super().add_param_group(param_group)

    @classmethod
    def _settle_step(cls, group: dict[str, Any]) -> None:
        """Make `lr` a float, and `step_rule` None (lr is the step), a function or a `StepRule`."""
        rule, lr = group["step_rule"], group["lr"]
        if isinstance(rule, str):
            if rule != "auto":
                raise ParameterError(f"step_rule is {rule!r}: expected 'auto', a StepRule or a function that returns a step.")
            # a number alone is the step itself
            rule = cls._automatic() if lr is None else None
        elif rule is None and lr is None:
            raise ParameterError("neither lr nor step_rule is given: pass lr as a number, or step_rule='auto'.")
        elif rule is not None and not isinstance(rule, StepRule) and not callable(rule):
            raise TypeError(f"step_rule is {rule!r}: expected 'auto', a StepRule or a function that returns a step.")
        group["step_rule"] = rule
        group["lr"] = 1.0 if lr is None else check_number("lr", lr)

    def _check_group(self, group: dict[str, Any]) -> None:
        """Check the options of an algorithm."""

    def state_dict(self) -> dict[str, Any]:
        """State as in torch, without callables: ``torch.load(..., weights_only=True)`` reads it."""
        state = super().state_dict()
        groups = [{key: value for key, value in group.items() if key not in self._callables} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; operators and step rules stay those of this optimizer."""
        live = [{key: group[key] for key in self._callables} for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, callables in zip(self.param_groups, live, strict=True):
            group.update(callables)

    @torch.no_grad()
    def penalty(self) -> Tensor:
        """Sum of g over all parameters, a float64 scalar."""
        values = [group["prox"].penalty(p.detach()) for group in self.param_groups for p in group["params"]]
        return sum(values[1:], values[0]) if values else torch.zeros((), dtype=torch.float64)

    def step_size(self, group: dict[str, Any]) -> float:
        """Step that a group would take from here; 0 if its rule does not know yet."""
        return self._step_size(group)

    def _step_size(self, group: dict[str, Any]) -> float:
        """Step of a group: `lr` times what its rule says."""
        rule = group["step_rule"]
        if rule is None:
            return group["lr"]
        return group["lr"] * (rule.size(group) if isinstance(rule, StepRule) else float(rule()))

    @property
    def gradient_evaluations(self) -> list[int]:
        """Gradients that served each group so far."""
        return [group.get("gradient_evaluations", 0) for group in self.param_groups]

    @property
    def objective_evaluations(self) -> int:
        """Evaluations of the closure so far."""
        return max(group.get("objective_evaluations", 0) for group in self.param_groups)

    def _evaluate(self, closure: Closure, groups: Sequence[dict[str, Any]] | None = None) -> Tensor:
        """Loss at the present parameters, detached; its gradient serves `groups`, all of them by default."""
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            group["objective_evaluations"] = group.get("objective_evaluations", 0) + 1
        self._count_gradient(self.param_groups if groups is None else groups)
        return loss.detach() if isinstance(loss, Tensor) else torch.as_tensor(loss)

    def _together(self, group: dict[str, Any]) -> int:
        """What to divide a step by if all blocks move at once: they may curve as many times more than each alone."""
        rule = group["step_rule"]
        return len(self.param_groups) if isinstance(rule, StepRule) and rule.blockwise else 1

    @staticmethod
    def _count_gradient(groups: Sequence[dict[str, Any]]) -> None:
        for group in groups:
            group["gradient_evaluations"] = group.get("gradient_evaluations", 0) + 1

    @torch.no_grad()
    def prox_gradient(self, point: Mapping[Tensor, Tensor], gradient: Mapping[Tensor, Tensor], step: Sequence[float]) -> list[float]:
        """Norm of the prox-gradient map ``|x - prox(x - t grad f)| / t`` of each group: 0 at a stationary point.

        Parameters
        ----------
        point, gradient : mapping from parameter to Tensor
            x and grad f.
        step : sequence of float, > 0
            t of each group.
        """
        norms = []
        for group, t in zip(self.param_groups, step, strict=True):
            square = 0.0
            for p in group["params"]:
                change = point[p] - group["prox"](torch.add(point[p], gradient[p], alpha=-t), t)
                square += float(change.to(torch.float64).square().sum())
            norms.append(math.sqrt(square) / t)
        return norms

    def _require(self, closure: Closure | None) -> Closure:
        """The closure, which this algorithm cannot do without."""
        if closure is None:
            name = type(self).__name__
            raise TypeError(f"{name}.step() without closure: expected step(closure), which clears the gradients and returns the loss.")
        return closure

    def _moves_of(self, group: dict[str, Any]) -> list[Move]:
        """Where the parameters of a group stand, and copies of their gradients, for moves straight downhill."""
        moves = []
        for p in group["params"]:
            if p.requires_grad:
                gradient = torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
                moves.append(Move(group, p, p.detach().clone(), gradient, gradient))
        return moves

    def _block(self, group: dict[str, Any], moves: Sequence[Move], closure: Closure) -> Block:
        """What a rule may ask about a group."""
        return Block(group, moves, lambda: self._evaluate(closure, ()), self.state)

    def _mark(self, moves: Sequence[Move]) -> None:
        """Keep where a block started, for the rules that learn from its next gradient."""
        for move in moves:
            self.state[move.parameter] |= {"origin": move.start, "origin_gradient": move.gradient}

    def _report(self, *, together: bool = False) -> None:
        """Tell the rules how the gradients changed since the blocks that are marked moved, and forget.

        Blocks that moved `together` cannot be told apart: each rule gets the change of all, in the metric of their steps.
        """
        changes = []
        for group in self.param_groups:
            states = [(p, self.state[p]) for p in group["params"] if "origin" in self.state.get(p, ())]
            moves = [Move(group, p, state.pop("origin"), g := state.pop("origin_gradient"), g) for p, state in states]
            if moves and isinstance(group["step_rule"], StepRule) and (change := change_of(moves)) is not None:
                changes.append((group, change, group["step_rule"].size(group)))
        if together:
            known = [(change, t) for _, change, t in changes if t > 0]
            length = sum(change.length / t for change, t in known)
            twist = sum(change.twist for change, _ in known)
            turn = sum(change.turn * t for change, t in known)
            changes = [(group, Change(length * t, twist, turn / t), t) for group, _, t in changes if t > 0]
        for group, change, _ in changes:
            group["step_rule"].observe(group, change)

    def _forget(self) -> None:
        """What was remembered no longer belongs to one block alone."""
        for state in self.state.values():
            state.pop("origin", None)
            state.pop("origin_gradient", None)
