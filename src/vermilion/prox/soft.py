"""Sparsity by soft thresholding."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Prox, check_weight, scaled

__all__ = ["Soft"]


class Soft(Prox):
    """Soft thresholding: ``g(x) = weight sum |x|``, the operator is ``sign(x) max(|x| - weight step, 0)``.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        Broadcastable to `x`.

    Raises
    ------
    ParameterError
        If a weight is negative or not finite.

    Examples
    --------
    >>> Soft(1.0)(torch.tensor([-3.0, 0.5, 3.0]), 0.5)
    tensor([-2.5000,  0.0000,  2.5000])
    """

    def __init__(self, weight: float | Tensor) -> None:
        self.weight = check_weight(weight)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Shrink every entry towards zero by weight times step."""
        threshold = scaled(self.weight, step, x)
        return x.sign() * (x.abs() - threshold).clamp(min=0)

    def penalty(self, x: Tensor) -> Tensor:
        """Weight times the sum of absolute values."""
        return (scaled(self.weight, 1.0, x, torch.float64) * x.abs().to(torch.float64)).sum()
