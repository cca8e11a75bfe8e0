"""Entries that sum to a fixed total: the simplex, and the plain rescaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, axis_name, indicator, tolerance
from .kernels import compiled, shift_to_total

__all__ = ["Simplex", "UnitSum"]

_SHORT = 1 << 12  # entries; longer rows are summed pair by pair, as torch does it


class Simplex(Prox):
    """Projection on non-negative entries that sum to `total` along `dim`.

    Solves ``argmin_y |y - x|^2  s.t.  y >= 0, sum_dim(y) = total`` exactly, by Newton's method on its dual.

    Parameters
    ----------
    dim : int
        For spectra (B, K), 0 fixes the sum of each component over the bands; for morphologies (K, N), 0 makes the
        components of each pixel sum to `total`.
    total : float, > 0
        Same unit as `x`.

    Raises
    ------
    ParameterError
        If `total` is not positive and finite.

    References
    ----------
    Duchi et al. 2008, ICML, figure 1.

    Examples
    --------
    >>> Simplex(0)(torch.tensor([0.6, 0.8, -1.0]), 1.0)
    tensor([0.4000, 0.6000, 0.0000])
    """

    projection = True

    def __init__(self, dim: int = 0, total: float = 1.0) -> None:
        if not (math.isfinite(total) and total > 0):
            raise ParameterError(f"total is {total}: expected a finite number > 0.")
        self.dim = dim
        self.total = total
        self.couples = axis_name(dim)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Project; `step` has no effect."""
        if x.numel() == 0:
            return x.clone()
        # float64, shifted so that the largest entry is 0: the sum stays right for large entries and for millions of them
        z = x.to(torch.float64).movedim(self.dim, -1)
        followed = z.requires_grad and torch.is_grad_enabled()
        if not (z.is_cuda or followed) and z.shape[-1] <= _SHORT and (kernel := compiled(shift_to_total)) is not None:
            rows = z.detach().clone(memory_format=torch.contiguous_format)
            kernel(rows.view(-1, rows.shape[-1]).numpy(), float(self.total))
            return rows.movedim(-1, self.dim).to(x.dtype, memory_format=torch.contiguous_format)
        z = z - z.amax(-1, keepdim=True)
        y = (z - _threshold(z, self.total)).clamp(min=0)
        return y.movedim(-1, self.dim).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """0 on the simplex up to rounding, else inf."""
        sums = x.sum(self.dim, dtype=torch.float64)
        slack = self.total * tolerance(x.dtype)
        return indicator((x >= -slack).all() & ((sums - self.total).abs() <= slack).all())


def _threshold(z: Tensor, total: float) -> Tensor:
    """The t with ``sum max(z - t, 0) = total`` along the last axis, for z whose largest entry is 0; shape (..., 1).

    Newton's method on a convex, piecewise linear function: from the left it climbs to the root in a few steps, and stays once the entries
    above t are the same as before.
    """
    t = ((z.sum(-1, keepdim=True) - total) / z.shape[-1]).clamp(min=-total)
    for _ in range(z.shape[-1] + 1):
        above = z > t
        new = (torch.where(above, z, 0).sum(-1, keepdim=True) - total) / above.sum(-1, keepdim=True)
        climbs = new > t
        t = torch.where(climbs, new, t)
        if not bool(climbs.any()):
            break
    return t


class UnitSum(Prox):
    """Rescaling to unit sum along `dim`, x / sum(x): feasible, but not the nearest such point.

    Where the sum cannot be told from zero (it is below the square root of the machine precision times the sum of absolute
    values) or is not finite, every entry becomes 1 / n. Signs are not touched: chain it after `NonNegative`.

    Parameters
    ----------
    dim : int
    """

    exact = False
    projection = True

    def __init__(self, dim: int = 0) -> None:
        self.dim = dim
        self.couples = axis_name(dim)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Rescale; `step` has no effect."""
        total = x.sum(self.dim, keepdim=True)
        ratio = x / total
        usable = total.abs() > tolerance(x.dtype) * x.abs().sum(self.dim, keepdim=True)
        usable = usable & torch.isfinite(ratio).all(self.dim, keepdim=True)
        return torch.where(usable, ratio, 1 / max(x.shape[self.dim], 1))

    def penalty(self, x: Tensor) -> Tensor:
        """0 if the sums are 1 up to rounding, else inf."""
        sums = x.sum(self.dim, dtype=torch.float64)
        magnitudes = x.abs().sum(self.dim, dtype=torch.float64).clamp(min=1)
        return indicator(((sums - 1).abs() <= tolerance(x.dtype) * magnitudes).all())
