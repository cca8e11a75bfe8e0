"""Renderers one after the other."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from ..errors import ShapeError
from .base import Renderer

__all__ = ["Sequence"]


class Sequence(Renderer):
    """The first renderer, then the next on its images, and so on.

    `bound` is the product of the bounds of the parts, which is at least the bound of the product.

    Raises
    ------
    ShapeError
        If there is no renderer, or the images of one are not the model of the next.
    """

    def __init__(self, *renderers: Renderer) -> None:
        if not renderers:
            raise ShapeError("a sequence has no renderer: expected at least one.")
        for first, second in pairwise(renderers):
            if first.data_shape != second.model_shape or first.n_bands != second.n_bands:
                raise ShapeError(
                    f"a renderer makes {first.n_bands} images of shape {first.data_shape}, the next one takes {second.n_bands} "
                    f"of shape {second.model_shape}: expected the same."
                )
        self.renderers = renderers
        self.n_bands = renderers[0].n_bands
        self.model_shape = renderers[0].model_shape
        self.data_shape = renderers[-1].data_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Images (..., B, Ny, Nx) of a model (..., B or 1, H, W)."""
        for renderer in self.renderers:
            x = renderer(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose of the map."""
        for renderer in reversed(self.renderers):
            y = renderer.adjoint(y)
        return y

    def bound(self, x: Tensor) -> Tensor:
        """The bounds of the renderers, one after the other."""
        for renderer in self.renderers:
            x = renderer.bound(x)
        return x

    def bound_adjoint(self, y: Tensor) -> Tensor:
        """Transpose of `bound`."""
        for renderer in reversed(self.renderers):
            y = renderer.bound_adjoint(y)
        return y
