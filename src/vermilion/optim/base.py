"""Torch optimizers whose parameter groups carry a proximal operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..prox.base import as_prox
from .steps import Backtracking, StepRule

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
    if isinstance(value, Tensor) and value.numel() == 1:
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

    Raises
    ------
    ParameterError
        If a list of operators does not fit the number of groups, or an option is out of range.
    """

    _callables = ("prox", "step_rule")

    def __init__(self, params: Iterable[Any], prox: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params is a Tensor: expected a list of tensors or of groups; pass [tensor].")
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
        super().add_param_group(param_group)

    @staticmethod
    def _settle_step(group: dict[str, Any]) -> None:
        """Make `lr` a float, and `step_rule` None (lr is the step), a function or a `StepRule`."""
        rule, lr = group["step_rule"], group["lr"]
        if isinstance(rule, str):
            if rule != "auto":
                raise ParameterError(f"step_rule is {rule!r}: expected 'auto', a StepRule or a function that returns a step.")
            # a number alone is the step itself
            rule = Backtracking() if lr is None else None
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

    def _step_size(self, group: dict[str, Any]) -> float:
        """Step of a group: `lr` times what its rule says."""
        rule = group["step_rule"]
        if rule is None:
            return group["lr"]
        return group["lr"] * (rule.size(group) if isinstance(rule, StepRule) else float(rule()))

    @staticmethod
    def _evaluate(closure: Closure) -> Tensor:
        with torch.enable_grad():
            loss = closure()
        return loss.detach() if isinstance(loss, Tensor) else torch.as_tensor(loss)
