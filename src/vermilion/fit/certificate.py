"""How far from stationary a fit ended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..models import Model
from ..optim import ProximalOptimizer

__all__ = ["Certificate"]

Values = dict[Tensor, Tensor]


class Certificate:
    """Norm of the prox-gradient map ``|x - prox(x - t grad f)| / t`` of every block, relative to the start.

    For optimizers without operators it is the norm of the gradient.

    Parameters
    ----------
    model : Model
        Names the parameters.
    optimizer : torch.optim.Optimizer
        A parameter group is a block. Its present step is t.
    """

    def __init__(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        self._names = {p: name for name, p in model.named_parameters()}
        self._optimizer = optimizer
        self._start: tuple[Values, Values] | None = None

    def begin(self) -> None:
        """Remember the present point, with the gradient that the parameters hold, as the start; the first time only."""
        if self._start is None:
            self._start = self._present()

    def relative(self) -> dict[str, float]:
        """Ratio for every block, named after its parameters, from the gradient that they hold; empty without a start."""
        if self._start is None:
            return {}
        groups = self._optimizer.param_groups
        steps = [self._step(group) for group in groups]
        begin, end = (self._norms(point, gradient, steps) for point, gradient in (self._start, self._present()))
        names = ["+".join(self._names.get(p, "?") for p in group["params"]) for group in groups]
        return {name: _ratio(now, before) for name, now, before in zip(names, end, begin, strict=True)}

    def _present(self) -> tuple[Values, Values]:
        owned = [p for group in self._optimizer.param_groups for p in group["params"]]
        gradients = {p: torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in owned}
        return {p: p.detach().clone() for p in owned}, gradients

    def _norms(self, point: Values, gradient: Values, steps: list[float]) -> list[float]:
        if isinstance(self._optimizer, ProximalOptimizer):
            return self._optimizer.prox_gradient(point, gradient, steps)
        return [_norm(gradient[p] for p in group["params"]) for group in self._optimizer.param_groups]

    def _step(self, group: dict[str, Any]) -> float:
        """Step of the optimizer, else one that moves the start by its own length."""
        step = self._optimizer.step_size(group) if isinstance(self._optimizer, ProximalOptimizer) else 0.0
        if (math.isfinite(step) and step > 0) or self._start is None:
            return step
        x, g = (_norm(values[p] for p in group["params"]) for values in self._start)
        return x / g if x > 0 and g > 0 and math.isfinite(x / g) else 1.0


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(t.to(torch.float64).square().sum()) for t in tensors))


def _ratio(now: float, before: float) -> float:
    """A block that began at 0 and is there still is stationary."""
    return now / before if before > 0 else (0.0 if now == 0 else math.inf)
