"""A star: the PSF itself."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from .box import Box
from .centered import CenteredSource
from .mixture import point_image

__all__ = ["PointSource"]

# sigmas of the PSF that a box reaches beyond the farthest center; the flux outside is 6e-7
_REACH = 5.0


class PointSource(CenteredSource):
    """A point source: the PSF of the model frame at a free sub-pixel center.

    Parameters
    ----------
    spectrum : Tensor or array, shape (B,)
        Flux in each band.
    center : (float, float)
        Pixel (y, x) of the frame, counted from 0.
    model_sigma : float, > 0
        Of the circular Gaussian PSF of the model frame, in pixels.
    max_shift : float, > 0
        How far the center may move in y and x, in pixels.

    Examples
    --------
    >>> star = PointSource([100.0, 50.0], (10.25, 7.5))
    >>> star.morphologies().shape, round(float(star.fluxes().sum().detach()), 2)
    (torch.Size([1, 13, 13]), 150.0)
    """

    kind = "point"

    def __init__(self, spectrum: Any, center: tuple[float, float], *, model_sigma: float = 0.8, max_shift: float = 2.0) -> None:
        # the half pixel that rounding the center may take
        box = Box.around(center, math.ceil(_REACH * model_sigma + max_shift - 0.5))
        super().__init__(spectrum, center, box, model_sigma=model_sigma, max_shift=max_shift)

    def images(self) -> Tensor:
        """The PSF (1, h, w)."""
        return point_image(self.box.shape, self.center_in_box(self.numbers()), self.model_sigma)[None]
