"""Gaussian noise with known inverse variances."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Likelihood

__all__ = ["Gaussian"]


class Gaussian(Likelihood):
    """Negative log-likelihood of Gaussian noise, up to a constant: ``1/2 sum w (y - m)^2``.

    Examples
    --------
    >>> Gaussian()(torch.tensor([1.0, 2.0]), torch.tensor([3.0, float("nan")]), torch.tensor([0.5, 0.0]))
    tensor(1.)
    """

    def __call__(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Score a prediction.

        Parameters
        ----------
        prediction, data, weights : Tensor, equal shapes
            `weights` are inverse variances >= 0. Where they are 0 data and prediction may be NaN: neither the value nor
            the gradient sees them.

        Returns
        -------
        Tensor
            Scalar.
        """
        residual = torch.where(weights > 0, prediction - data, 0)
        return 0.5 * (weights * residual * residual).sum()

    def curvature(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Second derivative with respect to the prediction: the weights, exactly and everywhere."""
        return weights
