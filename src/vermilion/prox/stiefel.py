"""Orthonormal columns."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ShapeError
from .base import Prox, indicator, tolerance

__all__ = ["Stiefel"]


class Stiefel(Prox):
    """Projection on the matrices with orthonormal columns, U'U = I.

    The nearest one to X = P D Q' (singular value decomposition) is the polar factor P Q'. The set is not convex: the
    nearest point is unique only where X has full rank.

    References
    ----------
    Higham 1989, in Applications of Matrix Theory, 1.

    Examples
    --------
    >>> Stiefel()(torch.tensor([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), 1.0)
    tensor([[1., 0.],
            [0., 1.],
            [0., 0.]])
    """

    convex = False
    couples = "image"
    projection = True

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Project the last two dimensions; NaN where an entry is not finite.

        Raises
        ------
        ShapeError
            If there are fewer rows than columns.
        """
        if x.ndim < 2 or x.shape[-2] < x.shape[-1]:
            raise ShapeError(f"x has shape {tuple(x.shape)}: orthonormal columns need (..., rows, columns) with rows >= columns.")
        if not bool(torch.isfinite(x).all()):
            return torch.full_like(x, torch.nan)
        left, _, right = torch.linalg.svd(x.to(torch.promote_types(x.dtype, torch.float32)), full_matrices=False)
        return (left @ right).to(x.dtype)

    def penalty(self, x: Tensor) -> Tensor:
        """0 if the columns are orthonormal up to rounding, else inf."""
        gram = x.mT @ x
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        return indicator(((gram - identity).abs() <= tolerance(x.dtype)).all())
