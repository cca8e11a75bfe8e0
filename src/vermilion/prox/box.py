"""Entries between two bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, near

__all__ = ["Box"]


class Box(Prox):
    """Projection on low <= x <= high, ``min(max(x, low), high)``.

    Parameters
    ----------
    low, high : float or Tensor
        Broadcastable to `x`, in its unit; -inf and inf leave a side open.

    Raises
    ------
    ParameterError
        If a bound is NaN, or no finite number lies between the two.

    References
    ----------
    Parikh & Boyd 2014, section 6.2.

    Examples
    --------
    >>> Box(0.0, 1.0)(torch.tensor([-1.0, 0.5, 2.0]), 1.0)
    tensor([0.0000, 0.5000, 1.0000])
    """

    projection = True

    def __init__(self, low: float | Tensor = -math.inf, high: float | Tensor = math.inf) -> None:
        lower, upper = torch.as_tensor(low).detach(), torch.as_tensor(high).detach()
        if not bool(((lower <= upper) & (lower < math.inf) & (upper > -math.inf)).all()):
            raise ParameterError(f"low is {low}, high is {high}: expected low <= high with a finite number between them.")
        self.low = low
        self.high = high
        self.cone = all(bool(((bound == 0) | torch.isinf(bound)).all()) for bound in (lower, upper))

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Clip every entry; `step` has no effect."""
        low, high = (torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (self.low, self.high))
        return torch.minimum(torch.maximum(x, low), high)

    def penalty(self, x: Tensor) -> Tensor:
        """0 between the bounds up to rounding, else inf."""
        return near(x, self(x, 1.0))
