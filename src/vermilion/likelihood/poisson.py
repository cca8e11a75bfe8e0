"""Counts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Likelihood

__all__ = ["Poisson"]


class Poisson(Likelihood):
    """Negative log-likelihood of counts y: ``sum w (mu - y + y ln(y / mu))`` with ``mu = exposure m + background``.

    Half the deviance: it differs from -log L by what depends on y alone, and is 0 for mu = y. Below `floor` the logarithm
    goes on as its own parabola: a prediction that is zero or negative where something was counted gets a large finite loss
    and a gradient that leads back. Where y = 0 the loss is linear, down to mu = 0 and beyond.

    Parameters
    ----------
    background : float or Tensor, >= 0
        Expected counts that are not of the model; broadcastable to the data.
    exposure : float or Tensor, > 0
        Counts per unit of the prediction.
    floor : float, > 0
        Expected counts below which the logarithm is continued. Of 1000 counts one or so falls where less than 1e-3 was
        expected; smaller values change solutions no more, but gradient methods creep where a prediction vanishes.

    Raises
    ------
    ParameterError
        If a number is out of range; when scoring, if data with weight are negative.

    References
    ----------
    Cash 1979, ApJ 228, 939.

    Examples
    --------
    >>> Poisson()(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 0.0]), torch.ones(2))
    tensor(3.)
    """

    majorizes = False

    def __init__(self, background: float | Tensor = 0.0, exposure: float | Tensor = 1.0, floor: float = 1e-3) -> None:
        for name, value, least in (("background", background, 0.0), ("exposure", exposure, None), ("floor", floor, None)):
            values = torch.as_tensor(value).detach()
            inside = values > 0 if least is None else values >= least
            if not bool((torch.isfinite(values) & inside).all()):
                raise ParameterError(f"{name} is {value}: expected finite numbers {'>' if least is None else '>='} 0.")
        self.background = background
        self.exposure = exposure
        self.floor = floor

    def __call__(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Score a prediction; `data` are counts >= 0, `weights` multiply their terms: 1, or 0 where nothing was seen."""
        if bool(((data < 0) & (weights > 0)).any()):
            least = float(torch.where(weights > 0, data, torch.inf).min())
            raise ParameterError(f"data go down to {least:g}: Poisson expects counts >= 0; for background-subtracted data use Gaussian.")
        seen = weights > 0
        mu, y = self._expected(prediction, seen), torch.where(seen, data, 0)
        # one tensor of logarithms; where y = 0 its argument is 1, so that no 0 * inf arises in the gradient
        safe = torch.where(y > 0, mu, 1)
        excess = (safe / self.floor - 1).clamp(max=0)
        log = safe.clamp(min=self.floor).log() + excess - 0.5 * excess * excess
        terms = mu - y + torch.xlogy(y, y) - y * log
        return (torch.where(seen, weights, 0) * terms).sum()

    def curvature(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Second derivative at the prediction: ``w exposure^2 y / mu^2``.

        No bound: it grows without limit towards mu = 0, up to ``w exposure^2 y / floor^2``.
        """
        seen = weights > 0
        mu = self._expected(prediction, seen).clamp(min=self.floor)
        exposure = torch.as_tensor(self.exposure, dtype=mu.dtype, device=mu.device)
        return torch.where(seen, weights * data * (exposure / mu) ** 2, 0)

    def _expected(self, prediction: Tensor, seen: Tensor) -> Tensor:
        """Expected counts; 1 where nothing was seen."""
        return torch.where(seen, prediction * self.exposure + self.background, 1)
