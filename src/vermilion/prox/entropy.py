"""Maximum entropy, absolute or relative to a default map."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Prox, check_weight, scaled

__all__ = ["MaxEntropy"]


class MaxEntropy(Prox):
    """Negative entropy as a penalty.

    ``g(x) = weight sum x ln x`` without a prior, ``g(x) = weight sum [x ln(x/m) - x + m]`` with the prior m; inf for
    x < 0. The operator solves ``y + c (1 + ln y) = x`` or ``y + c ln(y/m) = x`` with c = weight step.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        Strength, broadcastable to `x`. Without a prior its effect depends on the unit of `x`, with one it does not if
        the prior has the unit of `x`.
    prior : float or Tensor, > 0, optional
        Default map m, broadcastable to `x`, in the unit of `x`.

    Raises
    ------
    ParameterError
        If a weight is negative, a prior is not positive, or one of them is not finite.

    References
    ----------
    Skilling & Bryan 1984, MNRAS 211, 111 (relative entropy); Combettes & Pesquet 2011, table 10.2 (absolute).

    Examples
    --------
    >>> MaxEntropy(1.0, prior=2.0)(torch.tensor([2.0]), 1.0)  # a map equal to the prior stays
    tensor([2.])
    """

    def __init__(self, weight: float | Tensor, prior: float | Tensor | None = None) -> None:
        self.weight = check_weight(weight)
        if prior is not None:
            values = torch.as_tensor(prior).detach()
            if not bool((torch.isfinite(values) & (values > 0)).all()):
                raise ParameterError(f"prior is {prior}: expected finite numbers > 0, in the unit of the data.")
        self.prior = prior

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Solve for y entry by entry, by Newton's method."""
        # float64: exp(x/c) spans more than float32 can hold
        strength = scaled(self.weight, step, x, torch.float64)
        x64 = x.to(torch.float64)
        ratio = x64 / strength
        logarithm = strength.log()
        # with u = y/c both equations read u + ln u = z
        z = ratio - logarithm + (-1.0 if self.prior is None else scaled(self.prior, 1.0, x, torch.float64).log())
        y = (_log_wright_omega(z) + logarithm).exp()
        # where c is negligible ln y no longer matters and rounding would: y = x, and max(x, 0) for c = 0
        y = torch.where(ratio > 1e15, x64, y)
        return torch.where(strength > 0, y, x64.clamp(min=0)).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """g(x); inf if an entry is negative."""
        x = x.to(torch.float64)
        if bool((x < 0).any()):
            return torch.tensor(torch.inf, dtype=torch.float64, device=x.device)
        if self.prior is None:
            values = torch.xlogy(x, x)
        else:
            prior = scaled(self.prior, 1.0, x)
            values = torch.xlogy(x, x / prior).sub_(x).add_(prior)
        return values.mul_(scaled(self.weight, 1.0, x)).sum()


def _log_wright_omega(z: Tensor) -> Tensor:
    """The root t of ``exp(t) + t = z``.

    Newton's method in t, where the function is convex: both starts lie right of the root, so that the steps fall
    monotonically and exp never overflows; 6 steps give float64 precision (the worst case is z = 1).
    """
    t = torch.where(z > 1, z.clamp(min=1).log(), z)
    for _ in range(6):
        power = t.exp()
        t = t - (power + (t - z)) / (power + 1)
    return t
