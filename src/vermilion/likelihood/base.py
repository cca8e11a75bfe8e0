"""The contract of a likelihood."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod

from torch import Tensor

__all__ = ["Likelihood"]


class Likelihood(ABC):
    """Score of a prediction m against data y: a negative log-likelihood up to a constant, a sum over entries.

    Attributes
    ----------
    majorizes : bool
        `curvature` c bounds the loss from any prediction on: ``l(m + d) <= l(m) + <l'(m), d> + 1/2 sum c d^2`` for all d.
        Otherwise it is the second derivative at `prediction`, and true only near it.
    """

    majorizes: bool = True

    @abstractmethod
    def __call__(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Score a prediction.

        Parameters
        ----------
        prediction, data, weights : Tensor, equal shapes
            Weights >= 0. Where they are 0 data and prediction may be NaN: neither the value nor the gradient sees them.

        Returns
        -------
        Tensor
            Scalar.
        """

    @abstractmethod
    def curvature(self, prediction: Tensor, data: Tensor, weights: Tensor) -> Tensor:
        """Bound or value of the second derivative with respect to each entry of the prediction, see `majorizes`.

        Returns
        -------
        Tensor
            Shape of `prediction`, >= 0, 0 where the weight is 0.
        """

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in inspect.signature(type(self)).parameters)
        return f"{type(self).__name__}({arguments})"
