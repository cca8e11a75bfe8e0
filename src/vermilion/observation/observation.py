"""Data and weights on a device, and how a model cube becomes a prediction of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..datamodels import Matrix
from ..errors import NoDataError, ParameterError, ShapeError

__all__ = ["Observation", "as_observations", "identity"]


def identity(model: Tensor) -> Tensor:
    """The model cube itself: an instrument that changes nothing."""
    return model


@dataclass(frozen=True, eq=False)
class Observation:
    """What a telescope recorded.

    Parameters
    ----------
    data : Tensor, shape (B, N) or (B, *pixels)
        May be NaN where the weight is 0.
    weights : Tensor, shape of `data`
        Inverse variances, finite and >= 0; 0 means absent.
    render : callable
        Model cube to prediction, shaped like `data`.

    Raises
    ------
    ShapeError
        If data and weights differ in shape.
    ParameterError
        If a weight is negative or not finite.
    NoDataError
        If no weight is positive, or a datum with weight is not finite.
    """

    data: Tensor
    weights: Tensor
    render: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        if self.data.shape != self.weights.shape:
            raise ShapeError(f"weights has shape {tuple(self.weights.shape)}, data has {tuple(self.data.shape)}: expected equal shapes.")
        if not bool((torch.isfinite(self.weights) & (self.weights >= 0)).all()):
            raise ParameterError("weights has negative or non-finite entries: expected inverse variances >= 0, 0 where data are absent.")
        present = self.weights > 0
        if not bool(present.any()):
            raise NoDataError("every weight is 0: nothing is left to fit.")
        if not bool(torch.isfinite(self.data)[present].all()):
            raise NoDataError("data has non-finite entries with positive weight: set their weight to 0.")

    @classmethod
    def from_matrix(
        cls,
        matrix: Matrix,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        render: Callable[[Tensor], Tensor] = identity,
    ) -> Observation:
        """The data and weights of a `Matrix` as tensors."""
        data, weights = (torch.as_tensor(values, dtype=dtype, device=device) for values in (matrix.data, matrix.weights))
        return cls(data, weights, render)

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Observation:
        """The same observation in another dtype or on another device."""
        data, weights = (values.to(device=device, dtype=dtype) for values in (self.data, self.weights))
        return Observation(data, weights, self.render)


def as_observations(observations: Any, *, like: Tensor) -> list[Observation]:
    """Anything that `fit` takes, as a list of observations in the dtype and on the device of `like`.

    Y alone gets weight 1, and 0 where it is not finite.

    Raises
    ------
    ShapeError, ParameterError, NoDataError
        As `Observation`.
    """
    items = observations if isinstance(observations, list) else [observations]
    if not items:
        raise NoDataError("the list of observations is empty.")
    return [_as_observation(item, like) for item in items]


def _as_observation(item: Any, like: Tensor) -> Observation:
    if isinstance(item, Observation):
        return item.to(dtype=like.dtype, device=like.device)
    if isinstance(item, Matrix):
        return Observation.from_matrix(item, dtype=like.dtype, device=like.device)
    if isinstance(item, tuple) and len(item) != 2:
        raise ParameterError(f"observations is a tuple of {len(item)}: expected (Y, W); several observations belong into a list.")
    Y, W = item if isinstance(item, tuple) else (item, None)
    data = torch.as_tensor(Y, dtype=like.dtype, device=like.device)
    weights = torch.isfinite(data).to(data.dtype) if W is None else torch.as_tensor(W, dtype=like.dtype, device=like.device)
    return Observation(data, weights)
