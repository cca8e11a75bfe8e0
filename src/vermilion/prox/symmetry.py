"""Images that look the same upside down."""

from __future__ import annotations

import math

from torch import Tensor

from ..errors import ParameterError, ShapeError
from .base import Prox, near
from .layout import Layout

__all__ = ["Symmetric"]


class Symmetric(Prox):
    """Projection on images with a point symmetry, ``x(p) = x(2 center - p)``: the mean with the image turned by 180 degrees.

    Pixels whose partner lies outside the image stay as they are.

    Parameters
    ----------
    center : (float, float), optional
        (y, x) in pixels, multiples of 1/2; that of the image by default.
    shape : (int, int), optional
        (Ny, Nx), if the last dimension holds images row by row, as in morphologies (K, N). By default the last two
        dimensions are the image.

    Raises
    ------
    ParameterError
        If `center` is no multiple of 1/2: pixels would have no partners.

    References
    ----------
    Melchior et al. 2018, Astronomy and Computing 24, 129 (symmetry of sources); Parikh & Boyd 2014, section 6.2 (subspaces).

    Examples
    --------
    >>> import torch
    >>> Symmetric()(torch.tensor([[1.0, 2.0, 0.0], [0.0, 4.0, 3.0]]), 1.0)
    tensor([[2., 3., 0.],
            [0., 3., 2.]])
    """

    cone = True
    projection = True

    def __init__(self, center: tuple[float, float] | None = None, shape: tuple[int, int] | None = None) -> None:
        if center is not None and not all(math.isfinite(c) and float(2 * c).is_integer() for c in center):
            raise ParameterError(f"center is {center}: expected (y, x) in multiples of 1/2, the centers and edges of pixels.")
        self.center = center
        self.shape = shape
        self._layout = Layout(shape)
        self.couples = self._layout.couples

    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Average with the turned image; `step` has no effect.

        Raises
        ------
        ShapeError
            If `x` holds no such images, or the center lies outside of them.
        """
        if x.numel() == 0:
            return x.clone()
        images = self._layout.unfold(x).clone()
        rows, columns = (self._partners(d, images.shape[d - 2]) for d in (0, 1))
        window = images[:, rows, columns] / 2
        images[:, rows, columns] = window + window.flip(-2, -1)
        return self._layout.fold(images, x)

    def penalty(self, x: Tensor) -> Tensor:
        """0 if partners are equal up to rounding relative to the largest entry, else inf."""
        return near(x, self(x, 1.0))

    def _partners(self, d: int, n: int) -> slice:
        """The pixels along one dimension whose partners exist."""
        twice = n - 1 if self.center is None else int(2 * self.center[d])
        low, high = max(0, twice - n + 1), min(n - 1, twice)
        if low > high:
            raise ShapeError(f"center is {self.center}, but the image has {n} pixels along dimension {d}: expected a center inside.")
        return slice(low, high + 1)
