"""Entries that vanish together."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Prox, axis_name, check_weight, scaled

__all__ = ["GroupL21"]


class GroupL21(Prox):
    """Group sparsity: ``g(x) = weight sum_groups |x_group|_2``, a group being the entries along `dim`.

    The operator is ``x_group max(1 - weight step / |x_group|_2, 0)``: a group shrinks as a whole, and a faint one vanishes.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        Broadcastable to `x`; the same within a group, as the step must be.
    dim : int
        For morphologies (K, N), 0 makes few pixels carry anything, 1 makes few components be there at all.

    Raises
    ------
    ParameterError
        If a weight is negative or not finite.

    References
    ----------
    Yuan & Lin 2006, JRSS B 68, 49; Parikh & Boyd 2014, section 6.5.

    Examples
    --------
    >>> GroupL21(1.0, dim=1)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 2.0)
    tensor([[1.8000, 2.4000],
            [0.0000, 0.0000]])
    """

    def __init__(self, weight: float | Tensor, dim: int = 0) -> None:
        self.weight = check_weight(weight)
        self.dim = dim
        self.couples = axis_name(dim)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Shrink every group towards zero by weight times step."""
        # float64: the squares of large and of tiny entries do not fit into float32
        z = x.to(torch.float64)
        length = torch.linalg.vector_norm(z, dim=self.dim, keepdim=True)
        threshold = scaled(self.weight, step, x, torch.float64)
        return (z * torch.where(length > threshold, 1 - threshold / length, 0.0)).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """Weight times the sum of the lengths of the groups."""
        length = torch.linalg.vector_norm(x.to(torch.float64), dim=self.dim, keepdim=True)
        return (scaled(self.weight, 1.0, x, torch.float64) * length).sum()
