"""Noise with heavy tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Likelihood

__all__ = ["StudentT"]


class StudentT(Likelihood):
    """Negative log-likelihood of Student's t: ``(nu + 1) / 2 sum ln(1 + w (y - m)^2 / (nu scale^2))``, up to a constant.

    Residuals far beyond the scale count with their logarithm: cosmic rays and glitches hardly pull. Not convex there.

    Parameters
    ----------
    nu : float, > 0
        Degrees of freedom; 1 is Cauchy's distribution, large values approach the Gaussian.
    scale : float, > 0
        Width in units of the standard deviation 1 / sqrt(w).

    Raises
    ------
    ParameterError
        If a number is out of range.

    References
    ----------
    Lange, Little & Taylor 1989, JASA 84, 881.

    Examples
    --------
    >>> StudentT(nu=1.0)(torch.tensor([0.0]), torch.tensor([1.0]), torch.ones(1))
    tensor(0.6931)
    """

    def __init__(self, nu: float = 4.0, scale: float = 1.0) -> None:
        for name, value in (("nu", nu), ("scale", scale)):
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"{name} is {value}: expected a finite number > 0.")
        self.nu = nu
        self.scale = scale

    def __call__(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Score a prediction; `weights` are inverse variances."""
        residual = torch.where(weights > 0, prediction - data, 0)
        deviation = residual * (torch.where(weights > 0, weights, 0) / self.nu).sqrt() / self.scale
        # its square must not overflow; the gradient out there is zero to working precision anyway
        limit = 0.5 * torch.finfo(deviation.dtype).max ** 0.5
        return 0.5 * (self.nu + 1) * torch.log1p(deviation.clamp(-limit, limit).square()).sum()

    def curvature(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Largest second derivative, taken at residual 0: ``w (nu + 1) / (nu scale^2)``; a bound everywhere."""
        return torch.where(weights > 0, weights, 0) * ((self.nu + 1) / (self.nu * self.scale**2))
