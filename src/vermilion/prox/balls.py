"""Points within a distance of zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, axis_name, indicator, tolerance
from .simplex import Simplex

__all__ = ["L1Ball", "L2Ball"]


class L1Ball(Prox):
    """Projection on ``sum |x| <= radius`` along `dim`.

    Outside, the absolute values are projected on the simplex with total `radius` and keep their signs.

    Parameters
    ----------
    radius : float, > 0
        Same unit as `x`.
    dim : int, optional
        One ball for each line along this axis; a single one for the whole array by default.

    Raises
    ------
    ParameterError
        If `radius` is not positive and finite.

    References
    ----------
    Duchi et al. 2008, ICML, section 4; Parikh & Boyd 2014, section 6.5.

    Examples
    --------
    >>> L1Ball(1.0)(torch.tensor([1.0, -0.5]), 1.0)
    tensor([ 0.7500, -0.2500])
    """

    projection = True

    def __init__(self, radius: float, dim: int | None = None) -> None:
        self.radius = _check_radius(radius)
        self.dim = dim
        self.couples = axis_name(dim)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Project; `step` has no effect."""
        z = x.to(torch.float64)
        sizes = z.abs().reshape(-1) if self.dim is None else z.abs()
        axis = 0 if self.dim is None else self.dim
        inside = sizes.sum(axis, keepdim=True) <= self.radius
        y = torch.where(inside, sizes, Simplex(axis, self.radius)(sizes, step))
        return (z.sign() * y.reshape(z.shape)).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """0 in the ball up to rounding, else inf."""
        return _within(x, 1, self.dim, self.radius)


class L2Ball(Prox):
    """Projection on ``sum x^2 <= radius^2`` along `dim`, ``x min(1, radius / |x|_2)``.

    Parameters
    ----------
    radius : float, > 0
        Same unit as `x`.
    dim : int, optional
        One ball for each line along this axis; a single one for the whole array by default.

    Raises
    ------
    ParameterError
        If `radius` is not positive and finite.

    References
    ----------
    Parikh & Boyd 2014, section 6.5.

    Examples
    --------
    >>> L2Ball(1.0)(torch.tensor([3.0, -4.0]), 1.0)
    tensor([ 0.6000, -0.8000])
    """

    projection = True

    def __init__(self, radius: float, dim: int | None = None) -> None:
        self.radius = _check_radius(radius)
        self.dim = dim
        self.couples = axis_name(dim)

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Project; `step` has no effect."""
        # float64: the squares of large and of tiny entries do not fit into float32
        z = x.to(torch.float64)
        length = torch.linalg.vector_norm(z, dim=self.dim, keepdim=True)
        return torch.where(length > self.radius, z * (self.radius / length), z).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """0 in the ball up to rounding, else inf."""
        return _within(x, 2, self.dim, self.radius)


def _check_radius(radius: float) -> float:
    if not (math.isfinite(radius) and radius > 0):
        raise ParameterError(f"radius is {radius}: expected a finite number > 0.")
    return radius


def _within(x: Tensor, order: int, dim: int | None, radius: float) -> Tensor:
    """0 where the norm of that order is at most `radius` up to rounding, else inf."""
    length = torch.linalg.vector_norm(x.to(torch.float64), order, dim=dim)
    return indicator((length <= radius * (1 + tolerance(x.dtype))).all())
