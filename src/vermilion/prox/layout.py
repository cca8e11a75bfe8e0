"""Where the images or lines lie in a tensor: what the operators on images share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .base import scaled

__all__ = ["Layout", "nan_where_not_finite"]


@dataclass(frozen=True)
class Layout:
    """Images of a given shape, the last two dimensions, or lines along one dimension.

    Parameters
    ----------
    shape : (int, int), optional
        (Ny, Nx) of the images that the last dimension unfolds into, as in morphologies (K, N). Tensors (..., Ny, Nx)
        of that shape are taken as they are. By default the last two dimensions are the image, whatever their size.
    dim : int, optional
        Dimension of the lines, in place of images.

    Raises
    ------
    ParameterError
        If both are given, or `shape` is not two positive integers.
    """

    shape: tuple[int, int] | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        if self.shape is None:
            return
        if self.dim is not None:
            raise ParameterError(f"shape is {self.shape} and dim is {self.dim}: expected shape for images or dim for lines, not both.")
        if len(self.shape) != 2 or not all(isinstance(n, int) and n > 0 for n in self.shape):
            raise ParameterError(f"shape is {self.shape}: expected (Ny, Nx), two integers > 0.")

    @property
    def couples(self) -> str:
        """Which entries belong together, in the words of `Prox`."""
        if self.dim in (0, -2):
            return "component axis"
        return "pixel axis" if self.shape is not None or self.dim in (1, -1) else "image"

    def axes(self, x: Tensor) -> tuple[int, ...]:
        """Dimensions of `x` that one image or line covers.

        Raises
        ------
        ShapeError
            If `x` holds no such image or line.
        """
        if self.dim is not None:
            if not -x.ndim <= self.dim < x.ndim:
                raise ShapeError(f"x has shape {tuple(x.shape)}: expected a dimension {self.dim} for the lines.")
            return (self.dim % x.ndim,)
        if self.shape is not None and x.ndim >= 1 and x.shape[-1] == self.shape[0] * self.shape[1]:
            return (x.ndim - 1,)
        if x.ndim < 2 or self.shape not in (None, tuple(x.shape[-2:])):
            expected = (
                "(..., Ny, Nx)"
                if self.shape is None
                else f"(..., {self.shape[0] * self.shape[1]}) or (..., {self.shape[0]}, {self.shape[1]})"
            )
            raise ShapeError(f"x has shape {tuple(x.shape)}: expected {expected}; pass shape=(Ny, Nx) for rows of pixels.")
        return (x.ndim - 2, x.ndim - 1)

    def unfold(self, x: Tensor) -> Tensor:
        """Images (M, Ny, Nx) or lines (M, N); a view where possible."""
        axes = self.axes(x)
        moved = x.movedim(axes, tuple(range(-len(axes), 0)))
        return moved.reshape(-1, *(self.shape or moved.shape[-len(axes) :]))

    def fold(self, y: Tensor, x: Tensor) -> Tensor:
        """The inverse of `unfold`, with shape and dtype of `x`."""
        axes = self.axes(x)
        last = tuple(range(-len(axes), 0))
        return y.to(x.dtype).reshape(x.movedim(axes, last).shape).movedim(last, axes)

    def strength(self, weight: float | Tensor, step: float | Tensor, x: Tensor) -> Tensor:
        """Weight times step in float64, one number per image: (M, 1, 1), or per line: (M, 1).

        Raises
        ------
        ShapeError
            If it differs between the pixels of an image.
        """
        axes = self.axes(x)
        sizes = [1 if d in axes else n for d, n in enumerate(x.shape)]
        product = scaled(weight, step, x, torch.float64)
        try:
            per_image = product.broadcast_to(sizes).reshape(-1)
        except RuntimeError:
            raise ShapeError(
                f"weight times step has shape {tuple(product.shape)} for x of shape {tuple(x.shape)}: "
                f"expected one number per image or line, broadcastable to {tuple(sizes)}."
            ) from None
        return per_image.view(-1, *[1] * (1 if self.dim is not None else 2))


def nan_where_not_finite(y: Tensor, images: Tensor) -> Tensor:
    """`y`, but NaN for every image (or line) that has an entry that is not finite."""
    usable = torch.isfinite(images).flatten(1).all(1)
    return torch.where(usable.view(-1, *[1] * (y.ndim - 1)), y, torch.nan)
