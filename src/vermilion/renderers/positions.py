"""Where the pixel centers of one image lie in another."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import pixel_to_pixel
from numpy.typing import ArrayLike, NDArray

from ..errors import HeaderError, ShapeError

__all__ = ["affine_positions", "inside_frame", "sky_positions"]

Array = NDArray[np.floating[Any]]


def affine_positions(matrix: ArrayLike, offset: ArrayLike, data_shape: tuple[int, int]) -> Array:
    """Positions ``matrix @ (y, x) + offset`` in the model frame of the pixel centers of images, shape (Ny, Nx, 2).

    Parameters
    ----------
    matrix : array_like, shape (2, 2)
        Model pixels per data pixel, rows and columns in the order y, x.
    offset : array_like, shape (2,)
        Position (y, x) in the model frame of the first pixel of the images.
    data_shape : (int, int)
        Rows and columns (Ny, Nx) of the images.

    Raises
    ------
    ShapeError
        If the matrix is not 2 × 2, or the offset has not two entries.
    """
    matrix, offset = np.asarray(matrix, dtype=float), np.asarray(offset, dtype=float)
    if matrix.shape != (2, 2) or offset.shape != (2,):
        raise ShapeError(f"matrix has shape {matrix.shape}, offset {offset.shape}: expected (2, 2) and (2,).")
    y, x = np.indices(data_shape)
    return np.stack([y, x], axis=-1) @ matrix.T + offset


def sky_positions(model_wcs: WCS, data_wcs: WCS, data_shape: tuple[int, int]) -> Array:
    """Positions (y, x) in the model frame of the pixel centers of images, by their sky coordinates, shape (Ny, Nx, 2).

    The two systems may differ in projection, distortion and celestial frame; NaN where a pixel has no place on the model's sky.

    Raises
    ------
    HeaderError
        If one of the coordinate systems has no sky axes, or they cannot be brought together.
    """
    for name, wcs in (("model_wcs", model_wcs), ("data_wcs", data_wcs)):
        if not wcs.has_celestial:
            raise HeaderError(
                f"{name} has axes {list(wcs.wcs.ctype)}: expected right ascension and declination, or another pair of sky axes."
            )
    y, x = np.indices(data_shape).astype(float)
    try:
        there: Any = pixel_to_pixel(data_wcs.celestial, model_wcs.celestial, x, y)
    except (NoConvergence, ValueError) as error:
        raise HeaderError(f"the images cannot be placed on the model's sky: {error}") from error
    return np.stack([there[1], there[0]], axis=-1)


def inside_frame(positions: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether positions (..., 2) lie in a pixel of a frame of that shape; not where they are NaN."""
    inside = (positions >= -0.5) & (positions <= np.array(shape) - 0.5)
    return np.logical_and(inside[..., 0], inside[..., 1])
