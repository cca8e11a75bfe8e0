"""Sparsity by counting: few entries differ from zero."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, axis_name, check_weight, indicator, scaled

__all__ = ["Hard", "L0Ball"]


class Hard(Prox):
    """Hard thresholding: ``g(x) = weight |x|_0`` (the number of entries that are not zero).

    The operator keeps entries with ``x^2 > 2 weight step`` and clears the others; at equality both are minimizers, and
    the entry is cleared. g is not convex.

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
    Blumensath & Davies 2008, J. Fourier Anal. Appl. 14, 629.

    Examples
    --------
    >>> Hard(0.5)(torch.tensor([-3.0, 0.5, 1.5]), 1.0)
    tensor([-3.0000,  0.0000,  1.5000])
    """

    convex = False
    cone = True

    def __init__(self, weight: float | Tensor) -> None:
        self.weight = check_weight(weight)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Clear the entries up to sqrt(2 weight step)."""
        # not x^2 > ..., which overflows in float32 beyond 1e19 and vanishes below 1e-23
        threshold = (2 * scaled(self.weight, step, x, torch.float64)).sqrt()
        return torch.where(x.abs() <= threshold, 0.0, x)

    def penalty(self, x: Tensor) -> Tensor:
        """Weight times the number of entries that are not zero."""
        return (scaled(self.weight, 1.0, x, torch.float64) * (x != 0)).sum()


class L0Ball(Prox):
    """Projection on at most `n` entries that are not zero: the `n` largest in absolute value stay.

    Among equal ones those that come first stay; all such choices are equally near. The set is not convex.

    Parameters
    ----------
    n : int, >= 1
    dim : int, optional
        Count along this axis; over the whole array by default.

    Raises
    ------
    ParameterError
        If `n` is not a positive integer.

    References
    ----------
    Blumensath & Davies 2009, Appl. Comput. Harmon. Anal. 27, 265.

    Examples
    --------
    >>> L0Ball(1)(torch.tensor([1.0, -3.0, 2.0]), 1.0)
    tensor([ 0., -3.,  0.])
    """

    convex = False
    cone = True
    projection = True

    def __init__(self, n: int, dim: int | None = None) -> None:
        if not (isinstance(n, int) and n >= 1):
            raise ParameterError(f"n is {n}: expected an integer >= 1, the number of entries that may differ from zero.")
        self.n = n
        self.dim = dim
        self.couples = axis_name(dim)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Clear all but the largest entries; `step` has no effect."""
        z = x.reshape(-1) if self.dim is None else x.movedim(self.dim, -1)
        largest = z.abs().sort(dim=-1, descending=True, stable=True).indices[..., : self.n]
        kept = torch.zeros_like(z, dtype=torch.bool).scatter(-1, largest, True)
        y = torch.where(kept, z, 0.0)
        return y.reshape(x.shape) if self.dim is None else y.movedim(-1, self.dim)

    def penalty(self, x: Tensor) -> Tensor:
        """0 if no more than `n` entries differ from zero, else inf."""
        return indicator((torch.count_nonzero(x, dim=self.dim) <= self.n).all())
