"""White noise of an image from how much neighboring pixels differ."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .residual import MAD_TO_SIGMA

__all__ = ["pixel_noise"]


def pixel_noise(image: NDArray[np.floating], *, order: int = 1, axes: tuple[int, ...] = (1,)) -> float:
    """Standard deviation of white noise, by the median absolute difference of pixels in a row: smooth sources hardly touch it.

    Parameters
    ----------
    image : ndarray, shape (Ny, Nx)
        NaN where absent.
    order : int, >= 1
        Of the differences: 1 between neighbors, 2 of three pixels from a line, which gradients do not touch either.
    axes : tuple of int
        Along which pixels are compared.

    Returns
    -------
    float
        NaN if nothing can be compared.
    """
    differences = np.concatenate([np.diff(image, n=order, axis=axis).ravel() for axis in axes])
    differences = differences[np.isfinite(differences)]
    # white noise of variance 1 makes differences with the sum of the squared binomial coefficients
    spread = math.sqrt(math.comb(2 * order, order))
    return float(MAD_TO_SIGMA * np.median(np.abs(differences)) / spread) if differences.size else math.nan
