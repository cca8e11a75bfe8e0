"""Shrinkage by squares, alone and with sparsity."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Prox, check_weight, scaled

__all__ = ["ElasticNet", "SquaredL2"]


class SquaredL2(Prox):
    """Ridge: ``g(x) = weight sum x^2 / 2``, the operator is ``x / (1 + weight step)``.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        Broadcastable to `x`.

    Raises
    ------
    ParameterError
        If a weight is negative or not finite.

    References
    ----------
    Parikh & Boyd 2014, section 6.1.

    Examples
    --------
    >>> SquaredL2(2.0)(torch.tensor([4.0, -2.0]), 0.5)
    tensor([ 2., -1.])
    """

    def __init__(self, weight: float | Tensor) -> None:
        self.weight = check_weight(weight)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Shrink every entry by the same factor."""
        return x / (1 + scaled(self.weight, step, x))

    def penalty(self, x: Tensor) -> Tensor:
        """Half the weight times the sum of squares."""
        return (scaled(self.weight, 0.5, x, torch.float64) * x.to(torch.float64).square()).sum()


class ElasticNet(Prox):
    """Sparsity and ridge: ``g(x) = l1 sum |x| + l2 sum x^2 / 2``.

    The operator is ``sign(x) max(|x| - l1 step, 0) / (1 + l2 step)``.

    Parameters
    ----------
    l1, l2 : float or Tensor, >= 0
        Broadcastable to `x`.

    Raises
    ------
    ParameterError
        If a weight is negative or not finite.

    References
    ----------
    Zou & Hastie 2005, JRSS B 67, 301; Parikh & Boyd 2014, section 6.5.

    Examples
    --------
    >>> ElasticNet(1.0, 2.0)(torch.tensor([-5.0, 0.5, 3.0]), 0.5)
    tensor([-2.2500,  0.0000,  1.2500])
    """

    def __init__(self, l1: float | Tensor, l2: float | Tensor) -> None:
        self.l1 = check_weight(l1, "l1")
        self.l2 = check_weight(l2, "l2")

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Shrink towards zero by a number, then by a factor."""
        shrunk = (x.abs() - scaled(self.l1, step, x)).clamp(min=0)
        return x.sign() * shrunk / (1 + scaled(self.l2, step, x))

    def penalty(self, x: Tensor) -> Tensor:
        """Sum of both penalties."""
        x = x.to(torch.float64)
        return (scaled(self.l1, 1.0, x) * x.abs() + scaled(self.l2, 0.5, x) * x.square()).sum()
