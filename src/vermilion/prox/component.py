"""An operator for each component."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .base import Prox, as_prox, axis_name, joint_coupling

__all__ = ["PerComponent"]


class PerComponent(Prox):
    """Operators applied component by component: ``g(x) = sum_k g_k(x_k)``.

    Each gets its component as an array of the same number of dimensions, (B, 1) or (1, N), so that operators along an
    axis mean the same as for the whole.

    Parameters
    ----------
    operators : iterable of Prox, callable or None
        One for each component, in order.
    dim : int
        0 for morphologies (K, N), 1 for spectra (B, K).

    Raises
    ------
    ParameterError
        If there is no operator.

    References
    ----------
    Combettes & Pesquet 2011, table 10.1 (separable sums).

    Examples
    --------
    >>> from vermilion.prox import NonNegative
    >>> PerComponent([NonNegative(), None], dim=0)(torch.tensor([[-1.0, 2.0], [-1.0, 2.0]]), 1.0)
    tensor([[ 0.,  2.],
            [-1.,  2.]])
    """

    def __init__(self, operators: Iterable[Any], dim: int = 0) -> None:
        self.operators = tuple(map(as_prox, operators))
        if not self.operators:
            raise ParameterError("operators is empty: expected one operator for each component.")
        self.dim = dim
        self.exact, self.convex, self.cone, self.projection = (
            all(getattr(operator, name) for operator in self.operators) for name in ("exact", "convex", "cone", "projection")
        )
        # what happens to an entry depends on its component, so that these may not be torn apart
        ranges = {axis_name(dim), joint_coupling(self.operators)} - {"element"}
        self.couples = ranges.pop() if len(ranges) == 1 else "image"

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Apply each operator to its component.

        Raises
        ------
        ShapeError
            If there are not as many components as operators.
        """
        components = self._components(x)
        if isinstance(step, Tensor) and step.ndim > 0:
            steps: list[float | Tensor] = [*step.broadcast_to(x.shape).split(1, self.dim)]
        else:
            steps = [step] * len(components)
        applied = [operator(component, t) for operator, component, t in zip(self.operators, components, steps, strict=True)]
        return torch.cat(applied, self.dim)

    def penalty(self, x: Tensor) -> Tensor:
        """Sum of the components' penalties."""
        return torch.stack([operator.penalty(c) for operator, c in zip(self.operators, self._components(x), strict=True)]).sum()

    def _components(self, x: Tensor) -> tuple[Tensor, ...]:
        n = len(self.operators)
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != n:
            raise ShapeError(f"x has shape {tuple(x.shape)}: expected {n} components along dimension {self.dim}, one for each operator.")
        return x.split(1, self.dim)
