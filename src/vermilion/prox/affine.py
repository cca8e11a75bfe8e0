"""Entries of any sign with a fixed sum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, axis_name, indicator, tolerance

__all__ = ["AffineSum"]


class AffineSum(Prox):
    """Projection on entries of any sign that sum to `total` along `dim`, ``x - (sum(x) - total) / n``.

    Parameters
    ----------
    dim : int
        As for `Simplex`.
    total : float
        Same unit as `x`; any sign.

    Raises
    ------
    ParameterError
        If `total` is not finite.

    References
    ----------
    Parikh & Boyd 2014, section 6.2.

    Examples
    --------
    >>> AffineSum(0)(torch.tensor([3.0, 0.0, -1.0]), 1.0)
    tensor([ 2.6667, -0.3333, -1.3333])
    """

    projection = True

    def __init__(self, dim: int = 0, total: float = 1.0) -> None:
        if not math.isfinite(total):
            raise ParameterError(f"total is {total}: expected a finite number.")
        self.dim = dim
        self.total = total
        self.couples = axis_name(dim)
        self.cone = total == 0

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Add the same number to all entries; `step` has no effect."""
        if x.numel() == 0:
            return x.clone()
        # a common offset does not change the result, and the rounding of a huge one would hide the total
        z = x.to(torch.float64)
        z = z - z.amax(self.dim, keepdim=True)
        return (z - (z.sum(self.dim, keepdim=True) - self.total) / z.shape[self.dim]).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """0 if the sums are right up to rounding, else inf."""
        sums = x.sum(self.dim, dtype=torch.float64)
        magnitudes = x.abs().sum(self.dim, dtype=torch.float64).clamp(min=abs(self.total))
        return indicator(((sums - self.total).abs() <= tolerance(x.dtype) * magnitudes).all())
